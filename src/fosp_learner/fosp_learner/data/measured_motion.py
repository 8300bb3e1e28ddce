"""Holds the commands of a recording against the motion that was measured beside them: do they move the robot so?

A flipped axis, two axes that changed places, or speeds in another unit look like any other commands. What the robot did
tells them apart. Over windows of half a second the measured motion (n, A) is regressed on the commanded one (n, A); a
robot that does what it is told has the identity matrix, less a lag. What is decided lies four standard errors away
from what is usual, so that a robot that is held up, or hardly moved, decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fosp_core.bag.messages import stamp_ns
from fosp_core.bag.storage import StoredTopic
from fosp_core.errors import UserError
from fosp_core.executed import rotation_between
from fosp_core.robot.config import RobotConfig
from fosp_core.robot.limits import speed_norms
from fosp_core.specs import TWIST_COMPONENTS
from fosp_core.topics import is_in_bag

Array = NDArray[np.float64]
POSE, ODOMETRY = "geometry_msgs/msg/PoseStamped", "nav_msgs/msg/Odometry"
_WINDOW_S, _STRIDE_S = 0.5, 0.1
_LEAST = 0.02
"""Share of full speed that an axis is told in the root mean square, from which on it is judged."""
_LEAST_S = 1.0
"""Time in which the robot was told to move, s, from which on it is judged."""
_LONGEST_GAP_S = 0.1
"""Time between two measured poses, s, beyond which the motion between them is not known."""
_UNIT = 0.1
"""Largest distance of a quaternion's norm from 1; one beyond it was not filled in."""
_JUMP = 4.0
"""Multiple of the robot's largest speed that no motion has: the pose jumped there, as when an episode begins."""
_WITHOUT_AXES = (1.0, 9.0)
"""Largest speeds, m/s and rad/s, of a robot that has no axis of the kind."""
_FOLLOWS = (0.3, 3.0)
"""Shares of the commanded motion between which a robot follows its commands."""
_STANDS = 0.1
"""Share of the commanded motion below which the robot was moved by something else, or by nothing."""
_CERTAIN = 4.0
"""Standard errors of what is decided."""


def measured_topic(robot: RobotConfig) -> tuple[str, str] | None:
    """Return topic and type of the pose that tells of a robot's motion; None for one whose motion cannot be told.

    A robot that coasts does not move as it is told, and of a base that publishes joint states alone no pose is known.
    """
    if robot.coasts:
        return None
    if robot.kind == "arm":
        return robot.pose_topic, POSE
    return (robot.state_topic, ODOMETRY) if robot.state_type == "Odometry" else None


