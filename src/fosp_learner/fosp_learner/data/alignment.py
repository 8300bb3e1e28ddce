"""Alignment of a bag's streams to episodes at the decision period, with an account of every message.

Row t of an episode is decision frame t. `action[t]` was executed in (t, t+1]; `reward[t]`, `cost[t]` and
`is_terminal[t]` arrive with row t, so they belong to the interval (t-1, t]. The last row has no action and the first no
reward: both are 0.

Everything is aligned on header stamps, as on the robot; a plain Twist, which has none, on its log time:
- A frame of the first camera is a row when it comes at least a period after the last row, with half a frame of jitter
  allowed; the frame that ends an episode is always a row.
- A row takes the newest frame of every further camera that is not newer than the row, and at most half a period older.
  If a camera has none, the frame is not a row.
- Feedback counts for the interval of its stamp, without tolerance; an interval without feedback splits the episode.
- Commands hold until the next one, but no longer than the robot's command timeout; the action is their mean. What a
  gripper is told holds until it is told something else.
- A gap of more than two periods (and half a frame) between rows splits the episode.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fosp_core.executed import executed_action
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import ActionSpec
from fosp_learner.data.bag_messages import RecordedFeedback
from fosp_learner.data.bag_streams import BagRecording, BagStreams


@dataclass(frozen=True)
class Episode:
    """One episode of L >= 2 rows."""

    name: str
    """Name of the bag, with the number of the part when it holds several."""
    images: NDArray[np.uint8]
    """(L, cameras, H, W, 3)."""
    action: NDArray[np.float32]
    """(L, A) in [-1, 1], executed after the row."""
    reward: NDArray[np.float32]
    """(L,) arriving with the row."""
    cost: NDArray[np.float32]
    """(L,) >= 0, arriving with the row."""
    is_terminal: NDArray[np.bool_]
    """(L,) true where no value goes beyond the row."""
    success: bool
    """The goal was reached."""

    @property
    def violates(self) -> bool:
        return bool((self.cost > 0).any())


@dataclass(frozen=True)
class Tolerances:
    """Tolerances of the alignment in ns."""

    due: float
    """Time after the last row from which a frame is a row."""
    gap: float
    """Pause between rows above which the episode is split."""
    camera: float
    """Largest age of a further camera's frame."""

    @staticmethod
    def of(period_s: float, frame_s: float) -> Tolerances:
        """Return the tolerances for a decision period and the time `frame_s` between two frames of the first camera."""
        return Tolerances((period_s - 0.5 * frame_s) * 1e9, (2.0 * period_s + 0.5 * frame_s) * 1e9, 0.5e9 * period_s)


@dataclass
class Rows:
    """Decision frames of a bag, and an account of its other frames."""

    parts: list[tuple[list[int], bool]] = field(default_factory=list)
    """Indices of the rows of each episode, at least two, and True if its end was reported."""
    splits: list[str] = field(default_factory=list)
    """Places where an episode was cut in two, and why."""
    between: int = 0
    """Frames between two rows."""
    outside: int = 0
    """Frames between the end of an episode and the beginning of the next."""
    unaligned: dict[str, int] = field(default_factory=dict)
    """Frames, by camera, that are no rows because that camera has no frame of the moment."""
    single: int = 0
    """Rows without another one to make a step with."""

    def add(self, rows: list[int], ends: bool) -> None:
        if len(rows) >= 2:
            self.parts.append((rows, ends))
        else:
            self.single += len(rows)


def rows_of(recording: BagRecording, robot: RobotConfig, period_s: float) -> list[tuple[BagStreams, Rows]]:
    """Return each part of a recording with its decision frames.

    Where the first camera is faster than the robot file says, half of its own frame is the jitter allowed.
    """
    frame_s = 1.0 / robot.camera_frame_rate_hz
    measured_hz = recording.clocks[2].rate_hz if len(recording.clocks) > 2 else 0.0
    if measured_hz:
        frame_s = min(frame_s, 1.0 / measured_hz)
    tolerances = Tolerances.of(period_s, frame_s)
    return [(streams, find_rows(streams, tolerances)) for streams in recording.parts]


