"""A seven-joint arm for the tests of arms' limits: its chain in numpy, and the same as URDF for Pinocchio.

The lengths, limits and speeds are those that the maker of a common research arm publishes; its links are cylinders.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fosp_core.clock import Now, Received
from fosp_core.robot.arm_limits import JointsConfig
from fosp_core.robot.config import RobotConfig
from fosp_core.robot.limits import CommandLimits
from fosp_core.specs import TWIST_COMPONENTS, parse_spec, read_yaml
from fosp_safety_monitor.arm.guard import ArmGuard, ArmInputs, ArmJudgement, ArmMeasured
from fosp_safety_monitor.arm.kinematics import Kinematics
from fosp_safety_monitor.arm.model import ArmModel, Distances
from fosp_safety_monitor.arm.view import ArmObserver, MeasuredPose

ROBOTS = Path(__file__).resolve().parents[1] / "config" / "robots"
NAMES = tuple(f"joint{number}" for number in range(1, 8))
ORIGINS = (
    ((0.0, 0.0, 0.333), 0.0),
    ((0.0, 0.0, 0.0), -math.pi / 2),
    ((0.0, -0.316, 0.0), math.pi / 2),
    ((0.0825, 0.0, 0.0), math.pi / 2),
    ((-0.0825, 0.384, 0.0), -math.pi / 2),
    ((0.0, 0.0, 0.0), math.pi / 2),
    ((0.088, 0.0, 0.0), math.pi / 2),
)
"""Place, m, and roll, rad, of each joint in the link before it; every joint turns about its z axis."""
TIP = 0.107
PERIOD_S = 0.01
LOWER = (-2.7437, -1.7837, -2.9007, -3.0421, -2.8065, 0.5445, -3.0159)
UPPER = (2.7437, 1.7837, 2.9007, -0.1518, 2.8065, 4.5169, 3.0159)
SPEED = (2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26)
READY = (0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785)
"""Positions, rad, of a hand that points down in front of the arm."""
AXES = ("linear.x", "linear.y", "linear.z", "angular.x", "angular.y", "angular.z")
NEIGHBOURS = [["link5", "link7"]]
"""Links that touch in every position of the joints, besides those that a joint connects."""
_CYLINDERS: dict[int, list[tuple[float, float, tuple[float, float, float], float]]] = {
    0: [(0.09, 0.2, (0.0, 0.0, 0.1), 0.0)],
    1: [(0.06, 0.18, (0.0, 0.0, -0.12), 0.0)],
    2: [(0.06, 0.16, (0.0, -0.06, 0.0), math.pi / 2)],
    3: [(0.06, 0.12, (0.0, 0.0, -0.1), 0.0)],
    4: [(0.06, 0.12, (0.0, 0.0, 0.0), 0.0)],
    5: [(0.055, 0.26, (0.0, 0.0, -0.2), 0.0)],
    6: [(0.05, 0.1, (0.03, 0.0, 0.0), 0.0)],
    7: [(0.045, 0.1, (0.0, 0.0, 0.06), 0.0)],
}
"""Radius and length, m, centre, m, and roll, rad, of the cylinders of each link."""


def urdf(lower: Sequence[float] = LOWER, upper: Sequence[float] = UPPER, speed: Sequence[float] = SPEED) -> str:
    """The arm as URDF."""
    parts = [f'<robot name="seven">{_link(0)}']
    for index, ((x, y, z), roll) in enumerate(ORIGINS):
        parts.append(
            f'<joint name="joint{index + 1}" type="revolute">'
            f'<parent link="link{index}"/><child link="link{index + 1}"/>'
            f'<origin xyz="{x} {y} {z}" rpy="{roll} 0 0"/><axis xyz="0 0 1"/>'
            f'<limit lower="{lower[index]}" upper="{upper[index]}" velocity="{speed[index]}" effort="80"/></joint>'
            f"{_link(index + 1)}"
        )
    parts.append(
        '<link name="hand"/><joint name="hand_mount" type="fixed"><parent link="link7"/><child link="hand"/>'
        f'<origin xyz="0 0 {TIP}"/></joint></robot>'
    )
    return "".join(parts)


def _link(number: int) -> str:
    shapes = "".join(
        f'<collision><origin xyz="{x} {y} {z}" rpy="{roll} 0 0"/>'
        f'<geometry><cylinder radius="{radius}" length="{length}"/></geometry></collision>'
        for radius, length, (x, y, z), roll in _CYLINDERS[number]
    )
    return f'<link name="link{number}">{shapes}</link>'


def kinematics(positions: Sequence[float]) -> Kinematics:
    """The chain of the arm, without Pinocchio."""
    turn, point = np.eye(3), np.zeros(3)
    axes, origins = [], []
    for (origin, roll), angle in zip(ORIGINS, positions, strict=True):
        point = point + turn @ np.array(origin)
        turn = turn @ _about_x(roll) @ _about_z(angle)
        axes.append(turn[:, 2])
        origins.append(point)
    tip = point + turn @ np.array([0.0, 0.0, TIP])
    linear = np.array([np.cross(axis, tip - origin) for axis, origin in zip(axes, origins, strict=True)]).T
    return Kinematics(tip, _quaternion(turn), np.vstack([linear, np.array(axes).T]))


def config(**joints) -> JointsConfig:
    return parse_spec(JointsConfig, {"tip_link": "hand", **joints}, "joints")


def robot(axes: Sequence[str] = AXES, orientation_limit: dict | None = None, **joints) -> RobotConfig:
    """An arm whose actions are twists along `axes`, with limits of its joints."""
    content = read_yaml(ROBOTS / "sim_arm.yaml")
    content["action"] = {"frame_id": "link0", "axes": [_axis(name) for name in axes]}
    content["limits"] = {name: _limits(name) for name in axes}
    content["workspace"] = {"lower": [-1.0, -1.0, -1.0], "upper": [1.0, 1.0, 1.5]}
    content["joints"] = {"tip_link": "hand", **joints}
    return parse_spec(RobotConfig, content | {"orientation_limit": orientation_limit}, "robot")


def _axis(name: str) -> dict[str, object]:
    return {"name": name, "scale": 0.25 if name.startswith("linear") else 0.5}


def _limits(name: str) -> dict[str, float]:
    return {"speed": 0.3 if name.startswith("linear") else 0.6, "acceleration": 4.0, "deceleration": 6.0}


def _about_x(angle: float):
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def _about_z(angle: float):
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def _quaternion(turn) -> tuple[float, float, float, float]:
    """x, y, z, w of a rotation matrix."""
    w = 0.5 * math.sqrt(max(0.0, 1 + turn[0, 0] + turn[1, 1] + turn[2, 2]))
    if w > 1e-5:
        x, y, z = turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]
        return x / (4 * w), y / (4 * w), z / (4 * w), w
    values, vectors = np.linalg.eigh(turn + turn.T)
    axis = vectors[:, int(values.argmax())]
    return float(axis[0]), float(axis[1]), float(axis[2]), w


class SevenJoints(ArmModel):
    """The same arm in place of Pinocchio's, near nothing."""

    def __init__(self) -> None:
        self.names = self.needed = NAMES
        self.lower, self.upper, self.speed = np.array(LOWER), np.array(UPPER), np.array(SPEED)

    def place(self, positions: Mapping[str, float]) -> Kinematics:
        return kinematics([positions[name] for name in NAMES])

    def distances(self) -> Distances:
        return Distances(np.zeros(0), np.zeros(0), np.zeros((0, 7)), ())


