"""From joint states to what an arm's limits need at a command: positions by name, and all that follows from them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import mul

import numpy as np

from fosp_core.clock import Received
from fosp_core.errors import UserError
from fosp_core.robot.arm_limits import JointsConfig
from fosp_core.robot.config import RobotConfig
from fosp_core.robot.limits import speed_norms
from fosp_core.robot.urdf import Quaternion
from fosp_safety_monitor.arm.kinematics import (
    Conditioning,
    Kinematics,
    Vector,
    conditioning,
    decomposed,
    finite,
    joint_motion,
)
from fosp_safety_monitor.arm.model import ArmModel
from fosp_safety_monitor.arm.sharing import Rooms

MATCH_S = 0.04
"""Greatest difference of the stamps of a pose and of joint states that are compared, s."""
_HISTORY_S = 0.3
Point = tuple[float, float, float]


@dataclass(frozen=True)
class JointReading:
    """The last position and velocity of one joint that were heard."""

    position: float
    """rad or m."""
    velocity: float | None
    """rad/s or m/s; None: the message has none."""
    received: Received


@dataclass(frozen=True)
class MeasuredPose:
    """A pose of the commanded point in the action frame."""

    received: Received
    position: Point
    orientation: Quaternion | None


@dataclass(frozen=True, eq=False)
class ArmView:
    """The newest joint states, as far as the limits need them at each command."""

    received: Received
    """Stamp and receipt of the joint that was heard of least recently."""
    fault: str = ""
    """Why the joint states tell nothing; empty when they do."""
    motion: Vector = field(default_factory=lambda: np.zeros((0, 0)))
    """(n, A) motion of each joint per unit of each axis of the action."""
    speeds: Vector = field(default_factory=lambda: np.zeros(0))
    """(n,) limits of the joints' speeds, rad/s or m/s."""
    joints: Rooms = field(default_factory=lambda: Rooms.none(0))
    """The room to the limits of the joints' positions."""
    near: Rooms = field(default_factory=lambda: Rooms.none(0))
    """The room to what the links must not touch."""
    conditioning: Conditioning = field(default_factory=lambda: Conditioning(1.0, np.zeros(0)))
    names: tuple[str, ...] = ()
    """(n,) names of the joints."""
    too_fast: str = ""
    """A joint that is measured to move faster than it may, in words."""
    mismatch: str = ""
    """How the measured pose contradicts the joint states, in words."""
    compared_s: float = -math.inf
    """Receipt, monotonic clock, of the last pose that was compared with the joint states."""


class ArmObserver:
    """Makes a view of each message of joint states. One thread uses it."""

    def __init__(self, robot: RobotConfig, model: ArmModel) -> None:
        assert robot.joints is not None
        self._config, self._model = robot.joints, model
        self._axes = [str(axis.name) for axis in robot.action.axes]
        norms = speed_norms(robot)
        self._norms = tuple(norm if math.isfinite(norm) else 0.0 for norm in norms)
        self._table: dict[str, JointReading] = {}
        self._places: deque[tuple[float, Kinematics]] = deque()
        self._compared_s = self._compared_stamp_s = -math.inf
        self._mismatch = ""

    def hear(
        self, names: Sequence[str], positions: Sequence[float], velocities: Sequence[float], received: Received
    ) -> None:
        """Take in a message, whatever the order of its names; UserError when it is malformed."""
        self._table |= readings(names, positions, velocities, self._table, received)

    def view(self, pose: MeasuredPose | None) -> ArmView:
        """Return the view of all that was heard, held against the measured pose."""
        model, missing = self._model, [name for name in self._model.needed if name not in self._table]
        if not self._table:
            return ArmView(Received(0.0, -math.inf), "no joint states came yet")
        heard = [self._table[name] for name in model.needed if name in self._table]
        received = _oldest([reading.received for reading in heard or self._table.values()])
        if missing:
            return ArmView(
                received, f"the joint states have no joint '{missing[0]}'; name it in `held` if nobody tells"
            )
        kinematics = model.place({name: self._table[name].position for name in model.needed})
        if not finite(kinematics):
            return ArmView(received, "the joint positions are no positions of an arm")
        self._compare(kinematics, received, pose)
        velocity = np.array([self._table[name].velocity or 0.0 for name in model.names])
        position = np.array([self._table[name].position for name in model.names])
        svd = decomposed(kinematics.jacobian, self._config.holds_orientation)
        motion = joint_motion(svd, self._axes)
        distances = model.distances()
        near = Rooms(
            distances.values,
            distances.gradients @ motion,
            distances.kept,
            distances.gradients @ velocity,
            distances.tell,
            only_back=True,
        )
        return ArmView(
            received,
            motion=motion,
            speeds=model.speed,
            joints=joint_rooms(model, position, velocity, motion, self._config),
            near=near,
            conditioning=conditioning(kinematics.jacobian, motion, svd),
            names=model.names,
            too_fast=_too_fast(model, velocity),
            mismatch=self._mismatch,
            compared_s=self._compared_s,
        )

    def _compare(self, kinematics: Kinematics, received: Received, pose: MeasuredPose | None) -> None:
        """Hold a pose that was not compared yet against the joint states of its moment, where both are known."""
        places = self._places
        if places and received.stamp_s < places[-1][0]:  # a simulator began anew
            places.clear()
            self._compared_stamp_s = -math.inf
        places.append((received.stamp_s, kinematics))
        while places[0][0] < received.stamp_s - _HISTORY_S:
            places.popleft()
        if pose is None or not math.isfinite(pose.received.stamp_s):
            return
        stamp_s = pose.received.stamp_s
        if stamp_s == self._compared_stamp_s:
            return
        at_s, nearest = min(places, key=lambda place: abs(place[0] - stamp_s))
        if abs(at_s - stamp_s) > MATCH_S:
            return
        self._compared_s, self._compared_stamp_s = pose.received.receipt_s, stamp_s
        self._mismatch = mismatch(nearest, pose, abs(at_s - stamp_s), self._config, self._norms)


