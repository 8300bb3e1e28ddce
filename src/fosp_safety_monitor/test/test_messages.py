"""fosp_msgs and the pure core agree, number by number."""

from __future__ import annotations

import array
import math
import re

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from sensor_msgs.msg import JointState

from fosp_core.bag_types import message_folder
from fosp_core.decisions import Decision, Reason, WhoDrives
from fosp_core.ros.stamps import time_message
from fosp_msgs.msg import ActionCandidate, ActionProposal, Latent, SafetyVerdict
from fosp_safety_monitor.command.messages import (
    fill_pose,
    latent_input,
    measured_pose,
    odometry_pose,
    pose_received,
    proposal_input,
    robot_state_received,
    verdict_message,
)
from fosp_safety_monitor.judge.verdict import FrameStamp, Verdict

STAMP_NS = 1_700_000_000_123_456_789


def constants():
    text = (message_folder() / "SafetyVerdict.msg").read_text()
    return {name: int(value) for name, value in re.findall(r"^uint8 ([A-Z_]+) = (\d+)", text, re.M)}


def test_decisions_and_reasons_have_the_values_of_the_message():
    found = constants()
    assert {name: value for name, value in found.items() if not name.startswith(("REASON_", "SOURCE_"))} == {
        decision.name: decision.value for decision in Decision
    }
    assert {name.removeprefix("REASON_"): value for name, value in found.items() if name.startswith("REASON_")} == {
        reason.name: reason.value for reason in Reason
    }
    assert {name.removeprefix("SOURCE_"): value for name, value in found.items() if name.startswith("SOURCE_")} == {
        source.name: source.value for source in WhoDrives
    }


def test_the_built_message_has_the_values_of_its_source():
    assert {name: getattr(SafetyVerdict, name) for name in constants()} == constants()


def latent_message():
    message = Latent(step=7, model_id="m", deter=array.array("f", [1, 2]), stoch=array.array("f", [3]), surprise=0.5)
    message.header.stamp = time_message(STAMP_NS)
    message.header.frame_id = "camera"
    return message


def test_a_latent_keeps_its_stamp_to_the_nanosecond():
    latent = latent_input(latent_message(), 5.0)
    assert latent.frame == FrameStamp(STAMP_NS, "camera")
    assert (latent.step, latent.model_id, latent.receipt_s, latent.surprise) == (7, "m", 5.0, 0.5)
    assert latent.deter.tolist() == [1, 2]
    assert latent.stoch.tolist() == [3]


def proposal_message(*actions):
    candidates = [ActionCandidate(action=array.array("f", action), q_h=0.0, feasible=True) for action in actions]
    return ActionProposal(step=7, model_id="m", candidates=candidates, chosen=1)


def test_the_actions_of_a_proposal_become_one_array():
    proposal = proposal_input(proposal_message([0.1, 0.2], [0.3, 0.4], [0.5, 0.6]), 5.0)
    assert proposal.actions.dtype == np.float32
    assert proposal.actions.tolist() == np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]], np.float32).tolist()
    assert proposal.chosen == 1


@pytest.mark.parametrize(("actions", "shape"), [((), (0, 0)), (([], []), (2, 0))])
def test_a_proposal_without_candidates_or_without_axes_has_an_empty_array(actions, shape):
    assert proposal_input(proposal_message(*actions), 5.0).actions.shape == shape


def test_candidates_of_different_sizes_have_no_array():
    assert proposal_input(proposal_message([0.1], [0.1, 0.2]), 5.0).actions is None


