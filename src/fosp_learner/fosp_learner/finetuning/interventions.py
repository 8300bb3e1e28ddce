"""Reads bags recorded on the running robot, and labels each step with who intervened: nobody, monitor or operator.

The verdicts of the safety monitor name who drove (`SafetyVerdict.source`). In bags from before that field an operator
intervened where the executed action lies outside of what the safety monitor passed on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fosp_core.bag.files import files_of
from fosp_core.bag.messages import deserialise, stamp_ns
from fosp_core.bag.storage import BagStorage
from fosp_core.decisions import WhoDrives
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import ObservationSpec
from fosp_core.topics import VERDICT
from fosp_learner.data.alignment import Episode, build_episode, rows_of
from fosp_learner.data.bag_names import find_topic
from fosp_learner.data.bag_streams import read_recording
from fosp_learner.data.lenses import Lens, require_lenses


class Intervention(IntEnum):
    """Who replaced the proposed action after a row."""

    NONE = 0
    MONITOR = 1
    OPERATOR = 2


@dataclass(frozen=True)
class RecordedVerdict:
    """The part of a SafetyVerdict that tells interventions."""

    action_out: NDArray[np.float32]
    """(A,) The normalised action that the monitor passed on."""
    changed: bool
    """True if that is another action than the proposed one."""
    limited: bool
    """True if hard limits changed the command on the way to this verdict."""


@dataclass(frozen=True)
class Drivers:
    """Who drove from which moment on, as the verdicts of a bag tell it; empty for a bag from before the field."""

    since_ns: NDArray[np.int64]
    """(N,) Times of the decisions, ascending."""
    sources: NDArray[np.uint8]
    """(N,) fosp_core.decisions.WhoDrives."""

    def between(self, begin_ns: int, end_ns: int) -> set[int]:
        """Return all who drove in a span of time; empty where no verdict tells it."""
        first = max(int(np.searchsorted(self.since_ns, begin_ns, "right")) - 1, 0)
        last = int(np.searchsorted(self.since_ns, end_ns, "left"))
        return set(self.sources[first:last].tolist()) - {WhoDrives.UNKNOWN}


@dataclass(frozen=True)
class LabelledEpisode:
    """An episode, and who intervened after each of its rows."""

    episode: Episode
    interventions: NDArray[np.uint8]
    """(L,) Intervention; NONE for the last row."""
    digest: str
    """`bag_digest`, and the number of the part of the bag."""


def read_labelled(
    bag: Path,
    observation: ObservationSpec,
    robot: RobotConfig,
    period_s: float,
    tolerance: float,
    lenses: Sequence[Lens | None] = (),
) -> list[LabelledEpisode]:
    """Return the episodes of one bag; UserError with one line that names the bag and what is wrong with it.

    `lenses` are those of the bundle's cameras: what was seen through others is refused.
    """
    named = BagStorage(bag).custom_data.get("robot", "")
    if named and named != robot.name:
        raise UserError(f"{bag}: is of robot {named}, not {robot.name}")
    recording = read_recording(bag, observation, robot, period_s)
    try:
        require_lenses(recording.parts[0].cameras, recording.lenses, lenses, "the bundle")
    except UserError as error:
        raise UserError(f"{bag}: {error}") from None
    verdicts, drivers = recorded_verdicts(bag, robot.action.size)
    digest = bag_digest(bag)
    labelled: list[LabelledEpisode] = []
    for streams, rows in rows_of(recording, robot, period_s):
        for part, ends in rows.parts:
            number = len(labelled)
            name = bag.name if number == 0 else f"{bag.name}.{number}"
            episode = build_episode(name, part, ends, streams, robot.action, robot.command_timeout_s)
            interventions = label_interventions(episode.action, streams.frame_ns[0][part], verdicts, tolerance, drivers)
            labelled.append(LabelledEpisode(episode, interventions, f"{digest}{number}"))
    if not labelled:
        raise UserError(f"{bag}: no two decision frames with feedback between them; leave the bag out")
    return labelled


NOBODY_TOLD = Drivers(np.zeros(0, np.int64), np.zeros(0, np.uint8))
"""Drivers of a bag from before the field."""


def label_interventions(
    executed: NDArray[np.float32],
    stamps: NDArray[np.int64],
    verdicts: dict[int, RecordedVerdict],
    tolerance: float,
    drivers: Drivers = NOBODY_TOLD,
) -> NDArray[np.uint8]:
    """Label (L, A) actions executed after rows of (L,) stamps, ns, by the verdicts on these stamps: (L,) Intervention.

    A step during any part of which an operator drove, by `drivers`, is theirs. Where these tell nothing it is guessed:
    between two rows the robot follows the verdict on the row before for a moment, then ramps to the next one. Only an
    action outside of both, by more than `tolerance` on an axis, is an operator's. Where the hard limits were at work
    nothing can be said of an operator. Without a verdict nobody intervened, for nobody proposed anything.
    """
    labels = np.full(len(stamps), Intervention.NONE, np.uint8)
    for row in range(len(stamps) - 1):
        verdict = verdicts.get(int(stamps[row]))
        told = drivers.between(int(stamps[row]), int(stamps[row + 1]))
        if told:
            held = WhoDrives.NOBODY in told or (verdict is not None and verdict.changed)
            operator = WhoDrives.OPERATOR in told
            labels[row] = Intervention.OPERATOR if operator else Intervention.MONITOR if held else Intervention.NONE
            continue
        if verdict is None:
            continue
        before = verdicts.get(int(stamps[row - 1])) if row else None
        after = verdicts.get(int(stamps[row + 1]))
        reached = [verdict.action_out, np.zeros_like(verdict.action_out) if before is None else before.action_out]
        low, high = np.min(reached, 0) - tolerance, np.max(reached, 0) + tolerance
        outside = bool(((executed[row] < low) | (executed[row] > high)).any())
        if outside and not (after is not None and after.limited):
            labels[row] = Intervention.OPERATOR
        elif verdict.changed:
            labels[row] = Intervention.MONITOR
    return labels


def bag_digest(bag: Path) -> str:
    """Return the sha256, hex, of the storage files of a bag."""
    digest = hashlib.sha256()
    for path in files_of(bag):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def recorded_verdicts(bag: Path, axes: int) -> tuple[dict[int, RecordedVerdict], Drivers]:
    """Return the verdicts on actions by the stamp, ns, of their camera frame, and who drove; empty without verdicts."""
    storage = BagStorage(bag)
    try:
        topic = find_topic(storage.topics(), VERDICT)
    except UserError:
        return {}, NOBODY_TOLD
    told: list[tuple[int, int]] = []
    verdicts: dict[int, RecordedVerdict] = {}
    for stored in storage.messages({topic}.__contains__):
        message = deserialise(stored)
        if hasattr(message, "source"):
            told.append((int(message.decided.sec) * 1_000_000_000 + int(message.decided.nanosec), int(message.source)))
        proposed, passed_on = np.asarray(message.action_in), np.asarray(message.action_out, np.float32)
        if len(proposed) == axes and len(passed_on) == axes and np.isfinite(passed_on).all():
            changed = bool((np.clip(proposed, -1, 1) != passed_on).any())
            verdicts[stamp_ns(message)] = RecordedVerdict(passed_on, changed, bool(message.limited))
    since, sources = zip(*sorted(told), strict=True) if told else ((), ())
    return verdicts, Drivers(np.array(since, np.int64), np.array(sources, np.uint8))
