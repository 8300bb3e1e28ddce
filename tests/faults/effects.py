"""The effects of the faults: each begins when it is called with the graph, and returns the call that ends it."""

from __future__ import annotations

import array
import math
import threading
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from geometry_msgs.msg import PoseStamped, TwistStamped
from graph_under_fault import GraphUnderFault
from nav_msgs.msg import Odometry
from relay import Tamper, changed, wall_s
from sensor_msgs.msg import Image, JointState
from std_srvs.srv import Trigger

from fosp_bringup.stack import MONITOR
from fosp_core.ros import qos
from fosp_core.ros.stamps import time_message


@dataclass(frozen=True)
class Begun:
    """A fault that is in effect."""

    since_s: float
    """Wall clock."""
    end: Callable[[], None]


Effect = Callable[[GraphUnderFault], Begun]


def tampered(topic: str, make: Callable[[], Tamper]) -> Effect:
    """Messages of `topic` are passed on changed."""

    def begin(graph: GraphUnderFault) -> Begun:
        since_s = wall_s()
        graph.relay.tamper(topic, make())
        return Begun(since_s, graph.relay.mend)

    return begin


def delayed(topic: str, delay_s: float) -> Effect:
    """Messages of `topic` are passed on late."""

    def begin(graph: GraphUnderFault) -> Begun:
        since_s = wall_s()
        graph.relay.later(topic, delay_s)
        return Begun(since_s, graph.relay.mend)

    return begin


def briefly(effect: Effect, seconds: float) -> Effect:
    """The same, but it ends by itself."""

    def begin(graph: GraphUnderFault) -> Begun:
        begun = effect(graph)
        timer = threading.Timer(seconds, begun.end)
        timer.start()
        return Begun(begun.since_s, timer.join)

    return begin


def multiplied(of: tuple[str, ...], count: int) -> Effect:
    """Each message of the topics comes so many times at once, each as of a frame of its own, 1 ns after another."""

    def multiply(message: Any) -> Any:
        stamp, copies = message.header.stamp, []
        for offset_ns in range(count):
            copy = deepcopy(message)
            copy.header.stamp = time_message(stamp.sec * 1_000_000_000 + stamp.nanosec + offset_ns)
            copies.append(copy)
        return copies

    def begin(graph: GraphUnderFault) -> Begun:
        since_s = wall_s()
        for topic in of:
            graph.relay.tamper(topic, multiply)
        return Begun(since_s, graph.relay.mend)

    return begin


def frozen(topic: str, new_stamps: bool = True) -> Effect:
    """The same message again and again, with the stamps of the moment or exactly as it was."""

    def make() -> Tamper:
        kept: list[Any] = []

        def freeze(message: Any) -> Any:
            if not kept:
                kept.append(message)
            if new_stamps:
                kept[0].header.stamp = message.header.stamp
            return (kept[0],)

        return freeze

    return tampered(topic, make)


def broken_image(how: str) -> Tamper:
    """black, white, bright, small, large, of an unknown encoding, cut off."""

    def change(message: Image) -> None:
        size = len(message.data)
        if how in ("black", "white"):
            message.data = array.array("B", bytes([0 if how == "black" else 255]) * size)
        elif how == "bright":
            message.data = array.array("B", bytes(200 + value // 5 for value in message.data[: 3 * message.width]))
            message.data *= message.height
        elif how in ("small", "large"):
            factor = 0.1 if how == "small" else 2
            message.height, message.width = round(message.height * factor), round(message.width * factor)
            message.step = 3 * message.width
            message.data = array.array("B", bytes(range(256)) * (message.height * message.step // 256 + 1))
            message.data = message.data[: message.height * message.step]
        elif how == "encoding":
            message.encoding = "yuv422_unknown"
        elif how == "cut":
            message.data = message.data[: size // 2]

    return changed(change)


def nan_joints(message: JointState) -> None:
    message.position = array.array("d", [math.nan] * len(message.position))


def nan_pose(message: PoseStamped) -> None:
    message.pose.position.y = math.nan


def other_frame(message: PoseStamped) -> None:
    message.header.frame_id = "camera"


def at_the_wall(message: PoseStamped) -> None:
    message.pose.position.y = 0.39


def outside(message: PoseStamped) -> None:
    message.pose.position.y = 0.45


def nan_velocity(message: JointState) -> None:
    message.velocity[-1] = math.nan


def nan_twist(message: Odometry) -> None:
    message.twist.twist.angular.z = math.nan


def nan_orientation(message: Odometry) -> None:
    message.pose.pose.orientation.w = math.nan


def inf_effort(message: JointState) -> None:
    message.effort = array.array("d", [math.inf] * len(message.position))


def frozen_latents() -> Tamper:
    """The state of the first latent again and again, under new steps and stamps."""
    kept: list[Any] = []

    def change(message: Any) -> None:
        if not kept:
            kept.extend((message.deter, message.stoch))
        message.deter, message.stoch = kept

    return changed(change)


def every_third() -> Tamper:
    """Two of three are dropped: a camera of 40 Hz gives 13."""
    count = 0

    def change(message: Any) -> tuple[Any, ...]:
        nonlocal count
        count += 1
        return (message,) if count % 3 == 0 else ()

    return change


def obeying(motion: Callable[[float, float, float], tuple[float, float, float]]) -> Tamper:
    """An arm that makes another motion of its command: (x, y, z) to (x, y, z), m/s."""

    def change(message: TwistStamped) -> None:
        linear = message.twist.linear
        linear.x, linear.y, linear.z = motion(linear.x, linear.y, linear.z)

    return changed(change)


def together(*effects: Effect) -> Effect:
    """Several effects at once, which end in the reverse order."""

    def begin(graph: GraphUnderFault) -> Begun:
        begun = [effect(graph) for effect in effects]

        def end() -> None:
            for one in reversed(begun):
                one.end()

        return Begun(begun[0].since_s, end)

    return begin


# -- people and strangers --------------------------------------------------------------------------------
def pressed() -> Effect:
    """Somebody presses the emergency stop."""
    return _estop(True)


def silent_estop() -> Effect:
    """The emergency stop says nothing any more."""
    return _estop(None)


def _estop(value: bool | None) -> Effect:
    def begin(graph: GraphUnderFault) -> Begun:
        since_s = wall_s()
        graph.estop_pressed = value

        def end() -> None:
            graph.estop_pressed = False

        return Begun(since_s, end)

    return begin


def estop_service() -> Effect:
    """Somebody calls the service of the monitor."""

    def begin(graph: GraphUnderFault) -> Begun:
        since_s = wall_s()
        graph.call(Trigger, f"{MONITOR}/estop", Trigger.Request())
        return Begun(since_s, lambda: None)

    return begin


def rogue_publisher() -> Effect:
    """Another node publishes on the command topic; what it says is zero, for the arm is a real one to this test."""

    def begin(graph: GraphUnderFault) -> Begun:
        topic = graph.robot.command_topic
        publisher = graph.node.create_publisher(TwistStamped, topic, qos.COMMAND)
        return Begun(wall_s(), lambda: graph.node.destroy_publisher(publisher) and None)

    return begin


def settle(seconds: float) -> None:
    """Let the consequences of a fault show; the only wait of the suite that is not for a condition."""
    time.sleep(seconds)
