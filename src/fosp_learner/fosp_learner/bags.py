"""Recorded bags -> episodes at the decision period.

Row t of an episode is decision frame t. `action[t]` was executed in (t, t+1]; `reward[t]`, `cost[t]` and
`is_terminal[t]` arrive with row t, that is, they are of the interval (t-1, t]. So the last row has no action and the
first no reward: both are 0.

Frames become rows by the encoder's own rule (half a frame of jitter allowed), and the frame that ends an episode is
always a row. A gap of more than two periods, or an interval without feedback, splits the episode.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader

from fosp_core.bag_types import typestore
from fosp_core.errors import UserError
from fosp_core.executed import mean_command, normalised_action
from fosp_core.image import observation_image
from fosp_core.specs import ActionSpec, ObservationSpec, RobotConfig, read_yaml
from fosp_core.topics import FEEDBACK
from fosp_learner.bag_messages import read_image, read_twist, stamp_ns


@dataclass(frozen=True)
class Episode:
    """One episode of L >= 2 rows."""

    name: str
    """Bag, and the number of the part when a bag holds several."""
    images: NDArray[np.uint8]
    """(L, cameras, H, W, 3)."""
    action: NDArray[np.float32]
    """(L, A) in [-1, 1], executed after the row."""
    reward: NDArray[np.float32]
    """(L,) arriving with the row."""
    cost: NDArray[np.float32]
    """(L,) >= 0, arriving with the row."""
    is_terminal: NDArray[np.bool_]
    """(L,) values do not go beyond the row."""
    success: bool
    """The goal was reached."""

    @property
    def violates(self) -> bool:
        return bool((self.cost > 0).any())


@dataclass(frozen=True)
class BagReport:
    """What `fosp bags check` says of one bag; `problem` is empty when it can be trained on."""

    bag: str
    episodes: int = 0
    steps: int = 0
    seconds: float = 0.0
    success: bool = False
    violation: bool = False
    problem: str = ""


@dataclass(frozen=True)
class _Messages:
    """Everything of a bag that matters, stamps in ns."""

    frame_ns: list[NDArray[np.int64]]
    frames: list[list[NDArray[np.uint8]]]
    command_ns: NDArray[np.int64]
    commands: NDArray[np.float64]
    feedback_ns: NDArray[np.int64]
    feedback: list[Any]


def find_bags(folders: Sequence[Path]) -> list[Path]:
    """Bag folders at or below `folders`, sorted; UserError for a folder that holds none or an unfinished one."""
    bags: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder of bags")
        files = (path for pattern in ("*.mcap", "*.db3", "metadata.yaml") for path in folder.rglob(pattern))
        # Hidden folders hold what is being recorded at this moment.
        visible = (path for path in files if not any(p.startswith(".") for p in path.relative_to(folder).parts))
        candidates = {path.parent for path in visible}
        if not candidates:
            raise UserError(f"{folder}: no bag here; expected folders with metadata.yaml and .mcap, one per episode")
        for bag in sorted(candidates):
            if not (bag / "metadata.yaml").is_file():
                raise UserError(
                    f"{bag}: metadata.yaml is missing, the recording was cut off; remove or reindex the bag"
                )
        bags.extend(sorted(candidates))
    return sorted(dict.fromkeys(bags))


def bag_metadata(bag: Path) -> dict[str, str]:
    """What the recorder noted in the bag (`custom_data` of metadata.yaml), such as task and robot."""
    content = read_yaml(bag / "metadata.yaml")
    information = content.get("rosbag2_bagfile_information") if isinstance(content, dict) else None
    if not isinstance(information, dict):
        raise UserError(f"{bag}: metadata.yaml is no rosbag2 metadata; record the bag again")
    return {str(key): str(value) for key, value in (information.get("custom_data") or {}).items()}


def bag_topics(bag: Path) -> set[str]:
    """Topics with messages, as metadata.yaml lists them, without the leading slash."""
    content = read_yaml(bag / "metadata.yaml")
    try:
        counted = content["rosbag2_bagfile_information"]["topics_with_message_count"]
        return {t["topic_metadata"]["name"].lstrip("/") for t in counted if t["message_count"]}
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{bag}: metadata.yaml is no rosbag2 metadata; record the bag again") from None


def read_episodes(bag: Path, observation: ObservationSpec, robot: RobotConfig, period_s: float) -> list[Episode]:
    """Episodes of one bag; UserError with one line that names the bag and what is wrong with it."""
    messages = _read_messages(bag, observation, robot)
    episodes: list[Episode] = []
    for rows, ends in _split_rows(messages, period_s, 1.0 / robot.camera_frame_rate_hz):
        name = bag.name if not episodes else f"{bag.name}.{len(episodes)}"
        episodes.append(_assemble(name, rows, ends, messages, robot.action, robot.command_timeout_s))
    if not episodes:
        raise UserError(f"{bag}: no two decision frames with feedback between them; remove the bag")
    return episodes


def check_bags(
    folders: Sequence[Path], observation: ObservationSpec, robot: RobotConfig, period_s: float
) -> list[BagReport]:
    """One row per bag; what is wrong with a bag is in its row, not raised."""
    rows = []
    for bag in find_bags(folders):
        try:
            episodes = read_episodes(bag, observation, robot, period_s)
        except UserError as error:
            rows.append(BagReport(bag.name, problem=str(error).removeprefix(f"{bag}: ")))
            continue
        steps = sum(len(e.reward) - 1 for e in episodes)
        rows.append(
            BagReport(
                bag.name,
                len(episodes),
                steps,
                steps * period_s,
                success=any(e.success for e in episodes),
                violation=any(e.violates for e in episodes),
                problem="" if len(episodes) == 1 else f"split into {len(episodes)} parts by gaps",
            )
        )
    return rows


def _read_messages(bag: Path, observation: ObservationSpec, robot: RobotConfig) -> _Messages:
    cameras = [camera.topic for camera in observation.cameras]
    height, width = observation.shape[1:3]
    frames: list[list[tuple[int, NDArray[np.uint8]]]] = [[] for _ in cameras]
    commands: list[tuple[int, NDArray[np.float64]]] = []
    feedback: list[tuple[int, Any]] = []
    try:
        with AnyReader([bag], default_typestore=typestore()) as reader:
            wanted = {topic: _connections(reader, topic, bag) for topic in (*cameras, robot.command_topic, FEEDBACK)}
            selected = [connection for connections in wanted.values() for connection in connections]
            for connection, logged_ns, raw in reader.messages(connections=selected):
                message = reader.deserialize(raw, connection.msgtype)
                topic = _relative(connection.topic, wanted)
                if topic == FEEDBACK:
                    feedback.append((stamp_ns(message), message))
                elif topic == robot.command_topic:
                    commands.append(read_twist(message, connection.msgtype, logged_ns, robot.action))
                else:
                    image = observation_image(read_image(message, connection.msgtype), height, width)
                    frames[cameras.index(topic)].append((stamp_ns(message), image))
    except UserError as error:
        text = str(error)
        raise UserError(text if text.startswith(str(bag)) else f"{bag}: {text}") from None
    except Exception as error:  # a parser on arbitrary bytes raises anything
        detail = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(f"{bag}: damaged or cut off ({detail}); remove the bag or record it again") from None
    streams: list[tuple[str, list[Any]]] = [*zip(cameras, frames, strict=True)]
    for topic, arrived in [*streams, (robot.command_topic, commands), (FEEDBACK, feedback)]:
        if not arrived:
            raise UserError(f"{bag}: no message on {topic}; remove the bag or record it again with that topic")
        arrived.sort(key=lambda pair: pair[0])
    command_array = np.array([command for _, command in commands])
    if not np.isfinite(command_array).all():
        raise UserError(f"{bag}: a command on {robot.command_topic} is not finite; remove the bag")
    return _Messages(
        [np.array([stamp for stamp, _ in camera], np.int64) for camera in frames],
        [[image for _, image in camera] for camera in frames],
        np.array([stamp for stamp, _ in commands], np.int64),
        command_array,
        np.array([stamp for stamp, _ in feedback], np.int64),
        [message for _, message in feedback],
    )


def _connections(reader: AnyReader, topic: str, bag: Path) -> list[Any]:
    found = [c for c in reader.connections if _matches(c.topic, topic)]
    if not found:
        there = ", ".join(sorted(c.topic for c in reader.connections)) or "none"
        raise UserError(f"{bag}: topic {topic} is missing (there are: {there}); record it too")
    return found


def _matches(name: str, topic: str) -> bool:
    return name.lstrip("/") == topic or name.endswith("/" + topic)


def _relative(name: str, topics: dict[str, Any]) -> str:
    return max((topic for topic in topics if _matches(name, topic)), key=len)


def _split_rows(messages: _Messages, period_s: float, frame_s: float) -> list[tuple[list[int], bool]]:
    """Indices of the decision frames of each part, and whether the part's end was reported as the episode's."""
    due_ns, gap_ns = (period_s - 0.5 * frame_s) * 1e9, (2.0 * period_s + 0.5 * frame_s) * 1e9
    parts: list[tuple[list[int], bool]] = []
    rows: list[int] = []
    recording, last_frame_ns = True, -1
    stamps = messages.frame_ns[0]
    for index, now in enumerate(stamps):
        arrived = _between(messages, last_frame_ns, int(now))
        last_frame_ns = int(now)
        first, ends = any(f.is_first for f in arrived), any(f.is_last for f in arrived)
        if first or (rows and now - stamps[rows[-1]] > gap_ns):
            parts.append((rows, False))
            rows, recording = [], recording or first
        if not recording:
            continue
        due = not rows or now - stamps[rows[-1]] >= due_ns
        if rows and (due or ends) and not _between(messages, int(stamps[rows[-1]]), int(now)):
            parts.append((rows, False))
            rows = []
        if due or ends:
            rows.append(index)
        if ends:
            parts.append((rows, True))
            rows, recording = [], False
    parts.append((rows, False))
    return [(rows, ends) for rows, ends in parts if len(rows) >= 2]


def _between(messages: _Messages, after_ns: int, until_ns: int) -> list[Any]:
    """Feedback with a stamp in (after, until]."""
    low, high = np.searchsorted(messages.feedback_ns, [after_ns, until_ns], "right")
    return messages.feedback[low:high]


def _assemble(
    name: str, rows: list[int], ends: bool, messages: _Messages, action: ActionSpec, hold_s: float
) -> Episode:
    stamps = messages.frame_ns[0][rows]
    origin = int(stamps[0])
    command_s = np.asarray((messages.command_ns - origin) * 1e-9, np.float64)
    row_s = ((stamps - origin) * 1e-9).tolist()
    length = len(rows)
    actions = np.zeros((length, action.size), np.float32)
    reward, cost = np.zeros(length, np.float32), np.zeros(length, np.float32)
    terminal = np.zeros(length, np.bool_)
    success = False
    for t in range(1, length):
        mean = mean_command(command_s, messages.commands, row_s[t - 1], row_s[t], hold_s)
        actions[t - 1] = normalised_action(mean, action)
        arrived = _between(messages, int(stamps[t - 1]), int(stamps[t]))
        reward[t] = sum(f.reward for f in arrived)
        cost[t] = max(f.cost for f in arrived)
        terminal[t] = any(f.terminal for f in arrived)
        success |= any(f.success for f in arrived)
    if not (np.isfinite(reward).all() and np.isfinite(cost).all() and (cost >= 0).all()):
        raise UserError(f"{name}: feedback holds a reward that is not finite or a cost below 0; remove the bag")
    images = np.stack([_at(messages, camera, stamps) for camera in range(len(messages.frames))], 1)
    return Episode(name, images, actions, reward, cost, terminal & ends, success)


def _at(messages: _Messages, camera: int, stamps: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The camera's newest frames at the decision stamps: (L, H, W, 3)."""
    index = np.searchsorted(messages.frame_ns[camera], stamps, "right") - 1
    return np.stack([messages.frames[camera][max(int(i), 0)] for i in index])
