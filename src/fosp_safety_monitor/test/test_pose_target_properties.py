"""Properties of the target pose for any sequence of commands, however the arm is held or pushed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fosp_safety_monitor.command.pose_target import PoseTarget, ToolPose

UPRIGHT = np.array([0.0, 0.0, 0.0, 1.0])
CENTRE = np.array([0.5, 0.0, 0.2])
TICK_S = 0.01
common = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def at(*position):
    return ToolPose(np.array(position, np.float64), UPRIGHT)


def ahead(pose, measured):
    """Distance, m, and angle, rad."""
    distance = np.linalg.norm(pose.position - measured.position)
    cosine = min(1.0, abs(float(pose.orientation @ measured.orientation)))
    return np.array([distance, 2.0 * np.arccos(cosine)])


velocities = st.tuples(*[st.floats(-0.3, 0.3)] * 3, st.floats(-0.6, 0.6))


@common
@given(st.lists(st.tuples(velocities, st.floats(-1.0, 1.0)), max_size=80))
def test_the_target_of_an_arm_that_does_not_move_stays_within_its_lead_and_the_workspace(turning_arm, steps):
    target, measured = PoseTarget(turning_arm), at(0.74, 0.0, 0.06)
    allowed, workspace = turning_arm.target_lead, turning_arm.workspace
    for command, elapsed_s in steps:
        pose = target.follow(command, measured, elapsed_s)
        assert (ahead(pose, measured) <= np.array([allowed.distance, allowed.angle]) + 1e-6).all()
        assert (workspace.lower <= pose.position).all()
        assert (pose.position <= workspace.upper).all()
        assert np.linalg.norm(pose.orientation) == pytest.approx(1.0)


@common
@given(st.lists(st.tuples(velocities, st.tuples(*[st.floats(-0.2, 0.2)] * 3)), max_size=40))
def test_the_target_never_goes_further_ahead_however_the_arm_is_pushed(turning_arm, steps):
    target, allowed = PoseTarget(turning_arm), turning_arm.target_lead
    pose = target.follow((0.0,) * 4, at(*CENTRE), 0.0)
    for command, push in steps:
        measured = at(*(CENTRE + push))
        most = np.maximum(ahead(pose, measured), [allowed.distance, allowed.angle])
        pose = target.follow(command, measured, TICK_S)
        assert (ahead(pose, measured) <= most + 1e-6).all()