def readings(
    names: Sequence[str],
    positions: Sequence[float],
    velocities: Sequence[float],
    before: Mapping[str, JointReading],
    received: Received,
) -> dict[str, JointReading]:
    """Return what a message says of each of its joints; UserError when it is malformed.

    Where it has no velocities they are the differences to what was heard `before`.
    """
    if len(positions) != len(names) or len(set(names)) != len(names):
        raise UserError(f"joint states with {len(names)} names, some of them twice, or {len(positions)} positions")
    if len(velocities) not in (0, len(names)):
        raise UserError(f"joint states with {len(names)} names and {len(velocities)} velocities")
    if not all(map(math.isfinite, (*positions, *velocities))):
        raise UserError("joint states with NaN or infinity")
    heard = {}
    for index, name in enumerate(names):
        position, last = float(positions[index]), before.get(name)
        velocity = float(velocities[index]) if len(velocities) else _difference(position, last, received)
        heard[name] = JointReading(position, velocity, received)
    return heard


def joint_rooms(model: ArmModel, position: Vector, velocity: Vector, motion: Vector, config: JointsConfig) -> Rooms:
    """Return the room to the margins of both limits of each joint that has any."""
    values, rows, slack, drift, whose = [], [], [], [], []
    for index, name in enumerate(model.names):
        margin = config.margin(name)
        for sign, limit in ((1.0, model.upper[index]), (-1.0, model.lower[index])):
            if not math.isfinite(limit):
                continue
            values.append(sign * (limit - position[index]) - margin)
            rows.append(-sign * motion[index])
            slack.append(0.5 * margin)
            drift.append(-sign * velocity[index])
            whose.append((name, position[index], limit, margin))
    if not values:
        return Rooms.none(motion.shape[1])

    def tell(number: int) -> str:
        name, at, limit, margin = whose[number]
        return f"{name} at {at:.2f}, limit {limit:.2f} with a margin of {margin:g}"

    return Rooms(np.array(values), np.array(rows), np.array(slack), np.array(drift), tell)


def mismatch(
    place: Kinematics, pose: MeasuredPose, apart_s: float, config: JointsConfig, speeds: tuple[float, ...]
) -> str:
    """Return how a measured pose contradicts that of the joint states, in words; an empty text when it does not.

    They were measured `apart_s` apart, in which the commanded point moves at no more than `speeds`, m/s and rad/s.
    """
    distance = math.dist(pose.position, place.position.tolist())
    if distance > config.pose_distance + speeds[0] * apart_s:
        return f"by the joint states the commanded point is {1e3 * distance:.0f} mm away from its measured pose"
    if pose.orientation is None:
        return "the measured pose has no orientation"
    cosine = min(abs(sum(map(mul, place.orientation, pose.orientation))), 1.0)
    angle = 2.0 * math.acos(cosine)
    if angle > config.pose_angle + speeds[1] * apart_s:
        return f"by the joint states the tool is turned by {angle:.2f} rad from its measured pose"
    return ""


def _difference(position: float, last: JointReading | None, received: Received) -> float | None:
    if last is None:
        return None
    elapsed_s = received.stamp_s - last.received.stamp_s
    if elapsed_s == 0.0 and position == last.position:
        return last.velocity
    return (position - last.position) / elapsed_s if elapsed_s > 1e-4 else None


def _oldest(received: Sequence[Received]) -> Received:
    return Received(min(one.stamp_s for one in received), min(one.receipt_s for one in received))


def _too_fast(model: ArmModel, velocity: Vector) -> str:
    """Return the joint that moves the most beyond its speed limit, in words; noise and rounding are no excess."""
    excess = np.abs(velocity) - 1.2 * model.speed - 0.05
    index = int(excess.argmax())
    if not excess[index] > 0.0:
        return ""
    return f"{model.names[index]} moves at {velocity[index]:.2f}, limit {model.speed[index]:.2f}"