class ArmUnderTest:
    """An arm that follows its commands with the lag of its robot file, and its guard, which sees it all the time."""

    def __init__(self, robot: RobotConfig, positions: Sequence[float], model: ArmModel | None = None) -> None:
        self.robot, self.guard = robot, ArmGuard(robot)
        self.observer = ArmObserver(robot, model or SevenJoints())
        self.limits = CommandLimits(robot)
        self.positions, self.speeds = np.array(positions, float), np.zeros(7)
        self.command, self.acceleration = np.zeros(robot.action.size), np.zeros(robot.action.size)
        self.sent = [self.command] * max(1, round(robot.dead_time_s / PERIOD_S))
        self.obeyed = self.command
        self.time_s = 1000.0
        self.last = ArmJudgement()

    @property
    def now(self) -> Now:
        return Now(self.time_s, self.time_s)

    def inputs(self) -> ArmMeasured:
        """Fresh joint states and a pose that agrees with them."""
        received, place = Received(self.time_s, self.time_s), kinematics(self.positions)
        self.observer.hear(NAMES, self.positions.tolist(), self.speeds.tolist(), received)
        x, y, z = place.position.tolist()
        view = self.observer.view(MeasuredPose(received, (x, y, z), place.orientation))
        return ArmMeasured(received, place.orientation, ArmInputs(None, view))

    def step(self, wish: Sequence[float]) -> None:
        """One command towards what is wanted, and what the arm does."""
        self.last = self.guard.judge(self.inputs(), tuple(wish), tuple(self.command.tolist()), self.now)
        target = self.last.share * np.array(wish, float)
        point = kinematics(self.positions).position
        after = self.limits.follow(target, self.command, PERIOD_S, point, self.acceleration).command
        self.acceleration = (after - self.command) / PERIOD_S
        self.follow(after.tolist())

    def follow(self, command: Sequence[float]) -> None:
        """Obey a command for one period, with the lag of this arm."""
        self.command = np.array(command)
        self.sent.append(self.command)
        share = 1.0 - math.exp(-PERIOD_S / self.robot.response_s)
        self.obeyed = self.obeyed + share * (self.sent.pop(0) - self.obeyed)
        twist = np.zeros(6)
        for axis, value in zip(self.robot.action.axes, self.obeyed, strict=True):
            twist[TWIST_COMPONENTS.index(axis.name)] = value
        self.speeds = np.linalg.pinv(kinematics(self.positions).jacobian, rcond=1e-9) @ twist
        self.positions = self.positions + PERIOD_S * self.speeds
        self.time_s += PERIOD_S
