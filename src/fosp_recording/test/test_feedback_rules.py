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
        ({"elbow": NAN}, True),
        ({"wrist": 1.0}, True),
        ({}, True),
    ],
)
def test_effort_of_the_watched_joints(efforts: dict[str, float], holds: bool) -> None:
    assert EFFORT.holds(efforts) is holds


def test_without_named_joints_all_are_watched() -> None:
    rule = EFFORT.model_copy(update={"joints": ()})
    assert rule.holds({"elbow": 1.0, "wrist": 11.0})
    assert not rule.holds({"elbow": 1.0, "wrist": 2.0})
    assert rule.holds({})


@pytest.mark.parametrize(
    ("force", "torque", "holds"),
    [
        ((9.0, 9.0, 0.0), (0.0, 0.0, 0.0), False),
        ((12.0, 12.0, 0.0), (0.0, 0.0, 0.0), True),
        ((0.0, 0.0, 0.0), (0.0, 2.1, 0.0), True),
        ((NAN, 0.0, 0.0), (0.0, 0.0, 0.0), True),
        ((0.0, 0.0, 0.0), (NAN, 0.0, 0.0), True),
    ],
)
def test_wrench(force: tuple[float, ...], torque: tuple[float, ...], holds: bool) -> None:
    assert WRENCH.holds(force, torque) is holds


def test_distance_to_the_goal() -> None:
    assert GOAL.holds((0.5, 0.02, 0.2))
    assert not GOAL.holds((0.5, 0.04, 0.2))
    assert not GOAL.holds((NAN, 0.0, 0.2)), "a pose that is not known is no success"
    assert GOAL.distance((0.5, 0.3, 0.6)) == pytest.approx(0.5)
    assert math.isnan(GOAL.distance((NAN, 0.0, 0.2)))


def test_depth_counts_known_pixels_only_and_a_covered_lens_is_close() -> None:
    depth = np.full((4, 4), 700, np.uint16)
    assert not DEPTH.holds(depth)
    depth[0, :3] = 100
    assert not DEPTH.holds(depth), "3 of 16"
    depth[1:3] = 0
    assert DEPTH.holds(depth), "3 of 8 that are known"
    assert DEPTH.holds(np.zeros((4, 4), np.uint16))


def test_scan_ignores_what_is_no_measurement() -> None:
    assert not SCAN.holds(np.array([0.0, 0.05, NAN, math.inf, 0.3]), 0.1)
    assert SCAN.holds(np.array([0.19, 5.0]), 0.1)
    assert not SCAN.holds(np.array([]), 0.1)


def test_bumper_and_button() -> None:
    bumper = BumperRule(kind="bumper", topic="bumper", cost=1.0)
    assert [bumper.holds(True), bumper.holds(False)] == [True, False]
    button = ButtonRule(kind="button", button=2, success=True)
    assert [button.holds([0, 0, 1]), button.holds([1, 1, 0]), button.holds([1, 1])] == [True, False, False]


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
    ],
)
def test_a_wrong_rule_is_refused_in_one_line(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        parse_spec(FeedbackConfig, {"time_limit_s": 10.0, "rules": [rule]}, "rules.yaml")
    assert "\n" not in str(error.value)
