"""ROS messages of the simulated robot's measurements and feedback."""

from __future__ import annotations

import array
import math

import numpy as np
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, JointState, LaserScan

from fosp_core.ros.stamps import time_message
from fosp_msgs.msg import StepFeedback
from fosp_sim.task.arm_kinematics import JOINTS, TOOL_ORIENTATION
from fosp_sim.task.render import CAMERA_FRAME, Intrinsics
from fosp_sim.task.scanner import BEAMS, RANGE_MAX, RANGE_MIN
from fosp_sim.task.world import FrameFeedback, RobotState


def camera_info(camera: Intrinsics, frame_id: str = CAMERA_FRAME) -> CameraInfo:
    """Return the CameraInfo of a camera without a stamp."""
    f, x, y = camera.focal, camera.centre_x, camera.centre_y
    message = CameraInfo(height=camera.height, width=camera.width, distortion_model="plumb_bob", d=[0.0] * 5)
    message.header.frame_id = frame_id
    message.k = [f, 0.0, x, 0.0, f, y, 0.0, 0.0, 1.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [f, 0.0, x, 0.0, 0.0, f, y, 0.0, 0.0, 0.0, 1.0, 0.0]
    return message


def joint_state(state: RobotState, stamp_ns: int) -> JointState:
    """Return the positions, rad, and velocities, rad/s, of the arm's joints."""
    message = JointState(name=list(JOINTS), position=list(state.joint_positions), velocity=list(state.joint_velocities))
    message.header.stamp = time_message(stamp_ns)
    return message


def gripper_state(state: RobotState, joint: str, stamp_ns: int) -> JointState:
    """Return the measured position of the gripper, in its unit, as that of one joint."""
    message = JointState(name=[joint], position=[] if state.gripper is None else [state.gripper])
    message.header.stamp = time_message(stamp_ns)
    return message


def tool_pose(state: RobotState, stamp_ns: int, frame_id: str) -> PoseStamped:
    """Return the pose of the tool tip, which points down, in the action frame."""
    message = PoseStamped()
    message.header.stamp, message.header.frame_id = time_message(stamp_ns), frame_id
    position = message.pose.position
    position.x, position.y, position.z = state.position
    turned = message.pose.orientation
    turned.x, turned.y, turned.z, turned.w = TOOL_ORIENTATION
    return message


def odometry(state: RobotState, stamp_ns: int, child_frame_id: str) -> Odometry:
    """Return the pose in `odom` and the twist in the base's frame; simulated odometry does not drift."""
    message = Odometry()
    message.header.stamp, message.header.frame_id = time_message(stamp_ns), "odom"
    message.child_frame_id = child_frame_id
    pose, twist = message.pose.pose, message.twist.twist
    pose.position.x, pose.position.y, pose.position.z = state.position
    pose.orientation.z, pose.orientation.w = math.sin(state.heading / 2), math.cos(state.heading / 2)
    twist.linear.x, twist.linear.y, twist.linear.z, twist.angular.z = state.twist
    return message


def laser_scan(ranges: NDArray[np.float32], stamp_ns: int, frame_id: str) -> LaserScan:
    """Return a scan of the full circle of `ranges` (BEAMS,), m, counter-clockwise from straight ahead."""
    step = 2.0 * math.pi / BEAMS
    message = LaserScan(angle_max=step * (BEAMS - 1), angle_increment=step, range_min=RANGE_MIN, range_max=RANGE_MAX)
    message.header.stamp, message.header.frame_id = time_message(stamp_ns), frame_id
    message.ranges = array.array("f", ranges.tobytes())
    return message


def feedback_message(feedback: FrameFeedback, episode: int, stamp_ns: int, frame_id: str) -> StepFeedback:
    """Return the feedback of the frame stamped `stamp_ns`."""
    message = StepFeedback(
        episode=episode,
        is_first=feedback.is_first,
        reward=feedback.reward,
        cost=feedback.cost,
        terminal=feedback.terminal,
        is_last=feedback.is_last,
        success=feedback.success,
        distance=feedback.distance,
    )
    message.header.stamp, message.header.frame_id = time_message(stamp_ns), frame_id
    return message
