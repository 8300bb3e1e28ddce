"""The black box without ROS: messages in memory, the silence of a dead monitor, a bag of the last seconds."""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fosp_core.bag_types import BagWriter

PREFIX = "black_box_"
RECENT_S = 4.0
"""Time for which every image that was taken in is remembered, s. A bag is written 2 s after its stop."""
OLDER_PERIOD_S = 2.0
"""Shortest time between two remembered images of a topic that are older."""
SAME_MOMENT_S = 0.5
"""Longest time between the last feedback of an episode and the event of the stop that follows from it."""
_PARTIAL = ".partial_"
_ABANDONED_S = 60.0
"""Time without a change after which a half-written box is what a crash left, not what another black box is writing."""
LEAST_SILENCE_S = 0.1
"""Shortest silence of the commands that counts: the listener is no real-time process."""
SETTLE_S = 0.5
"""How long after a deactivation messages may still arrive that were sent before it."""
HISTORY_S = 10.0
"""How long after its start a listener may still receive events from before it."""


@dataclass(frozen=True)
class Heard:
    """One serialised message."""

    topic: str
    receipt_ns: int
    """Time of receipt on the wall clock."""
    data: bytes
    """CDR, as it came."""
    monotonic_s: float
    """Time of receipt on the monotonic clock."""


class Memory:
    """The messages of the last `seconds`, together at most `limit_bytes`; the oldest go first.

    Age counts on the monotonic clock: memory must not forget anything because the wall clock is set.
    """

    def __init__(self, seconds: float, limit_bytes: int) -> None:
        self._span_s, self._limit_bytes = seconds, limit_bytes
        self._messages: deque[Heard] = deque()
        self._bytes = 0

    def add(self, heard: Heard) -> None:
        """Remember a message, and forget those that are older than the span or over the limit."""
        self._messages.append(heard)
        self._bytes += len(heard.data)
        oldest_s = heard.monotonic_s - self._span_s
        while self._messages and (self._bytes > self._limit_bytes or self._messages[0].monotonic_s < oldest_s):
            self._bytes -= len(self._messages.popleft().data)

    def messages(self) -> list[Heard]:
        """Return all messages in the order of their receipt."""
        return list(self._messages)

    @property
    def seconds(self) -> float:
        """Time from the oldest message to the newest: below the span while memory is young or its limit is reached."""
        return self._messages[-1].monotonic_s - self._messages[0].monotonic_s if self._messages else 0.0


class ThinnedMemory:
    """The images of the last `seconds`, together at most `limit_bytes`; the oldest go first.

    Of each topic all images of the last RECENT_S are there, and one in OLDER_PERIOD_S before: raw images of half a
    minute would take more memory than all nodes of the graph.
    """

    def __init__(self, seconds: float, limit_bytes: int) -> None:
        self._span_s, self._limit_bytes = seconds, limit_bytes
        self._recent: deque[Heard] = deque()
        self._older: deque[Heard] = deque()
        self._kept_s: dict[str, float] = {}
        """Receipt of the newest image in `_older`, by topic."""
        self._bytes = 0

    def add(self, heard: Heard) -> None:
        """Remember an image, and forget those that are too many, older than the span or over the limit."""
        self._recent.append(heard)
        self._bytes += len(heard.data)
        while self._recent[0].monotonic_s < heard.monotonic_s - RECENT_S:
            image = self._recent.popleft()
            if image.monotonic_s - self._kept_s.get(image.topic, -math.inf) >= OLDER_PERIOD_S:
                self._kept_s[image.topic] = image.monotonic_s
                self._older.append(image)
            else:
                self._bytes -= len(image.data)
        oldest_s = heard.monotonic_s - self._span_s
        while self._older and (self._bytes > self._limit_bytes or self._older[0].monotonic_s < oldest_s):
            self._bytes -= len(self._older.popleft().data)
        while self._recent and self._bytes > self._limit_bytes:
            self._bytes -= len(self._recent.popleft().data)

    def messages(self) -> list[Heard]:
        """Return all images in the order of their receipt."""
        return [*self._older, *self._recent]


def is_history(stamp_s: float, now_s: float, running_s: float) -> bool:
    """Return whether an event is from before this process, which late joiners receive; `running_s` is its age, s.

    `stamp_s` and `now_s` are times of the same clock, s. A clock at 0 is simulated and not heard yet: an event that is
    there before its clock is history.
    """
    return running_s < HISTORY_S and (now_s == 0.0 or now_s - stamp_s > running_s)


