"""The effects of the faults: each begins when it is called with the graph, and returns the call that ends it."""

from __future__ import annotations

import array
import math
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from geometry_msgs.msg import PoseStamped, TwistStamped
from graph_under_fault import GraphUnderFault, wait
from nav_msgs.msg import Odometry
from relay import Tamper, changed, wall_s
from sensor_msgs.msg import Image, JointState
from std_srvs.srv import Trigger

from fosp_bringup.stack import MONITOR, environment
from fosp_core import topics
from fosp_core.ros import qos
from fosp_core.ros.stamps import time_message

NETWORK_UP = "ip link set lo up && ip link set lo multicast on && ip route replace 224.0.0.0/4 dev lo"


_HOG = """
import os, time
os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
end = time.monotonic() + 10
while time.monotonic() < end: pass
"""


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


# -- robots that do not do as they are told --------------------------------------------------------------
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


def together(*effects: Effect) -> Effect:
    """Several effects at once, which end in the reverse order."""

    def begin(graph: GraphUnderFault) -> Begun:
        begun = [effect(graph) for effect in effects]

        def end() -> None:
            for one in reversed(begun):
                one.end()

        return Begun(begun[0].since_s, end)

    return begin


# -- processes -----------------------------------------------------------------------------------------
def killed(name: str) -> Effect:
    """SIGKILL; the supervisor starts it anew."""

    def begin(graph: GraphUnderFault) -> Begun:
        before, since_s = graph.supervisor.pid(name), wall_s()
        graph.signal(name, signal.SIGKILL)
        return Begun(since_s, lambda: wait(lambda: graph.supervisor.pid(name) != before, 20.0, f"a new {name}"))

    return begin


def hung(name: str, seconds: float) -> Effect:
    """SIGSTOP, and SIGCONT after a while."""

    def begin(graph: GraphUnderFault) -> Begun:
        since_s = wall_s()
        graph.signal(name, signal.SIGSTOP)
        timer = threading.Timer(seconds, graph.signal, (name, signal.SIGCONT))
        timer.start()
        return Begun(since_s, timer.join)

    return begin


def ended(name: str) -> Effect:
    """SIGKILL to a process that takes the stack down with it."""

    def begin(graph: GraphUnderFault) -> Begun:
        since_s = wall_s()
        graph.signal(name, signal.SIGKILL)
        return Begun(since_s, lambda: wait(lambda: not graph.supervisor.alive, 10.0, "the end of the stack"))

    return begin


def full_disk(name: str) -> Effect:
    """Every write of the process to a file fails, while there is something to write."""

    def begin(graph: GraphUnderFault) -> Begun:
        since_s, pid = wall_s(), graph.supervisor.pid(name)
        unlimited = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, unlimited[1]))
        return Begun(since_s, lambda: resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited) and None)

    return begin


def starved(count: int) -> Effect:
    """So many processes that only count, at normal priority and for ten seconds at most."""

    def begin(graph: GraphUnderFault) -> Begun:
        since_s = wall_s()
        hogs = [subprocess.Popen([sys.executable, "-S", "-c", _HOG]) for _ in range(count)]

        def end() -> None:
            for hog in hogs:
                hog.kill()
                hog.wait()

        return Begun(since_s, end)

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


def second_monitor() -> Effect:
    """A second monitor is started and configured; the fault begins when its publisher appears."""

    def begin(graph: GraphUnderFault) -> Begun:
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        name = "second_monitor"
        arguments = ["--ros-args", "-r", f"__node:={name}"]
        arguments += ["-p", f"bundle:={graph.directory / 'bundle'}", "-p", f"robot:={graph.directory / 'robot.yaml'}"]
        process = subprocess.Popen(
            [sys.executable, "-m", "fosp_safety_monitor.safety_monitor_node", *arguments],
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
        )
        request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
        answers: list[Any] = []
        caller = threading.Thread(
            target=lambda: answers.append(graph.call(ChangeState, f"{name}/change_state", request, 30.0))
        )
        caller.start()
        wait(lambda: graph.node.count_publishers(graph.robot.command_topic) > 1, 60.0, "a second publisher")
        since_s = wall_s()

        def end() -> None:
            caller.join()
            process.send_signal(signal.SIGINT)
            process.wait(20.0)

        return Begun(since_s, end)

    return begin


def network_down(seconds: float) -> Effect:
    """No packet goes from any process to any other. Only in a network namespace of our own (run_faults.py)."""

    def begin(graph: GraphUnderFault) -> Begun:
        since_s = wall_s()
        subprocess.run(["ip", "link", "set", "lo", "down"], check=True)
        settle(seconds)
        subprocess.run(["sh", "-c", NETWORK_UP], check=True)
        return Begun(since_s, lambda: None)

    return begin


def clock_jump(offset_s: float) -> Effect:
    """The simulated clock, and no stamp, is off from now on."""

    def begin(graph: GraphUnderFault) -> Begun:
        def change(message: Any) -> None:
            ns = message.clock.sec * 1_000_000_000 + message.clock.nanosec + round(offset_s * 1e9)
            message.clock = time_message(max(ns, 0))

        since_s = wall_s()
        graph.relay.tamper(topics.CLOCK, changed(change))
        return Begun(since_s, graph.relay.mend)

    return begin


def settle(seconds: float) -> None:
    """Let the consequences of a fault show; the only wait of the suite that is not for a condition."""
    time.sleep(seconds)
