"""The timeline of a bag: verdicts, risk, commands, marks, what the operator did, and where its frames are.

The bag is read once, from front to back, and of each kind no more is kept than a page can show. Frames and the text of
a single verdict are read again from their place. A moment is a number of seconds since the first message that is shown,
by the time at which it was logged, because marks and some commands carry no stamp of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fosp_console.graph_state import EVENT_KINDS, verdict_row
from fosp_console.history.samples import Lane, MessageIndex, Samples
from fosp_core import topics
from fosp_core.bag.mcap_stream import StoredMessage
from fosp_core.bag.messages import deserialise
from fosp_core.bag.storage import BagStorage, Place, StoredTopic
from fosp_core.decisions import Decision, Reason, WhoDrives
from fosp_core.errors import BrokenMessage, UserError
from fosp_core.ros.image_message import rgb_view

MOST_ROWS = 40_000
"""Verdicts and commands of a timeline: half an hour of verdicts at 20 Hz; longer bags are thinned."""
MOST_FRAMES = 100_000
MOST_RUNS = 5_000
MOST_EVENTS = 1_000
"""Events of each row of the timeline."""
MOST_CAMERAS = 8
MOST_COMMANDS = 4
MOST_TEXT = 300
ROUNDED_S = 6e-4
"""Moments are told in whole ms, so that one may lie so much before the message that it names."""
_SET_BACK_S = 1.0
"""Step back of the log times of a topic from which on the recorder's clock was set back."""
_PICTURES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
_TWISTS = ("geometry_msgs/msg/TwistStamped", "geometry_msgs/msg/Twist")
_VERDICT, _EVENT = "fosp_msgs/msg/SafetyVerdict", "fosp_msgs/msg/SafetyEvent"
_FEEDBACK, _BOOL, _STRING = "fosp_msgs/msg/StepFeedback", "std_msgs/msg/Bool", "std_msgs/msg/String"
_OF_OPERATOR = frozenset({"reset", "reset refused", "engaged", "engage refused", "disengaged"})
"""Kinds of safety events that a person caused."""
OPERATOR, MONITOR, EPISODE = "operator", "monitor", "episode"
"""Rows of events."""


class BagHistory:
    """The timeline of one bag, and a way to its frames. Several threads may read frames at once."""

    def __init__(self, storage: BagStorage) -> None:
        self._storage = storage
        self.bag = storage.bag
        self.begin_s = self.end_s = 0.0
        """Log times of the first and the last message, Unix time, s. So are all times that are kept."""
        self.cameras: list[MessageIndex] = []
        self.verdicts: MessageIndex | None = None
        self.lane = Lane(MOST_RUNS)
        self.risk = Samples(3, MOST_ROWS)
        """Risk of the proposed action, its threshold, and the surprise, nats."""
        self.commands: dict[str, Samples] = {}
        """By topic: linear speed, m/s, and angular speed, rad/s."""
        self.events: dict[str, list[tuple[float, str, str]]] = {OPERATOR: [], MONITOR: [], EPISODE: []}
        """By row: moment, s; kind; text."""
        self.notes: list[str] = []

    @property
    def seconds(self) -> float:
        """Time from the first message to the last."""
        return self.end_s - self.begin_s

    def document(self) -> dict[str, Any]:
        """Return the timeline as JSON can hold it; numbers that are not finite are None."""
        noted = self._storage.custom_data
        return {
            "name": self.bag.name,
            "begin": round(self.begin_s, 3),
            "duration": round(self.seconds, 3),
            "about": {key: noted[key][:MOST_TEXT] for key in ("robot", "task", "episode", "cause") if key in noted},
            "notes": self.notes,
            "cameras": [{"topic": one.topic, "times": self._moments(one.times)} for one in self.cameras],
            "lane": [
                [
                    *self._moments([run.begin_s]),
                    _name(Decision, run.decision),
                    _name(Reason, run.reason),
                    run.text,
                    _name(WhoDrives, run.source),
                ]
                for run in self.lane
            ],
            "risk": self._columns(self.risk, ("risk", "eps", "surprise")),
            "commands": [
                {"topic": topic, **self._columns(samples, ("linear", "angular"))}
                for topic, samples in self.commands.items()
            ],
            "events": [
                {"t": round(when - self.begin_s, 3), "row": row, "kind": kind, "text": text}
                for row, events in self.events.items()
                for when, kind, text in events
            ],
        }

    def _moments(self, times: Iterable[float]) -> list[float]:
        return [round(time_s - self.begin_s, 3) for time_s in times]

    def _columns(self, samples: Samples, names: tuple[str, ...]) -> dict[str, list[float] | list[float | None]]:
        found = {name: _rounded(column, 4) for name, column in zip(names, samples.columns, strict=True)}
        return {"t": self._moments(samples.times), **found}

    def frame(self, camera: int, index: int) -> NDArray[np.uint8]:
        """Return a frame as (H, W, 3) uint8 RGB; UserError when there is none of that number, or it cannot be shown."""
        if not 0 <= camera < len(self.cameras) or not 0 <= index < len(self.cameras[camera]):
            raise UserError(f"camera {camera} has no frame {index}")
        one = self.cameras[camera]
        return picture(self._again(one, index))

    def verdict(self, time_s: float) -> dict[str, Any] | None:
        """Return the verdict that was in force at a moment as the console shows one; None without any."""
        if self.verdicts is None or not len(self.verdicts):
            return None
        index = self.verdicts.before(self.begin_s + time_s + ROUNDED_S)
        row = verdict_row(deserialise(self._again(self.verdicts, index)))
        return {"t": round(self.verdicts.times[index] - self.begin_s, 3), **row}

    def frames_from(self, time_s: float) -> Iterator[tuple[float, int, StoredMessage]]:
        """Yield moment, camera and message of the frames from those that were shown at `time_s` on, in file order."""
        found = [one.at(one.before(self.begin_s + time_s + ROUNDED_S))[0] for one in self.cameras if len(one)]
        if not found:
            return
        numbers = {one.topic: number for number, one in enumerate(self.cameras)}
        for stored in self._storage.messages_from(min(found), numbers.__contains__):
            yield stored.logged_ns * 1e-9 - self.begin_s, numbers[stored.topic], stored

    def _again(self, index: MessageIndex, number: int) -> StoredMessage:
        place, logged_ns = index.at(number)
        for stored in self._storage.messages_from(place, index.topic.__eq__):
            if stored.logged_ns == logged_ns:
                return stored
        raise UserError(f"{self.bag}: is not what it was when it was opened; open it again")