def find_rows(streams: BagStreams, tolerances: Tolerances) -> Rows:
    """Return the decision frames of each episode."""
    found, rows = Rows(), list[int]()
    recording, last_frame_ns = True, -1
    stamps = streams.frame_ns[0]
    for index, now in enumerate(stamps.tolist()):
        arrived = _between(streams, last_frame_ns, now)
        last_frame_ns = now
        first, ends = any(f.is_first for f in arrived), any(f.is_last for f in arrived)
        pause = now - stamps[rows[-1]] if rows else 0
        if first or pause > tolerances.gap:
            if rows and not first:
                found.splits.append(f"{_second(streams, now)}: gap of {pause * 1e-9:.3f} s")
            found.add(rows, False)
            rows, recording = [], recording or first
        if not recording:
            found.outside += 1
            continue
        due = not rows or now - stamps[rows[-1]] >= tolerances.due
        if rows and (due or ends) and not _between(streams, int(stamps[rows[-1]]), now):
            found.splits.append(f"{_second(streams, now)}: no feedback for {(now - stamps[rows[-1]]) * 1e-9:.3f} s")
            found.add(rows, False)
            rows = []
        missing = _missing_camera(streams, now, tolerances.camera) if due or ends else ""
        if missing:
            found.unaligned[missing] = found.unaligned.get(missing, 0) + 1
        elif due or ends:
            rows.append(index)
        else:
            found.between += 1
        if ends:
            found.add(rows, not missing)
            rows, recording = [], False
    found.add(rows, False)
    return found


def build_episode(
    name: str, rows: list[int], ends: bool, streams: BagStreams, action: ActionSpec, hold_s: float
) -> Episode:
    """Return the episode of the frames `rows`; a command holds for at most `hold_s`."""
    stamps = streams.frame_ns[0][rows]
    origin = int(stamps[0])
    command_s = np.asarray((streams.command_ns - origin) * 1e-9, np.float64)
    row_s = ((stamps - origin) * 1e-9).tolist()
    length = len(rows)
    actions = np.zeros((length, action.size), np.float32)
    reward, cost = np.zeros(length, np.float32), np.zeros(length, np.float32)
    terminal = np.zeros(length, np.bool_)
    success = False
    for t in range(1, length):
        actions[t - 1] = executed_action(command_s, streams.commands, row_s[t - 1], row_s[t], hold_s, action)
        arrived = _between(streams, int(stamps[t - 1]), int(stamps[t]))
        reward[t] = sum(f.reward for f in arrived)
        cost[t] = max(f.cost for f in arrived)
        terminal[t] = any(f.terminal for f in arrived)
        success |= any(f.success for f in arrived)
    images = np.stack([_at(streams, camera, stamps) for camera in range(len(streams.frames))], 1)
    return Episode(name, images, actions, reward, cost, terminal & ends, success)


def steps_without_command(streams: BagStreams, rows: list[int], hold_s: float) -> int:
    """Count the steps in which no command was in force, because the robot's own watchdog had stopped it."""
    stamps = streams.frame_ns[0][rows]
    newest = np.searchsorted(streams.command_ns, stamps[1:], "left") - 1
    held_until = np.where(newest >= 0, streams.command_ns[np.maximum(newest, 0)] + round(hold_s * 1e9), -1)
    return int((held_until <= stamps[:-1]).sum())


def _between(streams: BagStreams, after_ns: int, until_ns: int) -> list[RecordedFeedback]:
    """Return the feedback with a stamp in (after, until]."""
    low, high = np.searchsorted(streams.feedback_ns, [after_ns, until_ns], "right")
    return streams.feedback[low:high]


def _missing_camera(streams: BagStreams, now: int, tolerance_ns: float) -> str:
    """Return the first of the further cameras that has no frame of the moment `now`; "" when all have one."""
    for topic, stamps in zip(streams.cameras[1:], streams.frame_ns[1:], strict=True):
        newest = int(np.searchsorted(stamps, now, "right")) - 1
        if newest < 0 or now - stamps[newest] > tolerance_ns:
            return topic
    return ""


def _at(streams: BagStreams, camera: int, stamps: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the camera's newest frames at the decision stamps: (L, H, W, 3)."""
    newest = np.searchsorted(streams.frame_ns[camera], stamps, "right") - 1
    return np.stack([streams.frames[camera][int(index)] for index in newest])


def _second(streams: BagStreams, now: int) -> str:
    return f"{(now - int(streams.frame_ns[0][0])) * 1e-9:.2f} s"
