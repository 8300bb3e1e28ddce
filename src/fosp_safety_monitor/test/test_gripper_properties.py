"""A robot with a gripper keeps every limit across any sequence of take-overs, hand-backs, faults and stops."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fosp_core.decisions import Decision, Reason, WhoDrives
from fosp_core.robot.config import RobotConfig
from fosp_safety_monitor.judge import decision
from fosp_safety_monitor.judge.verdict import Finding

if TYPE_CHECKING:
    from conftest import GripperTakeover

JERK = 300.0
RATE = 4.0
"""Rate of the gripper, normalised, per second."""
any_value = st.one_of(st.sampled_from([-1.0, 0.0, 1.0]), st.floats(-1, 1))
gripper_values = st.one_of(st.just(()), st.tuples(any_value))
"""A person who presses none of the gripper's buttons names no position."""
events = st.tuples(
    st.sampled_from(
        ["press", "press", "press", "release", "release", "fault", "silence", "driver", "policy dies", "latch", "reset"]
    ),
    st.tuples(*[any_value] * 3),
    gripper_values,
    st.integers(1, 25),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(events, min_size=1, max_size=10), st.booleans())
def test_speed_acceleration_jerk_and_the_grippers_rate_hold_and_no_stop_moves_the_gripper(
    gripper_takeover: Callable[..., GripperTakeover], pick: RobotConfig, sequence: list[Any], gate: bool
) -> None:
    limits = {name: axis.model_copy(update={"jerk": JERK}) for name, axis in pick.limits.items()}
    scene = gripper_takeover(gate_operator=gate, robot={"limits": limits, "linear_speed": 1.0})
    scene.go(0.3)
    command, slope, told = np.array(scene.state.command), np.array(scene.state.acceleration), scene.state.gripper.sent
    for kind, action, gripper, ticks in sequence:
        if kind == "press":
            scene.say(holds=True, action=(*action, *gripper), fault="")
        elif kind == "release":
            scene.say(holds=False, action=(0.0, 0.0, 0.0), fault="")
        elif kind == "fault":
            scene.say(fault="is silent")
        elif kind == "latch":
            scene.state = decision.latch(scene.state, Finding(Decision.LATCH, Reason.NODE_RESTARTED, "came back"))
        elif kind == "reset":
            scene.reset()
        scene.speaks = kind != "silence"
        scene.policy = kind != "policy dies"
        scene.driver_fault = "has refused a goal" if kind == "driver" else ""
        for _ in range(ticks):
            (tick,) = scene.go(0.01)
            after, acceleration = np.array(tick.command), (np.array(tick.command) - command) / 0.01
            assert (np.abs(after) <= scene.limits.speed + 1e-9).all()
            assert (np.abs(after - command) <= scene.limits.deceleration * 0.01 + 1e-9).all()
            assert (np.abs(acceleration - slope) <= JERK * 0.01 + 1e-3).all()
            now = scene.state.gripper.sent
            before = 1.0 if told is None else told
            if now is not None:
                assert abs(now - before) <= RATE * 0.01 + 1e-9
                assert abs(now) <= 1.0
            stands = tick.finding.decision >= Decision.STOP
            holds = scene.driver is WhoDrives.OPERATOR and len(scene.said["action"]) == 3
            if stands or holds:
                assert now == told
            command, slope, told = after, acceleration, now
