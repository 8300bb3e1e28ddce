"""Robots that do not do as they are told: their commands are changed on the way, or their poses."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from geometry_msgs.msg import PoseStamped, TwistStamped
from relay import Tamper, changed


def obeying(motion: Callable[[float, float, float], tuple[float, float, float]]) -> Tamper:
    """An arm that makes another motion of its command: (x, y, z) to (x, y, z), m/s."""

    def change(message: TwistStamped) -> None:
        linear = message.twist.linear
        linear.x, linear.y, linear.z = motion(linear.x, linear.y, linear.z)

    return changed(change)


def driving(motion: Callable[[float, float], tuple[float, float]]) -> Tamper:
    """A base that makes another motion of its command: (ahead, turn) to (ahead, turn), m/s and rad/s."""

    def change(message: TwistStamped) -> None:
        twist = message.twist
        twist.linear.x, twist.angular.z = motion(twist.linear.x, twist.angular.z)

    return changed(change)


def lagging(response_s: float) -> Tamper:
    """A robot that follows with a first-order lag, for commands at 100 Hz."""
    speed = [0.0, 0.0, 0.0]
    share = math.exp(-0.01 / response_s)

    def change(message: TwistStamped) -> None:
        linear = message.twist.linear
        for i, value in enumerate((linear.x, linear.y, linear.z)):
            speed[i] = value + share * (speed[i] - value)
        linear.x, linear.y, linear.z = speed

    return changed(change)


def trembling(message: PoseStamped) -> None:
    """The pose has noise of 10 um."""
    message.pose.position.x += random.gauss(0.0, 1e-5)
