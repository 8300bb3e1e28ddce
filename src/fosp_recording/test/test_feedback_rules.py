"""Every rule on both sides of its threshold, and on measurements that cannot be judged."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fosp_core.errors import UserError
from fosp_core.specs import parse_spec
from fosp_recording.feedback_rules import (
    BumperRule,
    ButtonRule,
    DepthRule,
    EffortRule,
    FeedbackConfig,
    GoalRule,
    ScanRule,
    WrenchRule,
    read_feedback_config,
)

NAN = math.nan
EFFORT = EffortRule(kind="effort", topic="joint_states", above=10.0, joints=("elbow",), cost=1.0)
WRENCH = WrenchRule(kind="wrench", topic="wrench", force_n=15.0, torque_nm=2.0, cost=1.0)
GOAL = GoalRule(kind="goal", topic="tool_pose", goal=(0.5, 0.0, 0.2), within_m=0.03, success=True)
DEPTH = DepthRule(kind="depth", topic="depth", closer_m=0.15, share=0.25, cost=1.0)
SCAN = ScanRule(kind="scan", topic="scan", closer_m=0.2, cost=1.0)


@pytest.mark.parametrize(
    ("efforts", "holds"),
    [
        ({"elbow": 9.9, "wrist": 50.0}, False),
        ({"elbow": -10.1}, True),
        ({"elbow": NAN}, None),
        ({"elbow": math.inf}, None),
        ({"wrist": 1.0}, None),
        ({}, None),
    ],
)
def test_effort_of_the_watched_joints(efforts: dict[str, float], holds: bool | None) -> None:
    assert EFFORT.holds(efforts) is holds


def test_without_named_joints_all_are_watched() -> None:
    rule = EFFORT.model_copy(update={"joints": ()})
    assert rule.holds({"elbow": 1.0, "wrist": 11.0})
    assert rule.holds({"elbow": 11.0, "wrist": NAN}), "one that is known is enough"
    assert rule.holds({"elbow": 1.0, "wrist": 2.0}) is False
    assert rule.holds({"elbow": 1.0, "wrist": NAN}) is None
    assert rule.holds({}) is None


@pytest.mark.parametrize(
    ("force", "torque", "holds"),
    [
        ((9.0, 9.0, 0.0), (0.0, 0.0, 0.0), False),
        ((12.0, 12.0, 0.0), (0.0, 0.0, 0.0), True),
        ((0.0, 0.0, 0.0), (0.0, 2.1, 0.0), True),
        ((NAN, 0.0, 0.0), (0.0, 0.0, 0.0), None),
        ((math.inf, 0.0, 0.0), (0.0, 0.0, 0.0), None),
        ((0.0, 0.0, 0.0), (NAN, 0.0, 0.0), None),
    ],
)
def test_wrench(force: tuple[float, ...], torque: tuple[float, ...], holds: bool | None) -> None:
    assert WRENCH.holds(force, torque) is holds


def test_a_saturated_force_is_unknown() -> None:
    rule = WRENCH.model_copy(update={"range_n": 12.0})
    assert rule.holds((0.0, 0.0, -12.0), (0.0, 0.0, 0.0)) is None
    assert rule.holds((11.0, 0.0, 0.0), (0.0, 0.0, 0.0)) is False
    assert rule.holds((12.0, 12.0, 0.0), (0.0, 0.0, 0.0)) is True


def test_torque_that_no_rule_is_about_need_not_be_known() -> None:
    rule = WRENCH.model_copy(update={"torque_nm": None})
    assert rule.holds((0.0, 0.0, 0.0), (NAN, NAN, NAN)) is False


def test_distance_to_the_goal() -> None:
    assert GOAL.holds((0.5, 0.02, 0.2))
    assert not GOAL.holds((0.5, 0.04, 0.2))
    assert GOAL.holds((NAN, 0.0, 0.2)) is None
    assert GOAL.distance((0.5, 0.3, 0.6)) == pytest.approx(0.5)
    assert math.isnan(GOAL.distance((NAN, 0.0, 0.2)))


def test_depth_counts_known_pixels_only_and_a_covered_lens_is_close() -> None:
    depth = np.full((4, 4), 700, np.uint16)
    assert not DEPTH.holds(depth)
    depth[0, :3] = 100
    assert not DEPTH.holds(depth), "3 of 16"
    depth[1:3] = 0
    assert DEPTH.holds(depth), "3 of 8 that are known"
    assert DEPTH.holds(np.zeros((4, 4), np.uint16)) is None
    assert DEPTH.holds(np.zeros((0, 0), np.uint16)) is None
    nearly_blind = np.zeros((10, 10), np.uint16)
    nearly_blind[0, :4] = 700
    assert DEPTH.holds(nearly_blind) is None, "the lens is covered but for a corner"


def test_depth_in_metres_is_judged_like_depth_in_millimetres() -> None:
    depth = np.full((4, 4), 0.7, np.float32)
    assert not DEPTH.holds(depth)
    depth[0, :3] = 0.1
    assert not DEPTH.holds(depth), "3 of 16"
    depth[1:3] = [NAN, 0.0, NAN, -1.0]
    assert DEPTH.holds(depth), "3 of 8 that are known"
    for unknown in (NAN, 0.0, -0.5):
        assert DEPTH.holds(np.full((4, 4), unknown, np.float32)) is None
    assert DEPTH.holds(np.full((4, 4), -math.inf, np.float32)), "closer than can be measured"
    assert DEPTH.holds(np.full((4, 4), math.inf, np.float32)) is False, "farther than can be measured"
    with pytest.raises(UserError, match="shows a depth of 700 m: 32FC1 must be in m"):
        DEPTH.holds(np.full((4, 4), 700.0, np.float32))


@pytest.mark.parametrize(
    ("ranges", "holds"),
    [
        ([0.0, 0.05, NAN, math.inf, 0.3], False),
        ([0.19, 5.0], True),
        ([math.inf] * 36, False),
        ([-math.inf] * 36, True),
        ([-math.inf] + [math.inf] * 35, True),
        ([-math.inf, NAN], True),
        ([NAN] * 36, None),
        ([0.0] * 36, None),
        ([-1.0, NAN], None),
        ([], None),
    ],
)
def test_scan_by_rep_117(ranges: list[float], holds: bool | None) -> None:
    assert SCAN.holds(np.array(ranges, np.float32), 0.1) is holds


def test_a_scan_without_a_least_range_is_unknown() -> None:
    assert SCAN.holds(np.array([1.0, math.inf], np.float32), NAN) is None


def test_bumper_and_button() -> None:
    bumper = BumperRule(kind="bumper", topic="bumper", cost=1.0)
    assert [bumper.holds(True), bumper.holds(False)] == [True, False]
    button = ButtonRule(kind="button", button=2, success=True)
    assert [button.holds([0, 0, 1]), button.holds([1, 1, 0]), button.holds([1, 1])] == [True, False, None]


@pytest.mark.parametrize("rule", [EFFORT, WRENCH, GOAL, DEPTH, SCAN, BumperRule(kind="bumper", topic="b", cost=1.0)])
def test_what_is_unknown_is_close_by_default(rule: Any) -> None:
    assert rule.unknown == "close"


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[3] / "config" / "feedback").glob("*.yaml")))
def test_the_shipped_rules_are_valid(path: Path) -> None:
    rules = read_feedback_config(path).rules
    assert any(rule.success for rule in rules)
    assert any(rule.cost > 0 for rule in rules)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"kind": "scan", "topic": "scan", "closer_m": 0.0, "cost": 1.0}, "closer_m"),
        ({"kind": "scan", "topic": "scan", "closer_m": 0.2}, "needs an effect"),
        ({"kind": "laser", "topic": "scan", "cost": 1.0}, "'laser'"),
        ({"kind": "scan", "topic": "scan", "closer_m": 0.2, "cost": -1.0}, "cost"),
        ({"kind": "scan", "topic": "my-scan", "closer_m": 0.2, "cost": 1.0}, "no name of a ROS topic: '-' is not"),
        ({"kind": "scan", "topic": "scan", "closer_m": 0.2, "cost": 1.0, "unknown": "far"}, "'close' or 'free'"),
    ],
)
def test_a_wrong_rule_is_refused_in_one_line(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        parse_spec(FeedbackConfig, {"time_limit_s": 10.0, "rules": [rule]}, "rules.yaml")
    assert "\n" not in str(error.value)
