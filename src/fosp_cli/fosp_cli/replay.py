"""Plays a bag on its own topics to absolute deadlines, as `ros2 bag play` does, without rosbag2."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rclpy.qos import QoSProfile

from fosp_cli.graph_client import GraphClient
from fosp_core.bag.storage import BagStorage
from fosp_core.bag_types import typestore
from fosp_core.errors import UserError
from fosp_core.robot.config import read_robot
from fosp_core.ros import qos
from fosp_core.topics import is_in_bag
from fosp_learner.data.arrival import Stream, in_order_of_file, in_order_of_log
from fosp_recording.recorded_topics import message_class

SETTLE_S = 1.5
"""Time without a new subscriber after which the first message goes out, s."""
MOST_PATIENCE_S = 10.0
"""Longest wait for subscribers, s: a recorder subscribes only after it has seen a publisher."""
ONLOOKERS = frozenset({"encoder_node", "recorder_node", "learner_node", "episode_driver"})
"""Nodes that listen to commands without obeying them."""


@dataclass(frozen=True)
class Stored:
    """One message of a bag."""

    topic: str
    type: str
    data: bytes
    logged_ns: int


def play(bag: Path, rate: float, restamp: bool, only: tuple[str, ...] = ()) -> tuple[int, float]:
    """Publish the messages of `bag` at `rate` times the recorded speed. Return their number and the worst lateness, s.

    `restamp` moves all header stamps to the present by one offset, so that at a rate of 1 messages are as old as when
    they were recorded. Raise UserError when the bag cannot be read, when it holds nothing to play, and when a node that
    could be a robot listens to one of its command topics that `only` does not name.
    """
    messages = in_order(bag, list(_messages(bag, only)))
    with GraphClient("replay") as client:
        publishers = {
            (m.topic, m.type): client.node.create_publisher(_class_of(m.type), m.topic, _profile(m.topic))
            for m in messages
        }
        _await_subscribers(list(publishers.values()))
        _require_no_robot(client.node, {m.topic for m in messages}, only)
        begin, first_ns, worst = time.monotonic(), messages[0].logged_ns, 0.0
        offset_ns = time.time_ns() - first_ns if restamp else 0
        for message in messages:
            due = begin + (message.logged_ns - first_ns) * 1e-9 / rate
            time.sleep(max(0.0, due - time.monotonic()))
            worst = max(worst, time.monotonic() - due)
            data = restamped(message, offset_ns) if restamp else message.data
            publishers[message.topic, message.type].publish(data)
        time.sleep(0.2)
        return len(messages), worst


def in_order(bag: Path, messages: list[Stored]) -> list[Stored]:
    """Return the messages in the order of their log times; UserError without any, or where these went back.

    Where the stamps go back less often in the order of the file, some messages were logged by a clock before it was set
    back: they come with the next ones.
    """
    if not messages:
        raise UserError(f"{bag}: nothing to play")
    by_topic: dict[str, Stream[object]] = {}
    for place, message in enumerate(messages):
        stream = by_topic.setdefault(message.topic, Stream(message.topic))
        stream.add(stamp_of(message), message.logged_ns, place, None)
    if not in_order_of_log(list(by_topic.values())):
        raise UserError(
            f"{bag}: its log times go back, since the recorder's clock was set back or it holds several recordings; "
            "they cannot be played at one speed. Play its files one by one, or split it with ros2 bag convert"
        )
    if not in_order_of_file(list(by_topic.values())):
        return sorted(messages, key=lambda message: message.logged_ns)
    ordered: list[Stored] = []
    for message in reversed(messages):
        logged_ns = min(message.logged_ns, ordered[-1].logged_ns) if ordered else message.logged_ns
        ordered.append(replace(message, logged_ns=logged_ns))
    return ordered[::-1]


def _await_subscribers(publishers: list[Any]) -> None:
    begin = settled = time.monotonic()
    before = -1
    while time.monotonic() - settled < SETTLE_S and time.monotonic() - begin < MOST_PATIENCE_S:
        matched = sum(publisher.get_subscription_count() for publisher in publishers)
        if matched != before:
            before, settled = matched, time.monotonic()
        time.sleep(0.05)


def _has_stamp(message: Stored) -> bool:
    fields = typestore().fielddefs.get(message.type, (None, []))[1]
    return bool(fields) and fields[0][1][1] == "std_msgs/msg/Header" and len(message.data) >= 12


def stamp_of(message: Stored) -> int:
    """Return the stamp in the header, ns; the log time where the type begins with no header."""
    if not _has_stamp(message):
        return message.logged_ns
    seconds, nanoseconds = struct.unpack_from("<iI" if message.data[1] & 1 else ">iI", message.data, 4)
    return int(seconds * 1_000_000_000 + nanoseconds)


def restamped(message: Stored, offset_ns: int) -> bytes:
    """Return the data with the header stamp moved by `offset_ns`, or as it is when its type begins with no header."""
    if not _has_stamp(message):
        return message.data
    layout = "<iI" if message.data[1] & 1 else ">iI"
    seconds, nanoseconds = struct.unpack_from(layout, message.data, 4)
    moved = seconds * 1_000_000_000 + nanoseconds + offset_ns
    return message.data[:4] + struct.pack(layout, *divmod(moved, 1_000_000_000)) + message.data[12:]


def _messages(bag: Path, only: tuple[str, ...]) -> Iterator[Stored]:
    """Yield the messages in the order of the file."""
    wanted = {name.lstrip("/") for name in only}
    storage = BagStorage(bag)
    for stored in storage.messages(lambda topic: not wanted or topic.lstrip("/") in wanted):
        yield Stored(stored.topic, stored.type, bytes(stored.data), stored.logged_ns)
    for note in storage.notes:
        print(f"{bag}: {note}")


def _require_no_robot(node: Any, played: set[str], only: tuple[str, ...]) -> None:
    """Raise UserError when a node that is not a known onlooker listens to a recorded command stream: it might obey."""
    from fosp_bringup.paths import robot_files

    commands = {read_robot(path).command_topic for path in robot_files()}
    asked = {name.lstrip("/") for name in only}
    for topic in sorted(played):
        name = topic.lstrip("/")
        if name in asked or not any(is_in_bag(name, command) for command in commands):
            continue
        listening = {info.node_name for info in node.get_subscriptions_info_by_topic(topic)} - ONLOOKERS
        if listening:
            raise UserError(
                f"{topic}: {', '.join(sorted(listening))} listens, and a robot would move as in the bag; "
                f"stop that node, or confirm with --topic {topic}"
            )


def _profile(topic: str) -> QoSProfile:
    """Return a reliable profile, which subscribers of every kind match."""
    latched = topic.endswith(("/model_status", "/model_announcement", "/tf_static", "/robot_description"))
    return qos.REPLAY_LATCHED if latched else qos.REPLAY


def _class_of(message_type: str) -> Any:
    try:
        return message_class(message_type)
    except UserError as error:
        raise UserError(f"{error}; play other topics with --topic") from None