def picture(stored: StoredMessage) -> NDArray[np.uint8]:
    """Return the image of a message as (H, W, 3) uint8 RGB; UserError when it is damaged or holds no colour."""
    return np.ascontiguousarray(rgb_view(deserialise(stored)))


def read_history(bag: Path, progress: Callable[[int], None] = lambda messages: None) -> BagHistory:
    """Read a bag once. `progress` is told every thousandth message.

    UserError in one line for a bag that is damaged, and for one with neither images nor verdicts.
    """
    storage = BagStorage(bag)
    kinds = storage.topics()
    history = BagHistory(storage)
    reading = _Reading(history, kinds)
    if not reading.handlers:
        raise UserError(f"{bag}: holds neither images nor verdicts of fosp, so there is nothing to show")
    for number, stored in enumerate(storage.messages(reading.handlers.__contains__)):
        reading.take(stored, storage.place)
        if number % 1000 == 0:
            progress(number)
    history.notes += [*storage.notes, *reading.remarks()]
    reading.close()
    if not history.end_s:
        raise UserError(f"{bag}: holds no message on {', '.join(sorted(reading.handlers)[:4])}: nothing to show")
    return history


class _Reading:
    """The one pass over a bag."""

    def __init__(self, history: BagHistory, kinds: Mapping[str, StoredTopic]) -> None:
        self._history = history
        self.handlers: dict[str, Callable[[float, Any], None]] = {}
        self._indices: dict[str, MessageIndex] = {}
        self._last_ns: dict[str, int] = {}
        self._broken, self._left_out = "", 0
        self._set_back: set[str] = set()
        self._dropped = 0
        self._pressed: dict[str, bool] = {}
        self._violating = False
        self._taken_over = False
        for topic in sorted(kinds):
            self._add(topic, kinds[topic].type)

    def _add(self, topic: str, kind: str) -> None:
        history = self._history
        if kind in _PICTURES and "depth" not in topic and len(history.cameras) < MOST_CAMERAS:
            self._indices[topic] = MessageIndex(topic, MOST_FRAMES)
            history.cameras.append(self._indices[topic])
            self.handlers[topic] = lambda when, message: None
        elif kind == _VERDICT and history.verdicts is None:
            self._indices[topic] = history.verdicts = MessageIndex(topic, MOST_FRAMES)
            self.handlers[topic] = self._verdict
        elif kind in _TWISTS and len(history.commands) < MOST_COMMANDS:
            samples = history.commands[topic] = Samples(2, MOST_ROWS)
            self.handlers[topic] = lambda when, message: _command(samples, when, message)
        elif kind == _EVENT:
            self.handlers[topic] = self._event
        elif kind == _FEEDBACK:
            self.handlers[topic] = self._feedback
        elif kind == _BOOL:
            self.handlers[topic] = lambda when, message: self._switch(topic, when, bool(message.data))
        elif kind == _STRING and topics.is_in_bag(topic, topics.MARK):
            self.handlers[topic] = lambda when, message: self._note(OPERATOR, when, "mark", str(message.data))

    def take(self, stored: StoredMessage, place: Place) -> None:
        """Take in a message."""
        history, now_ns = self._history, stored.logged_ns
        when = now_ns * 1e-9
        history.begin_s = min(history.begin_s or when, when)
        history.end_s = max(history.end_s, when)
        if now_ns < self._last_ns.get(stored.topic, now_ns) - _SET_BACK_S * 1e9:
            self._set_back.add(stored.topic)
        self._last_ns[stored.topic] = now_ns
        index = self._indices.get(stored.topic)
        if index is not None:
            index.add(when, place, now_ns)
            if index is not history.verdicts:
                return
        try:
            self.handlers[stored.topic](when, deserialise(stored))
        except BrokenMessage as error:
            self._leave_out(str(error))
        except UserError as error:
            raise UserError(f"{history.bag}: {error}") from None
        except AttributeError as error:
            self._leave_out(f"{stored.topic} is of another version of fosp ({error})")

    def _leave_out(self, why: str) -> None:
        self._broken = self._broken or why
        self._left_out += 1

    def close(self) -> None:
        """Keep what waits."""
        history = self._history
        history.cameras[:] = [one for one in history.cameras if len(one)]
        for samples in (history.risk, *history.commands.values()):
            samples.close()
        verdicts = () if history.verdicts is None else (history.verdicts,)
        for one in (history.risk, *history.commands.values(), *history.cameras, *verdicts, history.lane):
            one.sort()
        for events in history.events.values():
            events.sort()

    def remarks(self) -> list[str]:
        """Return what the page should say about the bag."""
        history, found = self._history, []
        if self._broken:
            more = f" (and {self._left_out - 1} more)" if self._left_out > 1 else ""
            found.append(f"not shown: {self._broken}{more}")
        if self._set_back:
            found.append(f"the recorder's clock was set back ({min(self._set_back)}): some moments lie over each other")
        if self._dropped:
            found.append(f"{self._dropped} more events are not shown")
        coarse = [history.lane.thinned, history.risk.thinned, *(one.thinned for one in history.cameras)]
        if any(coarse) or any(samples.thinned for samples in history.commands.values()):
            found.append("the bag is long: frames, lane and figures are drawn coarser than they were recorded")
        return found

    # -- messages ------------------------------------------------------------------------------------
    def _verdict(self, when: float, message: Any) -> None:
        text = str(message.reason_text)[:MOST_TEXT]
        source = int(getattr(message, "source", WhoDrives.UNKNOWN))  # a bag may be older than this field
        self._history.lane.add(when, int(message.decision), int(message.reason), source, text)
        self._history.risk.add(when, float(message.q_h), float(message.eps), float(message.surprise))
        if (source == WhoDrives.OPERATOR) != self._taken_over:
            self._taken_over = not self._taken_over
            self._note(OPERATOR, when, "takes over" if self._taken_over else "hands back", text)

    def _event(self, when: float, message: Any) -> None:
        number = int(message.kind)
        kind = EVENT_KINDS[number] if 0 <= number < len(EVENT_KINDS) else f"event {number}"
        pressed = kind == "latched" and int(message.reason) == Reason.ESTOP
        row = OPERATOR if kind in _OF_OPERATOR or pressed else MONITOR
        self._note(row, when, kind, str(message.text))

    def _feedback(self, when: float, message: Any) -> None:
        if message.is_first:
            self._note(EPISODE, when, "begin", f"episode {int(message.episode)} begins")
        violating = float(message.cost) > 0.0
        if violating and not self._violating:
            self._note(EPISODE, when, "violation", f"cost {float(message.cost):.3g}")
        self._violating = violating
        if message.success:
            self._note(EPISODE, when, "success", "the goal is reached")
        if message.is_last:
            self._note(EPISODE, when, "end", f"episode {int(message.episode)} ends")

    def _switch(self, topic: str, when: float, pressed: bool) -> None:
        if pressed != self._pressed.get(topic, False):
            self._note(OPERATOR, when, "switch", f"{topic}: {'true' if pressed else 'false'}")
        self._pressed[topic] = pressed

    def _note(self, row: str, when: float, kind: str, text: str) -> None:
        events = self._history.events[row]
        if len(events) < MOST_EVENTS:
            events.append((when, kind, text[:MOST_TEXT]))
        else:
            self._dropped += 1


def _command(samples: Samples, when: float, message: Any) -> None:
    twist = getattr(message, "twist", message)
    samples.add(when, *(math.hypot(part.x, part.y, part.z) for part in (twist.linear, twist.angular)))


def _rounded(values: Iterable[float], digits: int) -> list[float | None]:
    return [round(value, digits) if math.isfinite(value) else None for value in values]


def _name(kind: type[Decision | Reason | WhoDrives], number: int) -> str:
    try:
        return kind(number).name
    except ValueError:
        return f"unknown ({number})"
