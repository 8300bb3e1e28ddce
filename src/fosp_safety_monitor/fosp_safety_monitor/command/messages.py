"""Conversions between ROS messages and the inputs and verdicts of the safety monitor."""

from __future__ import annotations

import math

import numpy as np
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from sensor_msgs.msg import JointState
from std_msgs.msg import Header

from fosp_core.clock import Received
from fosp_core.ros.fields import float_field, heading_of
from fosp_core.ros.stamps import nanoseconds, seconds, time_message
from fosp_msgs.msg import ActionProposal, Latent, OperatorAction, SafetyVerdict
from fosp_safety_monitor.command.pose_target import ToolPose
from fosp_safety_monitor.judge.inputs import LatentInput, ProposalInput
from fosp_safety_monitor.judge.verdict import FrameStamp, Verdict

UNIT_TOLERANCE = 0.01
"""Allowed difference of a quaternion's norm from 1: drivers round."""


def latent_input(message: Latent, receipt_s: float) -> LatentInput:
    """Convert a latent that was received at `receipt_s` on the monotonic clock."""
    return LatentInput(
        step=message.step,
        model_id=message.model_id,
        frame=_frame(message.header),
        receipt_s=receipt_s,
        deter=np.frombuffer(message.deter, np.float32),
        stoch=np.frombuffer(message.stoch, np.float32),
        surprise=message.surprise,
        repeated_image=message.repeated_image,
        contrast=message.contrast,
        novelty=message.novelty,
        inconsistency=message.inconsistency,
        camera_cause=message.camera_cause,
    )


def proposal_input(message: ActionProposal, receipt_s: float) -> ProposalInput:
    """Convert a proposal: the candidates' actions and the choice, without the values that the policy gives them."""
    sizes = {len(candidate.action) for candidate in message.candidates}
    actions = None
    if len(sizes) <= 1:
        size = sizes.pop() if sizes else 0
        content = b"".join(candidate.action.tobytes() for candidate in message.candidates)
        actions = np.frombuffer(content, np.float32).reshape(len(message.candidates), size)
    return ProposalInput(
        step=message.step,
        model_id=message.model_id,
        frame=_frame(message.header),
        receipt_s=receipt_s,
        actions=actions,
        chosen=message.chosen,
    )


def robot_state_received(message: JointState | Odometry, receipt_s: float) -> Received | None:
    """Return the times of joint states or odometry; None when a value is not finite, or positions are missing.

    The orientation of odometry must be a unit quaternion.
    """
    if isinstance(message, JointState):
        values = [*message.position, *message.velocity, *message.effort]
        whole = len(message.position) > 0
    else:
        point, turn, twist = message.pose.pose.position, message.pose.pose.orientation, message.twist.twist
        orientation = [turn.x, turn.y, turn.z, turn.w]
        values = [point.x, point.y, point.z, *orientation]
        values += [getattr(part, axis) for part in (twist.linear, twist.angular) for axis in "xyz"]
        whole = abs(math.hypot(*orientation) - 1.0) <= UNIT_TOLERANCE
    if not whole or not all(map(math.isfinite, values)):
        return None
    return Received(seconds(message.header.stamp), receipt_s)


def odometry_pose(message: Odometry) -> tuple[float, float, float]:
    """Return position x and y, m, and heading, rad, in the frame of the odometry."""
    point = message.pose.pose.position
    return point.x, point.y, heading_of(message.pose.pose.orientation)


def pose_received(
    message: PoseStamped, receipt_s: float, frame_id: str
) -> tuple[Received, tuple[float, float, float]] | None:
    """Return the times and the position, m, of a pose; None when it is not finite or not in `frame_id`."""
    point = message.pose.position
    position = (point.x, point.y, point.z)
    if message.header.frame_id != frame_id or not all(map(math.isfinite, position)):
        return None
    return Received(seconds(message.header.stamp), receipt_s), position


def measured_pose(message: PoseStamped) -> ToolPose | None:
    """Return the whole pose; None when its orientation is no unit quaternion."""
    p, q = message.pose.position, message.pose.orientation
    position, orientation = (p.x, p.y, p.z), (q.x, q.y, q.z, q.w)
    norm = math.hypot(*orientation)
    if not abs(norm - 1.0) <= UNIT_TOLERANCE or not all(map(math.isfinite, position)):
        return None
    return ToolPose(np.array(position), np.array(orientation) / norm)


def fill_pose(message: PoseStamped, pose: ToolPose) -> None:
    """Write a pose into a message."""
    p, q = message.pose.position, message.pose.orientation
    p.x, p.y, p.z = pose.position.tolist()
    q.x, q.y, q.z, q.w = pose.orientation.tolist()


def operator_message(message: OperatorAction, receipt_s: float) -> tuple[bool, tuple[float, ...], str, str, Received]:
    """Return what a person wants who can take over, as `Judge.receive_operator` takes it, finite or not."""
    received = Received(seconds(message.header.stamp), receipt_s)
    return message.holds, tuple(message.action.tolist()), message.fault, message.device, received


def verdict_message(verdict: Verdict) -> SafetyVerdict:
    """Convert a verdict field by field; times keep their whole nanoseconds."""
    return SafetyVerdict(
        decision=int(verdict.decision),
        reason=int(verdict.reason),
        reason_text=verdict.reason_text,
        header=Header(stamp=time_message(verdict.frame.stamp_ns), frame_id=verdict.frame.frame_id),
        step=verdict.step,
        model_id=verdict.model_id,
        source=int(verdict.source),
        shadow=verdict.shadow,
        action_in=float_field(np.array(verdict.action_in, np.float32)),
        action_out=float_field(np.array(verdict.action_out, np.float32)),
        candidate=verdict.candidate,
        speed_scale=verdict.speed_scale,
        limited=verdict.limited,
        q_h=verdict.q_h,
        q_h_out=verdict.q_h_out,
        v_h=verdict.v_h,
        eps=verdict.eps,
        surprise=verdict.surprise,
        surprise_limit=verdict.surprise_limit,
        image_age_s=verdict.image_age_s,
        image_age_limit_s=verdict.image_age_limit_s,
        robot_state_age_s=verdict.robot_state_age_s,
        robot_state_age_limit_s=verdict.robot_state_age_limit_s,
        decision_s=verdict.decision_s,
        decided=time_message(round(verdict.decided_s * 1e9)),
    )


def _frame(header: Header) -> FrameStamp:
    return FrameStamp(nanoseconds(header.stamp), header.frame_id)