class MeasuredMotion:
    """Poses of one recording; `problems` holds commands against them."""

    def __init__(self, robot: RobotConfig) -> None:
        self._robot = robot
        self._stamps: list[int] = []
        self._poses: list[tuple[float, ...]] = []

    def topics_among(self, topics: Mapping[str, StoredTopic]) -> dict[str, tuple[str, ...]]:
        """Return the full name of the pose's topic in the bag, with its type; empty where it was not recorded."""
        found = measured_topic(self._robot)
        if found is None:
            return {}
        named = [name for name, topic in topics.items() if is_in_bag(name, found[0]) and topic.type == found[1]]
        return {named[0]: (found[1],)} if len(named) == 1 else {}

    def take(self, message: Any) -> None:
        """Take one message of that topic."""
        pose = message.pose.pose if self._robot.kind == "base" else message.pose
        p, q = pose.position, pose.orientation
        self._stamps.append(stamp_ns(message))
        self._poses.append((p.x, p.y, p.z, q.x, q.y, q.z, q.w))

    def notes(self, command_ns: NDArray[np.int64], commands: Array) -> Iterator[str]:
        """Yield lines about axes that hardly follow; UserError for commands that cannot have moved the robot so.

        `commands` (n, A) are in m/s and rad/s. Nothing is told where too little was measured, or told to move.
        """
        windows = self._windows(command_ns, commands[:, : self._robot.action.twist_size])
        if windows is None:
            return
        asked, done = windows
        scale = np.asarray(self._robot.action.scale[: asked.shape[1]]) * _WINDOW_S
        told = np.sqrt((asked**2).mean(0)) / scale > _LEAST
        moving = (np.abs(asked) / scale > _LEAST).any(1).sum() * _STRIDE_S
        if not told.any() or moving < _LEAST_S:
            return
        share, error = _regressed(asked[:, told] / scale[told], done / scale)
        yield from self._judged(share, error, np.flatnonzero(told))

    def _judged(self, share: Array, error: Array, told: NDArray[np.intp]) -> Iterator[str]:
        names = [axis.name for axis in self._robot.action.axes]
        low, high = share - _CERTAIN * error, share + _CERTAIN * error
        standing = all(np.abs([low[row], high[row]]).max() < _STANDS for row in range(len(told)))
        if standing:
            raise UserError(
                f"the robot did not move as it was told on any axis, by what {self._topic} says: these are not the "
                "commands that moved it, or they are in another unit; leave the bag out"
            )
        for row, column in enumerate(told):
            own, name = share[row, column], names[column]
            told_so = f"{name} moved the robot by {own:.2f} of what was told, by what {self._topic} says"
            clear = (low[row] > 0.5) | (high[row] < -0.5)
            others = [o for o in np.flatnonzero(clear) if o != column]
            if others and high[row, column] < _FOLLOWS[0]:
                raise UserError(
                    f"{told_so}, and {names[others[0]]} by {share[row, others[0]]:.2f}: axes changed places"
                )
            if high[row, column] < -_FOLLOWS[0]:
                raise UserError(f"{told_so}: the sign is wrong, or commands and pose are in different frames")
            if low[row, column] > _FOLLOWS[1]:
                raise UserError(f"{told_so}: commands and pose are in different units")
            if high[row, column] < _FOLLOWS[0]:
                yield f"{told_so}: it was held up, or another unit or axis was meant"

    @property
    def _topic(self) -> str:
        found = measured_topic(self._robot)
        return found[0] if found else ""

    def _windows(self, command_ns: NDArray[np.int64], commands: Array) -> tuple[Array, Array] | None:
        """Return the commanded and the measured motion in windows, (n, A) each, m and rad; None without any."""
        order = np.argsort(self._stamps, kind="stable")
        stamps, poses = np.asarray(self._stamps, np.int64)[order], np.asarray(self._poses)[order]
        _, first = np.unique(stamps, return_index=True)
        stamps, poses = stamps[first], poses[first]
        if len(stamps) < 3 or len(command_ns) < 2:
            return None
        upright = np.array([0.0, 0.0, 0.0, 1.0])
        oriented = np.abs(np.linalg.norm(poses[:, 3:], axis=1) - 1.0) < _UNIT
        turns = self._robot.kind == "base" or any(axis.name.startswith("angular") for axis in self._robot.action.axes)
        if turns and not oriented.all():
            return None  # the driver fills in no orientation, so that its motion is not known
        poses[~oriented, 3:] = upright
        seconds = (stamps - command_ns[0]) * 1e-9
        steps, jumped = self._steps(seconds, poses)
        measured = np.concatenate([np.zeros((1, steps.shape[1])), steps.cumsum(0)])
        jumps = np.concatenate([[0.0], jumped.cumsum()])
        robot = self._robot
        begins = np.arange(seconds[0], seconds[-1] - _WINDOW_S, _STRIDE_S)
        begins = begins[(begins >= 0) & (begins + _WINDOW_S <= (command_ns[-1] - command_ns[0]) * 1e-9)]
        ends = begins + _WINDOW_S
        lag = robot.dead_time_s + robot.response_s
        path = _path((command_ns - command_ns[0]) * 1e-9, commands, robot.command_timeout_s)
        asked = path(ends - lag) - path(begins - lag)
        done = _at(seconds, measured, ends) - _at(seconds, measured, begins)
        # A window that touches a step which cannot be motion is none.
        inside = jumps[np.clip(np.searchsorted(seconds, ends), 0, len(jumps) - 1)]
        inside = inside - jumps[np.clip(np.searchsorted(seconds, begins, "right") - 1, 0, len(jumps) - 1)]
        whole = (inside == 0) & np.isfinite(done).all(1)
        return (asked[whole], done[whole]) if whole.sum() > asked.shape[1] else None

    def _steps(self, seconds: Array, poses: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Return the motion between poses along the action's axes, (n - 1, A), and where it cannot be motion."""
        robot, moved = self._robot, np.diff(poses[:, :3], axis=0)
        turned = rotation_between(poses[:-1, 3:], poses[1:, 3:])
        if robot.kind == "base":  # along the axes of the robot, which turns
            x, y, z, w = poses[:-1, 3:].T
            heading = np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z)) + 0.5 * turned[:, 2]
            c, s = np.cos(heading), np.sin(heading)
            moved = np.stack([c * moved[:, 0] + s * moved[:, 1], c * moved[:, 1] - s * moved[:, 0], moved[:, 2]], 1)
        took = np.maximum(np.diff(seconds), 1e-9)
        norms = zip(speed_norms(robot), _WITHOUT_AXES, strict=True)
        linear, angular = (norm if np.isfinite(norm) else usual for norm, usual in norms)
        fast = np.linalg.norm(moved, axis=1) > _JUMP * linear * np.maximum(took, _STRIDE_S)
        fast |= np.linalg.norm(turned, axis=1) > _JUMP * angular * np.maximum(took, _STRIDE_S)
        components = [TWIST_COMPONENTS.index(axis.name) for axis in robot.action.axes]
        return np.hstack([moved, turned])[:, components], fast | (took > _LONGEST_GAP_S)


def _regressed(asked: Array, done: Array) -> tuple[Array, Array]:
    """Return the matrix (K, A) that makes `done` (n, A) of `asked` (n, K), and its standard errors.

    Windows overlap, so that only one of several is new.
    """
    inverse = np.linalg.pinv(asked.T @ asked)
    share = inverse @ asked.T @ done
    new = max(1.0, len(asked) * _STRIDE_S / _WINDOW_S)
    variance = ((done - asked @ share) ** 2).mean(0) * len(asked) / new
    condition = np.linalg.cond(asked)
    error = np.sqrt(np.outer(np.diag(inverse), variance))
    return share, error if condition < 1e3 else np.full_like(error, np.inf)


def _path(seconds: Array, commands: Array, hold_s: float) -> Any:
    """Return the integral (n, A) of commands by time, each in force until the next one, for `hold_s` at most."""
    held = np.minimum(np.diff(seconds, append=seconds[-1] + hold_s), hold_s)
    edges = np.stack([seconds, seconds + held], 1).ravel()
    path = np.concatenate([np.zeros((1, commands.shape[1])), (commands * held[:, None]).cumsum(0)])
    values = np.stack([path[:-1], path[1:]], 1).reshape(-1, commands.shape[1])
    return lambda times: _at(edges, values, times)


def _at(seconds: Array, values: Array, times: Array) -> Array:
    return np.stack([np.interp(times, seconds, column) for column in values.T], 1)
