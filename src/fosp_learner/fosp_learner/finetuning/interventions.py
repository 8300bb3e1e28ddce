"""Bags recorded on the running robot, with each step marked: executed as proposed, changed by the monitor, overridden.

A human correction is a step whose executed action lies outside of what the safety monitor let through. It is learned
from like any other step; the mark says so in the figures.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError
from fosp_core.specs import ObservationSpec, RobotConfig
from fosp_core.topics import VERDICT
from fosp_learner.data.alignment import Episode, Tolerances, build_episode, find_rows
from fosp_learner.data.bag_messages import deserialise, stamp_ns
from fosp_learner.data.bag_storage import BagStorage, storage_files
from fosp_learner.data.bag_streams import find_topic, read_streams


class Mark(IntEnum):
    """Of the action executed after a row."""

    PROPOSED = 0
    CHANGED = 1
    OVERRIDDEN = 2


@dataclass(frozen=True)
class Answer:
    """What a SafetyVerdict says of one step."""

    changed: bool
    """Another action than the proposed one was let through."""
    let_through: NDArray[np.float32]
    """(A,) normalised."""
    limited: bool
    """Hard limits changed the command on the way to this verdict."""


@dataclass(frozen=True)
class MarkedEpisode:
    """An episode and the marks (L,) uint8 of its rows; the last row's is PROPOSED."""

    episode: Episode
    marks: NDArray[np.uint8]
    digest: str


def read_marked(
    bag: Path, observation: ObservationSpec, robot: RobotConfig, period_s: float, tolerance: float
) -> list[MarkedEpisode]:
    """Episodes of one bag; UserError with one line that names the bag and what is wrong with it."""
    streams = read_streams(bag, observation, robot)
    rows = find_rows(streams, Tolerances.of(period_s, 1.0 / robot.camera_frame_rate_hz))
    answers = _answers(bag, robot.action.size)
    digest = bag_digest(bag)
    marked = []
    for number, (part, ends) in enumerate(rows.parts):
        name = bag.name if number == 0 else f"{bag.name}.{number}"
        episode = build_episode(name, part, ends, streams, robot.action, robot.command_timeout_s)
        stamps = streams.frame_ns[0][part]
        marked.append(
            MarkedEpisode(episode, mark_steps(episode.action, stamps, answers, tolerance), f"{digest}{number}")
        )
    if not marked:
        raise UserError(f"{bag}: no two decision frames with feedback between them; remove the bag")
    return marked


def mark_steps(
    executed: NDArray[np.float32], stamps: NDArray[np.int64], answers: dict[int, Answer], tolerance: float
) -> NDArray[np.uint8]:
    """(L, A) executed after rows of (L,) stamps, ns -> (L,) Mark.

    Between two rows the robot still follows the verdict on the row before for a moment, and ramps to the next one. So
    only what lies outside of both, by more than `tolerance` on an axis, is an override; and where the hard limits were
    at work nothing is said of an operator. Rows without a verdict are PROPOSED: nobody proposed anything else.
    """
    marks = np.full(len(stamps), Mark.PROPOSED, np.uint8)
    for row in range(len(stamps) - 1):
        answer = answers.get(int(stamps[row]))
        if answer is None:
            continue
        before = answers.get(int(stamps[row - 1])) if row else None
        after = answers.get(int(stamps[row + 1]))
        reached = [answer.let_through, np.zeros_like(answer.let_through) if before is None else before.let_through]
        low, high = np.min(reached, 0) - tolerance, np.max(reached, 0) + tolerance
        outside = bool(((executed[row] < low) | (executed[row] > high)).any())
        if outside and not (after is not None and after.limited):
            marks[row] = Mark.OVERRIDDEN
        elif answer.changed:
            marks[row] = Mark.CHANGED
    return marks


def bag_digest(bag: Path) -> str:
    """sha256, hex, over the storage files of a bag."""
    digest = hashlib.sha256()
    for path in storage_files(bag):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _answers(bag: Path, axes: int) -> dict[int, Answer]:
    """Verdicts on proposals by the stamp of their camera frame; empty when none were recorded."""
    storage = BagStorage(bag)
    try:
        topic = find_topic(storage.topics(), VERDICT)
    except UserError:
        return {}
    answers: dict[int, Answer] = {}
    for stored in storage.messages({topic}.__contains__):
        message = deserialise(stored)
        proposed, let_through = np.asarray(message.action_in), np.asarray(message.action_out, np.float32)
        if len(proposed) == axes and len(let_through) == axes and np.isfinite(let_through).all():
            changed = bool((np.clip(proposed, -1, 1) != let_through).any())
            answers[stamp_ns(message)] = Answer(changed, let_through, bool(message.limited))
    return answers
