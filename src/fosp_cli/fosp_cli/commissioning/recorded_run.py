"""The motion of a recorded demonstration, as it is run again on a robot: its commands, and where the robot was.

What was recorded with another robot, holds no number, or goes beyond the action's scale is refused here, before
anything moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fosp_core.bag.messages import deserialise, stamp_ns
from fosp_core.bag.storage import BagStorage, StoredTopic
from fosp_core.errors import UserError
from fosp_core.executed import mean_command, twists_of_poses
from fosp_core.robot.config import RobotConfig
from fosp_learner.data.bag_messages import command_types, read_command
from fosp_learner.data.bag_names import find_topic

Array = NDArray[np.float64]

SLOT_S = 0.02
"""Time that one action of the run lasts at the speed of the recording, s: proposals come at 50 Hz."""
BEYOND = 1.02
"""Multiple of an action's scale from which on a command is beyond it."""
_AROUND_S = 0.3
"""Rest that is kept before the first motion and after the last one, s."""
_LEAST_JUMP_M = 0.05
_MOST_PAUSE_S = 1.0
"""Longest pause of the recorded poses during the motion, s."""
_KINDS = {"pose": "geometry_msgs/msg/PoseStamped", "odometry": "nav_msgs/msg/Odometry"}


@dataclass(frozen=True)
class RecordedRun:
    """The motion of one bag. Slots last SLOT_S each."""

    actions: Array
    """(N, n), normalised."""
    poses: Array
    """(N + 1, 7): position, m, and orientation (x, y, z, w) when each slot begins, and when the last one ends."""

    @property
    def seconds(self) -> float:
        """Length at the speed of the recording, s."""
        return SLOT_S * len(self.actions)

    def at(self, elapsed_s: float) -> tuple[Array, Array]:
        """Return the action (n,) and the pose (7,) at a time since the beginning, s, at the speed of the recording."""
        slot = min(max(int(elapsed_s / SLOT_S), 0), len(self.actions) - 1)
        return self.actions[slot], self.poses[min(slot, len(self.poses) - 1)]


def read_run(bag: Path, robot: RobotConfig) -> RecordedRun:
    """Return the motion of a bag. Raise UserError with one line where it must not, or cannot, be run on this robot."""
    try:
        return _read(BagStorage(bag), robot)
    except UserError as error:
        text = str(error)
        raise UserError(text if text.startswith(f"{bag}: ") else f"{bag}: {text}") from None


def recorded_robot(bag: Path) -> str:
    """Return the name of the robot that the bag names; empty where it names none."""
    return BagStorage(bag).custom_data.get("robot", "")


def _read(storage: BagStorage, robot: RobotConfig) -> RecordedRun:
    named = storage.custom_data.get("robot", "")
    if named and named != robot.name:
        raise UserError(f"was recorded with robot '{named}', not '{robot.name}'")
    if robot.gripper is not None:
        raise UserError(f"robot '{robot.name}' has a gripper, which a run would not move: it cannot be run again")
    topics = storage.topics()
    command_topic, (pose_topic, kind) = find_topic(topics, robot.command_topic), _pose_topic(topics, robot)
    if topics[command_topic].type not in command_types(robot):
        wanted = " or ".join(command_types(robot))
        raise UserError(f"{command_topic} holds {topics[command_topic].type}, the robot takes {wanted}")
    commands: list[tuple[int, Array]] = []
    poses: list[tuple[int, Array]] = []
    for stored in storage.messages({command_topic, pose_topic}.__contains__):
        message = deserialise(stored)
        if stored.topic == command_topic:
            commands.append(read_command(message, stored.type, stored.logged_ns, robot))
        else:
            poses.append((stamp_ns(message), _pose(message, kind, robot)))
    told_s, told = _in_order(commands, robot.command_topic)
    seen_s, seen = _in_order(poses, pose_topic)
    if robot.command_type == "PoseStamped":
        told = twists_of_poses(told_s, told, robot.action, robot.command_timeout_s)
    _check_scale(told, robot)
    begin_s, end_s = _span(told_s, told)
    _check_continuous(seen_s, seen, begin_s, end_s, robot)
    edges = begin_s + SLOT_S * np.arange(max(1, round((end_s - begin_s) / SLOT_S)) + 1)
    hold, scale = robot.command_timeout_s, np.array(robot.action.scale)
    means = [mean_command(told_s, told, a, b, hold) for a, b in pairwise(edges.tolist())]
    nearest = np.clip(np.searchsorted(seen_s, edges), 0, len(seen_s) - 1)
    return RecordedRun(np.clip(np.array(means) / scale, -1.0, 1.0), seen[nearest])