class EpisodeEnd:
    """Knows when the last episode ended and whether nothing was violated in it. Times are monotonic, s."""

    def __init__(self) -> None:
        self._clean = self._ended_clean = False
        self._ended_s = -math.inf

    def hear(self, is_first: bool, is_last: bool, cost: float, now_s: float) -> None:
        """Take note of a feedback; `cost` is its cost, > 0 at a violation."""
        self._clean = (self._clean or is_first) and cost == 0.0
        if is_last:
            self._ended_s, self._ended_clean, self._clean = now_s, self._clean, False

    def was_clean_at(self, stop_s: float) -> bool:
        """Return whether a stop came with the end of an episode that was heard as a whole and without a cost."""
        return self._ended_clean and abs(stop_s - self._ended_s) <= SAME_MOMENT_S


class SilenceDetector:
    """Notices when an active safety monitor falls silent without a word, as a process does that is killed or hangs.

    It follows the command stream and the heartbeats of the monitor. All times are monotonic, s, of the reading.
    """

    def __init__(self, command_timeout_s: float, heartbeat_gap_s: float, simulated_time: bool = False) -> None:
        """Commands may pause for `command_timeout_s` of the robot, heartbeats for `heartbeat_gap_s`.

        On simulated time heartbeats may cease: they stand still with the clock.
        """
        self._silence_s = max(command_timeout_s, LEAST_SILENCE_S)
        self._gap_s = math.inf if simulated_time else heartbeat_gap_s
        self._command_s: float | None = None
        self._beat_s: float | None = None
        self._ended_s = -math.inf

    @property
    def monitor_is_active(self) -> bool:
        """True once an active monitor was heard to send commands, until it is deactivated or silent."""
        return self._command_s is not None and self._beat_s is not None

    def command(self, now_s: float) -> None:
        """Take note of a command."""
        if now_s - self._ended_s > SETTLE_S:
            self._command_s = now_s

    def beat(self, active: bool, now_s: float) -> None:
        """Take note of a heartbeat of the monitor, which says whether it is `active`."""
        if not active:
            self.end(now_s)
        elif now_s - self._ended_s > SETTLE_S:
            self._beat_s = now_s

    def end(self, now_s: float) -> None:
        """Take note of the monitor's deactivation: from now on it may be silent."""
        self._command_s = self._beat_s = None
        self._ended_s = now_s

    def silence(self, now_s: float) -> str:
        """Return in words what has ceased, once; an empty text while nothing has."""
        if self._command_s is None or self._beat_s is None:
            return ""
        if now_s - self._command_s >= self._silence_s:
            text = f"no command for {now_s - self._command_s:.2f} s"
        elif now_s - self._beat_s >= self._gap_s:
            text = f"no heartbeat of the safety monitor for {now_s - self._beat_s:.2f} s"
        else:
            return ""
        self._command_s = self._beat_s = None
        return f"{text}, and no word of a deactivation: it was killed or hangs"


def write_box(folder: Path, messages: Iterable[Heard], types: Mapping[str, str], notes: Mapping[str, str]) -> None:
    """Write `messages` as the bag `folder`, which appears when it is complete; `types`: topic -> ROS message type.

    `notes` go into its metadata (`custom_data`). OSError when the disk refuses; nothing is left behind then.
    """
    bag = BagWriter(folder.with_name(_PARTIAL + folder.name))
    try:
        bag.note(notes)
        for topic, message_type in sorted(types.items()):
            bag.add_topic(topic, message_type)
        for heard in messages:
            bag.write(heard.topic, heard.receipt_ns, heard.data)
        bag.finish(folder)
    except BaseException:
        bag.abort()
        raise


def make_room(directory: Path, limit_bytes: int) -> list[Path]:
    """Remove the oldest boxes until the others take less than `limit_bytes`, and what a crash left half written.

    The newest box stays, whatever its size, and no folder but ours is touched. Return the boxes that were removed.
    """
    for partial in directory.glob(f"{_PARTIAL}{PREFIX}*"):
        with contextlib.suppress(OSError):  # another black box has just finished it
            if time.time() - max(path.stat().st_mtime for path in (partial, *partial.iterdir())) > _ABANDONED_S:
                shutil.rmtree(partial, ignore_errors=True)
    boxes = sorted(path for path in directory.glob(f"{PREFIX}*") if path.is_dir())
    sizes = {box: sum(file.stat().st_size for file in box.rglob("*") if file.is_file()) for box in boxes}
    removed = []
    for box in boxes[:-1]:
        if sum(sizes.values()) < limit_bytes:
            break
        shutil.rmtree(box, ignore_errors=True)
        del sizes[box]
        removed.append(box)
    return removed
