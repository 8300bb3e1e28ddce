"""Commands are held against the motion that was measured beside them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fosp_core.bag_types import typestore
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.specs import CameraSpec, ObservationSpec
from fosp_learner.data.bags import read_bag
from fosp_learner.data.measured_motion import MeasuredMotion, measured_topic
from fosp_learner.finetuning.interventions import read_labelled

ROBOTS = Path(__file__).parents[3] / "config" / "robots"
SMALL = ObservationSpec(cameras=(CameraSpec(height=16, width=16),))
STEP_S = 0.01
Array = NDArray[np.float64]


def pose(stamp_s: float, x: float, y: float, z: float, heading: float, base: bool = False) -> Any:
    """A PoseStamped or an Odometry, as far as it is read."""
    turned = SimpleNamespace(x=0.0, y=0.0, z=math.sin(heading / 2), w=math.cos(heading / 2))
    found: Any = SimpleNamespace(position=SimpleNamespace(x=x, y=y, z=z), orientation=turned)
    stamp = SimpleNamespace(sec=int(stamp_s), nanosec=round(stamp_s % 1 * 1e9))
    return SimpleNamespace(header=SimpleNamespace(stamp=stamp), pose=SimpleNamespace(pose=found) if base else found)


def wandering(robot: RobotConfig, seconds: float = 6.0, seed: int = 0) -> Array:
    """Smooth random commands (n, A), m/s and rad/s, 100 per second."""
    rng, count = np.random.default_rng(seed), round(seconds / STEP_S)
    knots = rng.uniform(-1, 1, (count // 40 + 2, robot.action.size)) * np.asarray(robot.action.scale)
    at = np.arange(count) / 40
    return np.stack([np.interp(at, np.arange(len(knots)), column) for column in knots.T], 1)


def notes(robot: RobotConfig, commands: Array, does: Array, lag: int = 2, stuck: bool = False) -> list[str]:
    """Return the lines about a robot that is told `commands` and does the twist `does` (n, A), `lag` steps later."""
    base, motion = robot.kind == "base", MeasuredMotion(robot)
    x = y = z = heading = 0.0
    names = [axis.name for axis in robot.action.axes]
    rng = np.random.default_rng(1)
    for i in range(len(does)):
        moves = dict(zip(names, does[max(0, i - lag)] * (i >= lag) * (not stuck) * STEP_S, strict=True))
        forward, aside = moves.get("linear.x", 0.0), moves.get("linear.y", 0.0)
        heading += moves.get("angular.z", 0.0)
        c, s = (math.cos(heading), math.sin(heading)) if base else (1.0, 0.0)
        x, y, z = x + c * forward - s * aside, y + s * forward + c * aside, z + moves.get("linear.z", 0.0)
        motion.take(pose(100.0 + i * STEP_S, *(np.array([x, y, z]) + rng.normal(0, 1e-4, 3)), heading, base))
    stamps = np.int64(100 * 10**9) + (np.arange(len(commands)) * STEP_S * 1e9).astype(np.int64)
    return list(motion.notes(stamps, commands))


@pytest.mark.parametrize("name", ["sim_arm", "ur5e", "sim_base", "turtlebot4"])
def test_a_robot_that_does_what_it_is_told_gives_no_word(name: str) -> None:
    robot = read_robot(ROBOTS / f"{name}.yaml")
    for seed in range(5):
        commands = wandering(robot, seed=seed)
        assert notes(robot, commands, commands) == []
        assert notes(robot, commands, 0.8 * commands, lag=8) == []


@pytest.mark.parametrize("name", ["sim_arm", "sim_base"])
@pytest.mark.parametrize("seed", range(3))
def test_a_flipped_axis_is_refused_whichever_it_is(name: str, seed: int) -> None:
    robot = read_robot(ROBOTS / f"{name}.yaml")
    commands = wandering(robot, seed=seed)
    for column, axis in enumerate(robot.action.axes):
        flipped = commands * np.where(np.arange(robot.action.size) == column, -1.0, 1.0)
        with pytest.raises(UserError, match=f"{axis.name} moved the robot by -(1\\.|0\\.9).* sign is wrong"):
            notes(robot, flipped, commands)


@pytest.mark.parametrize("seed", range(3))
def test_axes_that_changed_places_are_refused(seed: int) -> None:
    robot = read_robot(ROBOTS / "sim_arm.yaml")
    commands = wandering(robot, seed=seed)
    with pytest.raises(UserError, match=r"linear\.x moved .* and linear\.y by 1.*: axes changed places"):
        notes(robot, commands[:, [1, 0, 2]], commands)


def test_speeds_in_another_unit_are_refused_or_told() -> None:
    robot = read_robot(ROBOTS / "sim_arm.yaml")
    commands = wandering(robot)
    with pytest.raises(UserError, match="different units"):
        notes(robot, 0.1 * commands, commands)
    with pytest.raises(UserError, match="did not move as it was told on any axis"):
        notes(robot, commands, 0.02 * commands)
    one = commands * np.array([1.0, 0.2, 1.0])
    (told,) = notes(robot, commands, one)
    assert told.startswith("linear.y moved the robot by 0.2")
    assert "held up" in told


def test_commands_that_moved_nothing_are_refused_and_too_few_decide_nothing() -> None:
    robot = read_robot(ROBOTS / "sim_arm.yaml")
    commands = wandering(robot)
    with pytest.raises(UserError, match="did not move as it was told"):
        notes(robot, commands, commands, stuck=True)
    assert notes(robot, commands[:90], commands[:90], stuck=True) == [], "less than a second"
    assert notes(robot, 0.0 * commands, commands) == [], "it was told nothing"
    assert notes(robot, commands, commands[:0]) == [], "nothing was measured"


def test_a_jump_of_the_pose_is_no_motion() -> None:
    robot = read_robot(ROBOTS / "sim_arm.yaml")
    commands = wandering(robot)
    does = commands.copy()
    does[300] = np.array([30.0, -30.0, 10.0])  # 30 cm in a hundredth of a second: the episode began anew
    assert notes(robot, commands, does) == []


@pytest.mark.parametrize(("name", "judged"), [("sim_arm", True), ("sim_base", False)])
def test_a_pose_without_an_orientation_tells_of_an_arms_place_and_nothing_of_a_base(name: str, judged: bool) -> None:
    robot = read_robot(ROBOTS / f"{name}.yaml")
    motion, commands, place = MeasuredMotion(robot), wandering(robot), np.zeros(3)
    for i, command in enumerate(commands):
        message = pose(100.0 + i * STEP_S, *place, 0.0, robot.kind == "base")
        (message.pose.pose if robot.kind == "base" else message.pose).orientation.w = 0.0
        motion.take(message)
        place = place - np.resize(command, 3) * STEP_S
    stamps = np.int64(100 * 10**9) + (np.arange(len(commands)) * STEP_S * 1e9).astype(np.int64)
    if judged:
        with pytest.raises(UserError, match="sign is wrong"):
            list(motion.notes(stamps, commands))
    else:
        assert list(motion.notes(stamps, commands)) == []


def test_a_robot_that_coasts_is_not_judged_and_a_base_without_odometry_neither() -> None:
    assert measured_topic(read_robot(ROBOTS / "sim_point.yaml")) is None
    base = read_robot(ROBOTS / "sim_base.yaml")
    assert measured_topic(base.model_copy(update={"state_type": "JointState"})) is None
    assert MeasuredMotion(read_robot(ROBOTS / "sim_point.yaml")).topics_among({}) == {}


@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_a_bag_whose_commands_are_not_what_moved_the_robot_is_refused_in_training_and_in_fine_tuning(
    write_bag: Callable[..., Path], rewrite_bag: Callable[..., Path], robot: RobotConfig, direction: float
) -> None:
    types = typestore().types

    def measured(message: Any) -> list[Any]:
        _, kind, when, content = message
        if not kind.endswith("TwistStamped"):
            return [message]
        place = direction * content.twist.linear.x * (when * 1e-9 - 1000.0)
        point = types["geometry_msgs/msg/Point"](place, 0.0, 0.1)
        upright = types["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0)
        found = types["geometry_msgs/msg/PoseStamped"](content.header, types["geometry_msgs/msg/Pose"](point, upright))
        return [message, ("/tool_pose", "geometry_msgs/msg/PoseStamped", when, found)]

    bag = rewrite_bag(write_bag(frames=121, last_at=120), measured)
    if direction > 0:
        assert read_bag(bag, SMALL, robot, 0.05).report.notes == ()
        assert len(read_labelled(bag, SMALL, robot, 0.05, 0.15)) == 1
        return
    with pytest.raises(UserError, match=r"rewritten: linear\.x moved the robot by -1\.00 of what was told"):
        read_bag(bag, SMALL, robot, 0.05)
    with pytest.raises(UserError, match=r"linear\.x moved the robot by -1\.00"):
        read_labelled(bag, SMALL, robot, 0.05, 0.15)