def _pose_topic(topics: Mapping[str, StoredTopic], robot: RobotConfig) -> tuple[str, str]:
    """Return the topic by which the bag tells where the robot was, and its kind in _KINDS."""
    if robot.pose_topic:
        return find_topic(topics, robot.pose_topic), "pose"
    if robot.state_type == "Odometry":
        return find_topic(topics, robot.state_topic), "odometry"
    raise UserError(f"robot '{robot.name}' measures neither a pose nor odometry: nobody could say where a run begins")


def _pose(message: Any, kind: str, robot: RobotConfig) -> Array:
    """Return position and orientation (7,)."""
    if kind == "pose" and message.header.frame_id != robot.action.frame_id:
        raise UserError(f"poses are in frame '{message.header.frame_id}', the robot's are in '{robot.action.frame_id}'")
    pose = message.pose if kind == "pose" else message.pose.pose
    p, q = pose.position, pose.orientation
    return np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w], np.float64)


def _in_order(stream: list[tuple[int, Array]], topic: str) -> tuple[Array, Array]:
    """Return stamps (N,), s, and values (N, m). UserError for values that are no numbers, and stamps that go back."""
    if not stream:
        raise UserError(f"holds no message on {topic}")
    begin_ns = stream[0][0]
    stamps = np.array([when - begin_ns for when, _ in stream], np.float64) * 1e-9 + begin_ns * 1e-9
    values = np.array([value for _, value in stream])
    if not np.isfinite(values).all():
        raise UserError(f"a value on {topic} is not finite; record the demonstration again")
    if (np.diff(stamps) < 0).any():
        raise UserError(f"the stamps on {topic} go back: it holds several recordings, or its clock was set")
    return stamps, values


def _check_scale(told: Array, robot: RobotConfig) -> None:
    for axis, values in zip(robot.action.axes, np.abs(told).T, strict=True):
        if values.max() > BEYOND * axis.scale:
            raise UserError(
                f"a command of {axis.name} is {values.max():.3g} {axis.unit}, beyond the action's scale of "
                f"{axis.scale:g}: it was recorded with another robot file, and would not be the same motion"
            )


def _span(stamps: Array, told: Array) -> tuple[float, float]:
    """Return the beginning and the end of the motion, s, with a moment of rest around it."""
    moving = np.flatnonzero(np.any(told != 0.0, axis=1))
    if not len(moving):
        raise UserError("the robot was never told to move: there is nothing to run")
    begin = max(float(stamps[0]), float(stamps[moving[0]]) - _AROUND_S)
    return begin, min(float(stamps[-1]), float(stamps[moving[-1]]) + _AROUND_S)


def _check_continuous(stamps: Array, poses: Array, begin_s: float, end_s: float, robot: RobotConfig) -> None:
    """Raise UserError where the recorded robot jumped, as between two episodes, or was not seen for a while."""
    inside = (stamps >= begin_s) & (stamps <= end_s)
    if inside.sum() < 2:
        raise UserError("where the robot was during its motion was not recorded")
    times, places = stamps[inside], poses[inside, :3]
    elapsed, moved = np.diff(times), np.linalg.norm(np.diff(places, axis=0), axis=1)
    pause = float(max(elapsed.max(initial=0.0), times[0] - begin_s, end_s - times[-1]))
    if pause > _MOST_PAUSE_S:
        raise UserError(f"where the robot was is not recorded for {pause:.1f} s of its motion")
    speed = max((robot.limits[axis.name].speed for axis in robot.action.axes if axis.unit == "m/s"), default=0.0)
    jumps = np.flatnonzero(moved > _LEAST_JUMP_M + 2.0 * speed * elapsed)
    if len(jumps):
        when = times[jumps[0]] - begin_s
        raise UserError(f"the robot jumps after {when:.1f} s, by {moved[jumps[0]]:.2f} m: give the bag of one episode")
