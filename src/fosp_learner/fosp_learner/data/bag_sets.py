"""Compares the bags of a set: those that are trained on together have robot, task and image size in common."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from fosp_core.bag.messages import deserialise
from fosp_core.bag.storage import BagStorage
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import ObservationSpec
from fosp_core.topics import is_in_bag
from fosp_learner.config import LearnerConfig
from fosp_learner.data.bag_names import find_topic
from fosp_learner.data.bags import BagReport, bag_metadata, bag_topics
from fosp_learner.data.lenses import INFO, REFUSED, TOLD, Lens, apart, describe, lens_of, require_lenses
from fosp_learner.data.odd_ones import odd_ones
from fosp_recording.recorded_topics import info_beside

T = TypeVar("T")
_LONGEST_PERIOD_S = 60.0
"""Decision period that no robot has any more."""


def choose_robot(bags: Sequence[Path], robots: Sequence[RobotConfig], mixed: bool = False) -> RobotConfig:
    """Return the only one of `robots`, else the one that the bags name, else the one whose command topic they hold.

    UserError when the bags name several, or no robot can be told; with `mixed` it is the one that most of them name.
    A bag that cannot be read is passed over: whoever reads it says why.
    """
    if len(robots) == 1:
        return robots[0]
    named = robots_of(bags)
    known = [robot for robot in robots if robot.name in named]
    if len(named) > 1 and not (mixed and known):
        told = ", ".join(f"{name} ({first.name})" for name, (first, _) in sorted(named.items()))
        raise UserError(f"bags of several robots: {told}; separate them, or say which robot to take with --robot")
    if known:
        return max(known, key=lambda robot: named[robot.name][1])
    topics: set[str] = set()
    for bag in bags:
        with suppress(UserError):
            topics |= bag_topics(bag)
            if any(_holds(topics, robot) for robot in robots):
                break
    fitting = [robot for robot in robots if _holds(topics, robot)]
    if len(fitting) != 1:
        found = "several robots fit" if fitting else "no robot's command topic is there"
        names = ", ".join(f"{robot.name} ({robot.command_topic})" for robot in fitting or robots)
        raise UserError(f"{bags[0]}: {found}: {names}; say which with --robot")
    return fitting[0]


def robots_of(bags: Sequence[Path]) -> dict[str, tuple[Path, int]]:
    """Return the robots that the bags name, each with the first of its bags and their number."""
    named: dict[str, tuple[Path, int]] = {}
    for bag in bags:
        with suppress(UserError):
            name = bag_metadata(bag).get("robot", "")
            if name:
                first, count = named.get(name, (bag, 0))
                named[name] = (first, count + 1)
    return named


def _holds(topics: Collection[str], robot: RobotConfig) -> bool:
    return any(is_in_bag(topic, robot.command_topic) for topic in topics)


def task_of(bags: Sequence[Path]) -> str:
    """Return the task that the bags name, "unnamed" if none does; UserError when they differ."""
    tasks = {bag_metadata(bag).get("task", "") for bag in bags} - {""}
    if len(tasks) > 1:
        raise UserError(f"bags of different tasks ({', '.join(sorted(tasks))}) cannot be trained on together")
    return tasks.pop() if tasks else "unnamed"


def decision_period_of(bags: Sequence[Path]) -> float | None:
    """Return the decision period, s, that the bags name, None if none does; UserError when they differ, or name none.

    A bag that cannot be read is passed over: whoever reads it says why.
    """
    named = dict[float, str]()
    for bag in bags:
        text = ""
        with suppress(UserError):
            text = bag_metadata(bag).get("decision_period_s", "")
        if not text:
            continue
        try:
            period = float(text)
        except ValueError:
            period = math.nan
        if not 0.0 < period < _LONGEST_PERIOD_S:
            raise UserError(f"{bag}: names a decision period of '{text}', which is no number of seconds up to 60")
        named.setdefault(period, bag.name)
    if len(named) > 1:
        told = ", ".join(f"{period:g} s ({name})" for period, name in sorted(named.items()))
        raise UserError(f"bags of different decision periods cannot be trained on together: {told}")
    return next(iter(named), None)


def with_period_of(config: LearnerConfig, bags: Sequence[Path]) -> LearnerConfig:
    """Return the configuration with the decision period that the bags name, unless it says its own."""
    named = decision_period_of(bags) if "decision_period_s" not in config.model_fields_set else None
    if named is None:
        return config
    return config.model_copy(update={"decision_period_s": named})


def one_size(reports: Sequence[BagReport]) -> None:
    """Raise UserError when cameras recorded other sizes in one bag than in another, since their crops would differ."""
    for report in reports:
        if report.images != reports[0].images:
            was, now = ", ".join(reports[0].images), ", ".join(report.images)
            raise UserError(
                f"images are {was} in {reports[0].bag}, but {now} in {report.bag}; train on bags of one image size"
            )


class OneLens:
    """Sees to it that each camera looked through one lens in all bags: that of the first bag that tells of it."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[Lens, str]] = {}

    def check(self, report: BagReport) -> None:
        """Raise UserError when a camera of a bag has another lens than before."""
        for camera, lens in zip(report.cameras, report.lenses, strict=False):
            if lens is None:
                continue
            usual, where = self._first.setdefault(camera, (lens, report.bag))
            try:
                require_lenses([camera], [lens], [usual], where)
            except UserError as error:
                raise UserError(f"{report.bag}: {error}") from None


