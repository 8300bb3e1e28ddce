"""Properties of taking over and handing back, for any sequence of presses, releases, faults and silences."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fosp_core.decisions import Decision, Reason, WhoDrives
from fosp_safety_monitor.judge import decision
from fosp_safety_monitor.judge.verdict import Finding

JERK = 300.0
common = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
any_speed = st.one_of(st.sampled_from([-1.0, 0.0, 1.0]), st.floats(-1, 1))
events = st.tuples(
    st.sampled_from(
        ["press", "press", "press", "release", "release", "fault", "silence", "policy dies", "latch", "reset"]
    ),
    st.tuples(*[any_speed] * 3),
    st.integers(1, 30),
)


@common
@given(st.lists(events, min_size=1, max_size=12), st.booleans())
def test_limits_hold_across_all_changes_and_nobody_takes_the_robot_from_who_holds_it(
    make_takeover_scene, arm, sequence, gate
):
    limits = {name: axis.model_copy(update={"jerk": JERK}) for name, axis in arm.limits.items()}
    # The norm's limit, which takes precedence over that of jerk, stays out of the way: test_limits.py has it.
    scene = make_takeover_scene(gate_operator=gate, robot={"limits": limits, "linear_speed": 1.0})
    scene.go(0.3)
    command, slope = np.array(scene.state.command), np.array(scene.state.acceleration)
    for kind, action, ticks in sequence:
        if kind == "press":
            scene.say(holds=True, action=action, fault="")
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
        for _ in range(ticks):
            (tick,) = scene.go(0.01)
            after, device = np.array(tick.command), scene.robot.operator
            assert np.isfinite(after).all()
            assert (np.abs(after) <= scene.limits.speed + 1e-9).all()
            assert (np.abs(after - command) <= scene.limits.deceleration * 0.01 + 1e-9).all()
            acceleration = (after - command) / 0.01
            assert (np.abs(acceleration - slope) <= JERK * 0.01 + 1e-3).all()
            # While a stop lets the acceleration run out, by the limit of jerk, the speed still grows a little.
            along = np.sign(after)
            speeds_up = ((np.abs(after) > np.abs(command) + 1e-12) & (acceleration * along >= slope * along)).any()
            if scene.speaks and device.holds:
                assert scene.driver is not WhoDrives.POLICY
            if speeds_up and scene.driver is WhoDrives.OPERATOR:
                assert device.holds
                assert device.fault == ""
                assert device.releases > 0
                assert scene.ros_s - device.received.stamp_s <= 0.15
                assert scene.state.latched is None
            command, slope = after, acceleration
