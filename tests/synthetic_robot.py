"""A process that stands for camera and robot: frames to absolute deadlines, joint states and tool pose.

    python synthetic_robot.py ROBOT_FILE RATE_HZ

No physics and no rendering: what is measured beside it is the graph, not a simulator. The tool goes where the commands
lead, and back to its start when it has gone far.
"""

from __future__ import annotations

import math
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import rclpy
from geometry_msgs.msg import PoseStamped, TwistStamped
from sensor_msgs.msg import Image, JointState

from fosp_core import topics
from fosp_core.robot.config import read_robot
from fosp_core.ros import qos
from fosp_core.ros.image_message import fill_image

START = (0.5, 0.0, 0.2)
TREADMILL_M = 0.05


def main() -> None:
    robot, rate_hz = read_robot(Path(sys.argv[1])), float(sys.argv[2])
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(6))
    rclpy.init()
    node = rclpy.create_node("synthetic_robot")
    frames = node.create_publisher(Image, topics.COLOR_IMAGE, qos.IMAGE_SOURCE)
    states = node.create_publisher(JointState, robot.state_topic, qos.STEP)
    poses = node.create_publisher(PoseStamped, robot.pose_topic, qos.STEP)
    image, state, pose = Image(), JointState(name=["joint"], position=[0.0]), PoseStamped()
    pose.header.frame_id = robot.action.frame_id
    pose.pose.position.x, pose.pose.position.z = 0.5, 0.2
    # Something to see, and never the same twice: a camera that shows nothing, or hangs, stops the robot.
    noise = np.random.default_rng(0).integers(20, 80, (16, 64, 64, 3), np.uint8)
    image.header.frame_id = "camera"
    deadline, number = time.monotonic(), 0
    heard: list[tuple[float, TwistStamped]] = []
    node.create_subscription(
        TwistStamped, robot.command_topic, lambda m: heard.append((time.monotonic(), m)), qos.COMMAND
    )
    while rclpy.ok():
        rclpy.spin_once(node, timeout_sec=0.0)
        if heard and time.monotonic() - heard[-1][0] < robot.command_timeout_s:
            del heard[:-1]
            at, linear = pose.pose.position, heard[-1][1].twist.linear
            at.x, at.y, at.z = at.x + linear.x / rate_hz, at.y + linear.y / rate_hz, at.z + linear.z / rate_hz
            if math.dist((at.x, at.y, at.z), START) > TREADMILL_M:
                at.x, at.y, at.z = START
        stamp = node.get_clock().now().to_msg()
        fill_image(image, noise[number % len(noise)])
        number += 1
        image.header.stamp = state.header.stamp = pose.header.stamp = stamp
        pose.pose.position.x += 1e-9  # no two measured poses are the same to the last bit
        states.publish(state)
        poses.publish(pose)
        frames.publish(image)
        deadline += 1.0 / rate_hz
        time.sleep(max(0.0, deadline - time.monotonic()))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