def told_apart(reports: Sequence[BagReport], robot: RobotConfig, given: bool) -> list[BagReport]:
    """Return the reports, with what one bag has in common with the others: robot, task, image size, looks, rewards.

    A bag of another robot, task or image size than the others is a problem. With the robot `given` by the user, the
    name of another one is told only.
    """
    usable = [report for report in reports if not report.problem]
    task = _most_common(report.task for report in usable if report.task)
    images, frames = _most_common(r.images for r in usable), _most_common(r.frame_ids for r in usable)
    lenses = _usual_lenses(usable)
    judged, seen = [], dict[str, str]()
    odd = _odd(usable)
    for report in reports:
        problem, notes = report.problem, [*report.notes, *odd.get(report.path, ())]
        if report.content and seen.setdefault(report.content, report.bag) != report.bag:
            notes.append(f"holds the same pictures, actions and rewards as {seen[report.content]}: a copy?")
        if report.robot and report.robot != robot.name:
            if given:
                notes.append(f"names robot {report.robot}, read as {robot.name}")
            else:
                problem = problem or f"is of robot {report.robot}, not {robot.name}; separate them, or give --robot"
        if report.task and task and report.task != task:
            problem = problem or f"is of task {report.task}, others are of {task}: train on one task at a time"
        if report.images and images and report.images != images:
            sizes = ", ".join(report.images), ", ".join(images)
            problem = problem or f"images are {sizes[0]}, in others {sizes[1]}: train on bags of one image size"
        if report.frame_ids and frames and report.frame_ids != frames:
            notes.append(
                f"camera frames are {', '.join(report.frame_ids)}, in others {', '.join(frames)}: other mounts?"
            )
        for camera, distance, line in _other_lenses(report, lenses):
            if distance > REFUSED:
                problem = problem or f"{line}: train on bags of one lens of {camera}"
            else:
                notes.append(line)
        judged.append(replace(report, problem=problem, notes=tuple(notes)))
    return judged


def _odd(reports: Sequence[BagReport]) -> dict[str, list[str]]:
    """Return what is odd about bags among the others, by path."""
    alike = [report for report in reports if report.traits.looks and report.cameras == reports[0].cameras]
    lines = odd_ones([report.traits for report in alike], reports[0].cameras if alike else ())
    return dict(zip((report.path for report in alike), lines, strict=True))


def lenses_of(bags: Sequence[Path], observation: ObservationSpec, robot: RobotConfig) -> list[Lens | None]:
    """Return the lens of each camera by the first bag that tells of any; None for a camera that no bag tells of."""
    found: list[Lens | None] = [None] * len(observation.cameras)
    for bag in bags:
        storage = BagStorage(bag)
        topics = storage.topics()
        infos: dict[str, int] = {}
        with suppress(UserError):  # a camera that is missing is told of when the bag is read
            for number, camera in enumerate(observation.cameras):
                infos[info_beside(find_topic(topics, robot.image_topic(camera.topic), camera=True))] = number
        infos = {name: number for name, number in infos.items() if name in topics and topics[name].type == INFO}
        for stored in storage.messages(infos.__contains__) if infos else ():
            with suppress(UserError):
                found[infos[stored.topic]] = found[infos[stored.topic]] or lens_of(deserialise(stored))
            if all(found[number] is not None for number in infos.values()):
                break
        if any(found):
            break
    return found


def _usual_lenses(reports: Sequence[BagReport]) -> list[tuple[Lens, str] | None]:
    """Return for each camera the lens that most bags agree with, and the first bag that has it."""
    usual: list[tuple[Lens, str] | None] = []
    for number in range(max((len(report.lenses) for report in reports), default=0)):
        groups: list[tuple[Lens, str, int]] = []
        for report in reports:
            lens = report.lenses[number] if number < len(report.lenses) else None
            if lens is None:
                continue
            same = next((i for i, (other, _, _) in enumerate(groups) if apart(lens, other) <= REFUSED), None)
            if same is None:
                groups.append((lens, report.bag, 1))
            else:
                groups[same] = (*groups[same][:2], groups[same][2] + 1)
        most = max(groups, key=lambda group: group[2], default=None)
        usual.append(most[:2] if most is not None else None)
    return usual


def _other_lenses(report: BagReport, usual: Sequence[tuple[Lens, str] | None]) -> Iterator[tuple[str, float, str]]:
    """Yield camera, distance and description of each lens that is not the usual one."""
    for camera, lens, other in zip(report.cameras, report.lenses, usual, strict=False):
        if lens is not None and other is not None and (distance := apart(lens, other[0])) > TOLD:
            yield camera, distance, describe(camera, lens, *other)


def _most_common(values: Iterable[T]) -> T | None:
    counted = Counter(values).most_common(1)
    return counted[0][0] if counted else None