def test_a_verdict_becomes_a_message_field_by_field():
    verdict = Verdict(
        decision=Decision.SUBSTITUTE,
        reason=Reason.INFEASIBLE,
        reason_text="because",
        frame=FrameStamp(STAMP_NS, "camera"),
        step=7,
        model_id="m",
        action_in=(0.5, math.nan),
        action_out=(0.25, 0.0),
        candidate=3,
        decided_s=12.25,
        eps=0.5,
        surprise_limit=5.0,
        image_age_limit_s=0.2,
        robot_state_age_limit_s=0.1,
        source=WhoDrives.OPERATOR,
        limited=True,
        q_h=0.75,
        q_h_out=0.25,
    )
    message = verdict_message(verdict)
    assert (message.decision, message.reason) == (SafetyVerdict.SUBSTITUTE, SafetyVerdict.REASON_INFEASIBLE)
    assert message.source == SafetyVerdict.SOURCE_OPERATOR
    assert message.header.stamp == time_message(STAMP_NS)
    assert message.header.frame_id == "camera"
    assert message.decided == time_message(12_250_000_000)
    assert message.action_in[0] == 0.5
    assert math.isnan(message.action_in[1])
    assert message.action_out.tolist() == [0.25, 0.0]
    assert (message.step, message.model_id, message.candidate) == (7, "m", 3)
    assert (message.q_h, message.q_h_out, message.limited, message.shadow) == (0.75, 0.25, True, False)
    assert math.isnan(message.v_h)
    assert math.isnan(message.decision_s)


def test_every_field_of_the_message_is_a_field_of_the_verdict():
    fields = set(SafetyVerdict.get_fields_and_field_types())
    expected = set(Verdict.__dataclass_fields__) - {"frame", "decided_s"} | {"header", "decided", "shadow"}
    assert fields == expected


@pytest.mark.parametrize("position", [[], [0.1, math.nan], [math.inf]])
def test_joint_states_without_finite_positions_count_as_not_come(position):
    assert robot_state_received(JointState(position=position), 5.0) is None


def test_joint_states_and_odometry_count_by_stamp_and_receipt():
    for message in (JointState(position=[0.1], velocity=[0.0], effort=[0.0]), Odometry()):
        message.header.stamp = time_message(3_500_000_000)
        received = robot_state_received(message, 5.0)
        assert (received.stamp_s, received.receipt_s) == (3.5, 5.0)
    message.pose.pose.position.x = math.nan
    assert robot_state_received(message, 5.0) is None


@pytest.mark.parametrize("part", ["position", "velocity", "effort"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_joint_states_with_a_value_that_is_not_finite_are_none(part, bad):
    values = {"position": [0.1, 0.2], "velocity": [0.0, 0.0], "effort": [1.0, 1.0]}
    assert robot_state_received(JointState(**values), 5.0) is not None
    values[part][1] = bad
    assert robot_state_received(JointState(**values), 5.0) is None


def test_odometry_with_a_twist_or_an_orientation_that_is_not_finite_is_none():
    for change in (
        lambda message: setattr(message.twist.twist.linear, "x", math.nan),
        lambda message: setattr(message.twist.twist.angular, "z", math.inf),
        lambda message: setattr(message.pose.pose.orientation, "z", math.nan),
        lambda message: setattr(message.pose.pose.orientation, "w", 0.0),
    ):
        message = Odometry()
        assert robot_state_received(message, 5.0) is not None
        change(message)
        assert robot_state_received(message, 5.0) is None


def test_odometry_gives_position_and_heading():
    message = Odometry()
    message.pose.pose.position.x, message.pose.pose.position.y = 1.0, 2.0
    message.pose.pose.orientation.z, message.pose.pose.orientation.w = math.sin(0.6), math.cos(0.6)
    assert odometry_pose(message) == pytest.approx((1.0, 2.0, 1.2))


def test_a_pose_counts_only_when_finite_and_in_the_action_frame():
    message = PoseStamped()
    message.header.frame_id = "base_link"
    message.pose.position.x = 0.5
    assert pose_received(message, 5.0, "base_link")[1] == (0.5, 0.0, 0.0)
    assert pose_received(message, 5.0, "tool") is None
    message.pose.position.y = math.inf
    assert pose_received(message, 5.0, "base_link") is None


def test_a_target_begins_at_a_whole_pose_and_an_orientation_that_is_none_is_refused():
    message = PoseStamped()
    message.pose.position.x, message.pose.orientation.z, message.pose.orientation.w = 0.5, 0.6, 0.801
    pose = measured_pose(message)
    assert pose.position.tolist() == [0.5, 0.0, 0.0]
    assert np.linalg.norm(pose.orientation) == pytest.approx(1.0, abs=1e-12)
    sent = PoseStamped()
    fill_pose(sent, pose)
    assert sent.pose.orientation.z == pytest.approx(0.6, abs=2e-3)
    for bad in (0.0, 0.9, math.nan):
        message.pose.orientation.w = bad
        assert measured_pose(message) is None
