"""The motion of a bag that is run on a robot again, and the bags that are refused before anything moves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

from fosp_cli.commissioning.recorded_run import SLOT_S, read_run
from fosp_cli.commissioning.robot_run import RobotRun, away_from_start
from fosp_core.bag_types import typestore
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig, read_robot

ROBOTS = Path(__file__).parents[3] / "config" / "robots"
BEGIN = (0.5, 0.0, 0.2)
RATE_HZ = 100


@pytest.fixture
def arm() -> RobotConfig:
    return read_robot(ROBOTS / "sim_arm.yaml")


Change = Callable[[int, Any, Any], None]


def write_bag(
    folder: Path, speed: float = 0.1, seconds: float = 2.0, robot: str = "sim_arm", change: Change | None = None
) -> Path:
    """Write a bag of an arm that rests for half a second, drives along x, and rests again."""
    store, bag = typestore(), folder / "demonstration"
    types = store.types
    stamp, header = types["builtin_interfaces/msg/Time"], types["std_msgs/msg/Header"]
    twist, vector = types["geometry_msgs/msg/Twist"], types["geometry_msgs/msg/Vector3"]
    pose, point, turn = (types[f"geometry_msgs/msg/{name}"] for name in ("Pose", "Point", "Quaternion"))
    told_type, pose_type = "geometry_msgs/msg/TwistStamped", "geometry_msgs/msg/PoseStamped"
    with Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        if robot:
            writer.set_custom_data("robot", robot)
        told = writer.add_connection("/arm/twist_command", told_type, typestore=store)
        seen = writer.add_connection("/tool_pose", pose_type, typestore=store)
        x = BEGIN[0]
        for i in range(round((seconds + 1.0) * RATE_HZ)):
            now_ns = 1_700_000_000_000_000_000 + i * 10**9 // RATE_HZ
            at = header(stamp(*divmod(now_ns, 10**9)), "base_link")
            v = speed if 0.5 <= i / RATE_HZ < 0.5 + seconds else 0.0
            x += v / RATE_HZ
            zero = vector(0.0, 0.0, 0.0)
            command = types[told_type](at, twist(vector(v, 0.0, 0.0), zero))
            place = types[pose_type](at, pose(point(x, BEGIN[1], BEGIN[2]), turn(0.0, 0.0, 0.0, 1.0)))
            if change is not None:
                change(i, command, place)
            writer.write(told, now_ns, store.serialize_cdr(command, told_type))
            writer.write(seen, now_ns, store.serialize_cdr(place, pose_type))
    return bag


def test_a_run_has_the_normalised_commands_in_slots_and_where_the_robot_was(tmp_path: Path, arm: RobotConfig) -> None:
    run = read_run(write_bag(tmp_path), arm)
    assert run.seconds == pytest.approx(2.0 + 0.6, abs=0.05), "the motion, and a moment of rest around it"
    assert run.actions.sum(0) * SLOT_S * 0.25 == pytest.approx([0.2, 0.0, 0.0], abs=0.005)
    assert run.actions.max() == pytest.approx(0.4, abs=1e-6)
    assert run.poses[0][:3] == pytest.approx(BEGIN, abs=1e-3)
    assert run.poses[-1][:3] == pytest.approx((0.7, 0.0, 0.2), abs=5e-3)
    action, pose = run.at(1.3)
    assert (action[0], pose[0]) == (pytest.approx(0.4), pytest.approx(0.6, abs=0.01))
    assert not run.at(100.0)[0].any()


def _frame(name: str) -> Change:
    def change(i: int, command: Any, place: Any) -> None:
        command.header.frame_id = name

    return change


def _pose_frame(i: int, command: Any, place: Any) -> None:
    place.header.frame_id = "world"


def _nan(i: int, command: Any, place: Any) -> None:
    if i == 100:
        command.twist.linear.y = np.nan


def _jump(i: int, command: Any, place: Any) -> None:
    if i > 150:
        place.pose.position.y = 0.3


def _back(i: int, command: Any, place: Any) -> None:
    if i > 150:
        command.header.stamp.sec -= 10


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"robot": "ur5e"}, "recorded with robot 'ur5e', not 'sim_arm'"),
        ({"speed": 0.28}, "beyond the action's scale of 0.25"),
        ({"speed": 0.0}, "never told to move"),
        ({"change": _frame("tool0")}, "in frame 'tool0'"),
        ({"change": _pose_frame}, "in frame 'world'"),
        ({"change": _nan}, "is not finite"),
        ({"change": _jump}, "jumps after"),
        ({"change": _back}, "go back"),
    ],
)
def test_a_bag_that_is_not_of_this_robot_or_not_one_motion_is_refused(
    arguments: dict[str, Any], says: str, tmp_path: Path, arm: RobotConfig
) -> None:
    bag = write_bag(tmp_path, **arguments)
    with pytest.raises(UserError) as error:
        read_run(bag, arm)
    assert str(error.value).startswith(f"{bag}: ")
    assert says in str(error.value)


def test_a_bag_without_poses_cannot_say_where_the_robot_stood(tmp_path: Path, arm: RobotConfig) -> None:
    elsewhere = arm.model_copy(update={"pose_topic": "other_pose"})
    with pytest.raises(UserError, match="topic other_pose is missing"):
        read_run(write_bag(tmp_path), elsewhere)


class Standing:
    """A commander whose robot stands somewhere."""

    def __init__(self, position: tuple[float, float, float] | None) -> None:
        self.pose = None if position is None else np.array([*position, 0.0, 0.0, 0.0, 1.0])


@pytest.mark.parametrize(
    ("position", "says"),
    [
        (BEGIN, ""),
        ((0.52, 0.0, 0.2), ""),
        ((0.5, 0.1, 0.2), "stands 0.100 m from the demonstration's start (0.500, 0.000, 0.200), limit 0.03 m"),
        (None, "no fresh pose"),
    ],
)
def test_a_robot_that_stands_elsewhere_is_told_how_far(
    position: tuple[float, float, float] | None, says: str, tmp_path: Path, arm: RobotConfig
) -> None:
    run = read_run(write_bag(tmp_path), arm)
    one: Any = RobotRun(run, arm, None, 1.0, 1.0, 0.05, False, False, None)  # type: ignore[arg-type]
    said = away_from_start(one, Standing(position))  # type: ignore[arg-type]
    assert says in said
    assert bool(said) == bool(says)
