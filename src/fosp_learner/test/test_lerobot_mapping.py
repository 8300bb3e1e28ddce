"""The mapping between a LeRobotDataset and a robot, and how rewards and rules are read by it."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import TypeAdapter

pytest.importorskip("pyarrow", reason="pip install -r requirements/lerobot.txt")

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.specs import parse_spec
from fosp_learner.lerobot.judging import judge_by_columns, judge_by_rules
from fosp_learner.lerobot.layout import DataSet, Feature, feature_names
from fosp_learner.lerobot.mapping import DataSetMapping, FeedbackColumns, Measurement, factors, read_mapping
from fosp_learner.lerobot.plausibility import excursions, motion_notes
from fosp_recording.feedback_rules import FeedbackConfig

ROBOTS = Path(__file__).parents[3] / "config/robots"
FEEDBACK = {"reward": "next.reward", "cost": "next.cost", "success": "next.success"}


@pytest.fixture(scope="module")
def base() -> RobotConfig:
    return read_robot(ROBOTS / "sim_base.yaml")


def described(**action: Any) -> dict[str, Any]:
    """Return the mapping of a base whose data set speaks of x.vel in m/s and theta.vel in degrees per second."""
    axes = {"linear.x": {"name": "x.vel"}, "angular.z": {"name": "theta.vel", "factor": math.pi / 180}}
    return {
        "cameras": [{"feature": "observation.images.front"}],
        "action": {"kind": "velocity", "frame_id": "base_link", "axes": axes, **action},
        "feedback": FEEDBACK,
    }


def read(tmp_path: Path, robot: RobotConfig, content: dict[str, Any]) -> DataSetMapping:
    path = tmp_path / "mapping.yaml"
    path.write_text(yaml.safe_dump(content))
    return read_mapping(path, robot)


def test_factors_make_si_units_in_the_order_of_the_robots_axes(tmp_path: Path, base: RobotConfig) -> None:
    assert factors(read(tmp_path, base, described()), base, 30.0) == [1.0, math.pi / 180]
    steps = read(tmp_path, base, described(kind="displacement"))
    assert factors(steps, base, 30.0) == pytest.approx([30.0, math.pi / 6])


@pytest.mark.parametrize("kind", ["joint_position", "position", "joint_velocity", "torque"])
def test_what_is_no_twist_is_refused_with_the_reason_and_with_what_fits(
    tmp_path: Path, base: RobotConfig, kind: str
) -> None:
    with pytest.raises(UserError, match=rf"action.kind: '{kind}' cannot be mapped: .*velocities.*displacements"):
        read(tmp_path, base, described(kind=kind))


@pytest.mark.parametrize("name", ["shoulder_pan.pos", "joint_1", "left_elbow", "motor_0", "gripper", "wrist_roll.pos"])
def test_joints_are_no_axes(tmp_path: Path, base: RobotConfig, name: str) -> None:
    axes = {"linear.x": {"name": name}, "angular.z": {"name": "theta.vel"}}
    with pytest.raises(UserError, match=f"action: {name}: joints cannot be mapped"):
        read(tmp_path, base, described(axes=axes))


@pytest.mark.parametrize("name", ["delta_roll", "ee_delta.x", "wrist.vx", "x.vel", "1"])
def test_names_of_tool_and_base_motions_are_axes(tmp_path: Path, base: RobotConfig, name: str) -> None:
    axes = {"linear.x": {"name": name}, "angular.z": {"name": "theta.vel"}}
    assert read(tmp_path, base, described(axes=axes)).action.axes["linear.x"].name == name


def test_a_mapping_of_other_axes_or_of_another_frame_is_refused(tmp_path: Path, base: RobotConfig) -> None:
    with pytest.raises(UserError, match=r"sim_base has angular\.z, linear\.x, the mapping linear\.x"):
        read(tmp_path, base, described(axes={"linear.x": {"name": "x.vel"}}))
    with pytest.raises(UserError, match="'world' is not the robot's 'base_link'"):
        read(tmp_path, base, described(frame_id="world"))


def test_an_unknown_key_and_a_cost_that_nobody_vouches_for_are_refused(tmp_path: Path, base: RobotConfig) -> None:
    with pytest.raises(UserError, match=r"unknown key 'action\.unit'; allowed: feature, kind"):
        read(tmp_path, base, described(unit="m"))
    with pytest.raises(UserError, match=r"feedback\.cost: Field required"):
        read(tmp_path, base, described() | {"feedback": {"reward": "next.reward"}})
    with pytest.raises(UserError, match="name the column of the reward"):
        read(tmp_path, base, described() | {"feedback": {"cost": "never", "success": "next.success"}})


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["x", "y"], ("x", "y")),
        ({"motors": ["x", "y"]}, ("x", "y")),
        ({"y": 1, "x": 0}, ("x", "y")),
        ([["x", "y"]], ("x", "y")),
        (None, ("0", "1")),
        (["x", "x"], ("0", "1")),
        (["height", "width", "channel"], ("0", "1")),
    ],
)
def test_names_of_a_feature_are_read_in_every_form_that_data_sets_use(names: Any, expected: tuple[str, ...]) -> None:
    assert feature_names(names, 2) == expected


def data_set(**widths: int) -> DataSet:
    features = {
        key.replace("__", "."): Feature(key.replace("__", "."), "float32", (width,), feature_names(None, width))
        for key, width in widths.items()
    }
    return DataSet(Path("set"), 10.0, features, ())


def columns(**values: list[Any]) -> dict[str, np.ndarray]:
    rows = len(next(iter(values.values())))
    named = {key.replace("__", "."): np.array(value, np.float64).reshape(rows, -1) for key, value in values.items()}
    return {**named, "timestamp": np.arange(rows)[:, None] / 10.0}


def test_what_a_row_led_to_arrives_with_the_next_row_and_nothing_of_the_last_one_is_lost() -> None:
    spec = parse_spec(FeedbackColumns, FEEDBACK | {"success_reward": 5.0}, "mapping")
    judge, needed = judge_by_columns(spec, data_set(next__reward=1, next__cost=1, next__success=1))
    assert needed == set(FEEDBACK.values())
    values = judge(columns(next__reward=[1, 2, 4], next__cost=[0, 1, 3], next__success=[0, 0, 1]), 7)
    assert [v.reward for v in values] == [0.0, 1.0, 2.0 + 4.0 + 5.0]
    assert [v.cost for v in values] == [0.0, 0.0, 3.0]
    assert [(v.is_first, v.is_last, v.success, v.terminal, v.episode) for v in values] == [
        (True, False, False, False, 7),
        (False, False, False, False, 7),
        (False, True, True, True, 7),
    ]


def test_what_led_to_a_row_arrives_with_it_where_the_mapping_says_so() -> None:
    spec = parse_spec(FeedbackColumns, FEEDBACK | {"belongs_to": "same", "cost": "never"}, "mapping")
    judge, _ = judge_by_columns(spec, data_set(next__reward=1, next__success=1))
    values = judge(columns(next__reward=[9, 2, 4], next__success=[0, 0, 1]), 0)
    assert [v.reward for v in values] == [0.0, 2.0, 4.0]
    assert [v.cost for v in values] == [0.0, 0.0, 0.0]


def test_a_reward_that_is_no_number_and_a_negative_cost_are_refused() -> None:
    judge, _ = judge_by_columns(
        parse_spec(FeedbackColumns, FEEDBACK, "m"), data_set(next__reward=1, next__cost=1, next__success=1)
    )
    with pytest.raises(UserError, match=r"next\.reward is not finite in row 1"):
        judge(columns(next__reward=[0, math.nan], next__cost=[0, 0], next__success=[0, 0]), 0)
    with pytest.raises(UserError, match="negative"):
        judge(columns(next__reward=[0, 0], next__cost=[-1, 0], next__success=[0, 0]), 0)


GOAL = {"kind": "goal", "topic": "tool_pose", "goal": [1.0, 0.0, 0.0], "within_m": 0.1, "success": True, "reward": 2.0}
CONTACT = {"kind": "wrench", "topic": "wrench", "force_n": 10.0, "cost": 1.0}
BUTTON = {"kind": "button", "button": 1, "cost": 1.0}
MEASURED = {
    "tool_pose": {"kind": "position", "feature": "state", "names": ["0", "1", "2"], "factor": 0.001},
    "wrench": {"kind": "wrench", "feature": "force", "force": ["0", "1", "2"]},
}


def rules(*entries: dict[str, Any]) -> FeedbackConfig:
    return parse_spec(FeedbackConfig, {"time_limit_s": 20.0, "time_penalty": 0.0, "rules": list(entries)}, "rules")


def measured() -> dict[str, Measurement]:
    return TypeAdapter(dict[str, Measurement]).validate_python(MEASURED)


def test_rules_give_cost_and_success_from_measured_columns_and_end_the_episode_at_the_goal() -> None:
    judge, needed = judge_by_rules(rules(GOAL, CONTACT), measured(), (), data_set(state=3, force=3))
    assert needed == {"state", "force"}
    state = [[0, 0, 0], [500, 0, 0], [950, 0, 0], [1000, 0, 0]]
    values = judge(columns(state=state, force=[[0, 0, 0], [0, 0, 20], [0, 0, 0], [0, 0, 0]]), 0)
    assert [v.cost for v in values] == [0.0, 1.0, 1.0]  # the force still held when the interval to row 2 began
    assert [v.reward for v in values] == [0.0, 0.0, 2.0]
    assert [v.is_last for v in values] == [False, False, True]
    assert values[2].success
    assert values[2].terminal
    assert values[1].distance == pytest.approx(0.5)


def test_an_episode_that_no_rule_ends_is_no_success() -> None:
    judge, _ = judge_by_rules(rules(GOAL), measured(), (), data_set(state=3))
    values = judge(columns(state=[[0, 0, 0], [1, 0, 0], [2, 0, 0]]), 0)
    assert [(v.is_last, v.success, v.terminal) for v in values][-1] == (True, False, False)
    with pytest.raises(UserError, match="the episode would end at once"):
        judge(columns(state=[[1000, 0, 0], [1000, 0, 0]]), 0)
    with pytest.raises(UserError, match="not finite in row 1"):
        judge(columns(state=[[0, 0, 0], [math.nan, 0, 0]]), 0)


def test_a_rule_that_the_data_cannot_judge_is_refused_unless_it_is_left_out_knowingly() -> None:
    with pytest.raises(UserError, match=r"the button rule on joy needs measurements: \{joy\.1: \{kind: flag"):
        judge_by_rules(rules(GOAL, BUTTON), measured(), (), data_set(state=3))
    judge_by_rules(rules(GOAL, BUTTON), measured(), ("joy",), data_set(state=3))
    with pytest.raises(UserError, match="no rule is on scan"):
        judge_by_rules(rules(GOAL), measured(), ("scan",), data_set(state=3))
    scan = {"kind": "scan", "topic": "scan", "closer_m": 0.2, "cost": 1.0}
    with pytest.raises(UserError, match="scan rule on scan cannot be judged from a LeRobotDataset"):
        judge_by_rules(rules(GOAL, scan), measured(), (), data_set(state=3))


def test_the_extent_of_a_path_is_measured_along_each_axis() -> None:
    assert excursions(np.array([[1.0, 0.5], [-1.0, 0.5], [1.0, 0.5]]), 10.0) == pytest.approx([0.1, 0.1])


@pytest.fixture(scope="module")
def arm() -> RobotConfig:
    return read_robot(ROBOTS / "sim_arm.yaml")


def moved(scale: float, lag: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return velocities of a tool that circles, and its measured positions, which are `scale` of the way and late."""
    phase = np.arange(80) / 10.0
    velocity = 0.1 * np.stack([np.cos(phase), np.sin(phase), np.zeros(80)], 1)
    path = np.concatenate([np.zeros((1, 3)), scale * velocity.cumsum(0) / 20.0])
    return velocity, np.array([0.5, 0.0, 0.2]) + path[np.maximum(np.arange(81) - lag, 0)]


def test_a_tool_that_follows_the_actions_is_told_of(arm: RobotConfig) -> None:
    velocity, position = moved(1.0)
    (note,) = [line for line in motion_notes([velocity], [position], 20.0, arm, 0.0) if "measured" in line]
    share = float(note.split("moves by ")[1].split()[0])
    assert share == pytest.approx(0.9, abs=0.1)


@pytest.mark.parametrize("scale", [0.1, -1.0, 10.0])
def test_a_tool_that_moves_otherwise_than_the_actions_say_shows_a_wrong_unit_or_sign(
    arm: RobotConfig, scale: float
) -> None:
    velocity, position = moved(scale)
    with pytest.raises(UserError, match="mend kind, factor, names or signs of the action"):
        motion_notes([velocity], [position], 20.0, arm, 0.0)


def test_actions_that_are_hardly_any_are_told(arm: RobotConfig) -> None:
    notes = motion_notes([np.full((20, 3), 1e-4)], [None], 20.0, arm, 0.0)
    assert notes == ["no action is beyond 0.04% of the robot's scale: is the factor of the mapping right?"]
