"""Effects of nodes that do not belong to the graph: second sources of an input, rogue commanders, a second button.

Each is a node in a context of its own, so it has to be discovered as a process would be.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from effects import Begun, Effect
from geometry_msgs.msg import PoseStamped, TwistStamped
from graph_under_fault import ESTOP, ROGUE, GraphUnderFault, wait
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from relay import wall_s
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Bool

from fosp_bringup.environment import environment
from fosp_bringup.stack import MONITOR
from fosp_cli.graph_client import GraphClient
from fosp_core import topics
from fosp_core.ros import qos
from fosp_core.ros.image_message import fill_image
from fosp_msgs.msg import OperatorAction, StepFeedback

_MATCHED_S = 5.0
ROGUE_COMMANDS = 23
"""Commands of a rogue that lives for less than a period of the monitor's watch."""


def _discovered(name: str) -> GraphClient:
    """Return a node that knows the monitor, and so is known to it."""
    client = GraphClient(name)
    wait(lambda: client.node.count_publishers(topics.VERDICT), _MATCHED_S, "the discovery of the monitor")
    return client


class _Speaker:
    """A node that says `make(stamp)` on `topic` at `rate_hz` until it is ended."""

    def __init__(self, kind: Any, topic: str, make: Callable[[Any], Any], rate_hz: float) -> None:
        self._client = _discovered("stranger")
        self.since_s = wall_s()
        self._publisher = self._client.node.create_publisher(kind, topic, qos.STEP)
        self._make, self._period_s = make, 1.0 / rate_hz
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._speak, daemon=True)
        self._thread.start()

    def _speak(self) -> None:
        while not self._ending.wait(self._period_s):
            self._publisher.publish(self._make(self._client.node.get_clock().now().to_msg()))

    def end(self) -> None:
        self._ending.set()
        self._thread.join()
        self._client.close()


def second_source(kind: Any, topic: str, make: Callable[[GraphUnderFault, Any], Any], rate_hz: float = 100.0) -> Effect:
    """A second node says plausible things on a topic; the fault begins when its publisher is made."""

    def begin(graph: GraphUnderFault) -> Begun:
        speaker = _Speaker(kind, topic, lambda stamp: make(graph, stamp), rate_hz)
        return Begun(speaker.since_s, speaker.end)

    return begin


def second_operator() -> Effect:
    """Another node says that a person holds the robot, and wants it to rest."""

    def make(graph: GraphUnderFault, stamp: Any) -> OperatorAction:
        action = OperatorAction(holds=True, action=[0.0] * graph.robot.action.size, device="other")
        action.header.stamp = stamp
        return action

    return second_source(OperatorAction, topics.OPERATOR, make)


def second_pose() -> Effect:
    """Another node says that the tool is in the middle of its workspace."""

    def make(graph: GraphUnderFault, stamp: Any) -> PoseStamped:
        pose = PoseStamped()
        pose.header.stamp, pose.header.frame_id = stamp, graph.robot.action.frame_id
        pose.pose.position.x, pose.pose.position.z = 0.5 + 1e-9 * (stamp.nanosec % 1000), 0.2
        return pose

    return second_source(PoseStamped, topics.TOOL_POSE, make)


def second_state() -> Effect:
    """Another node says where the joints are."""

    def make(graph: GraphUnderFault, stamp: Any) -> JointState:
        state = JointState(name=["joint"], position=[0.0])
        state.header.stamp = stamp
        return state

    return second_source(JointState, topics.JOINT_STATES, make)


def second_camera() -> Effect:
    """Another driver publishes images of the same camera."""
    import numpy as np

    pixels = np.random.default_rng(0).integers(20, 80, (64, 64, 3), np.uint8)

    def make(graph: GraphUnderFault, stamp: Any) -> Image:
        image = Image()
        fill_image(image, pixels)
        image.header.stamp, image.header.frame_id = stamp, "camera"
        return image

    return second_source(Image, topics.COLOR_IMAGE, make, 40.0)


def second_feedback() -> Effect:
    """Another node says how the episode goes."""

    def make(graph: GraphUnderFault, stamp: Any) -> StepFeedback:
        feedback = StepFeedback()
        feedback.header.stamp = stamp
        return feedback

    return second_source(StepFeedback, topics.FEEDBACK, make, 20.0)


def second_node(module: str, name: str, topic: str) -> Effect:
    """A second process of a node, under another name, is configured; the fault begins when its publisher appears."""

    def begin(graph: GraphUnderFault) -> Begun:
        arguments = ["--ros-args", "-r", f"__node:={name}"]
        arguments += ["-p", f"bundle:={graph.directory / 'bundle'}", "-p", f"robot:={graph.directory / 'robot.yaml'}"]
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
        )
        before = graph.node.count_publishers(topic)

        def transit() -> None:
            for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
                request = ChangeState.Request(transition=Transition(id=transition))
                graph.call(ChangeState, f"{name}/change_state", request, 30.0)

        caller = threading.Thread(target=transit)
        caller.start()

        def end() -> None:
            caller.join()
            process.send_signal(signal.SIGINT)
            process.wait(20.0)

        try:
            wait(lambda: graph.node.count_publishers(topic) > before, 60.0, f"a second publisher of {topic}")
        except AssertionError:
            end()
            raise
        return Begun(wall_s(), end)

    return begin


# -- commands ----------------------------------------------------------------------------------------
def brief_rogue(commands: int, period_s: float = 0.002) -> Effect:
    """A node sends some commands and is gone; the fault begins when the first of them can be heard by all."""

    def begin(graph: GraphUnderFault) -> Begun:
        client = _discovered("rogue")
        topic = graph.robot.command_topic
        message = TwistStamped()
        message.header.frame_id = ROGUE
        message.twist.linear.y = 0.125
        publisher = client.node.create_publisher(TwistStamped, topic, qos.COMMAND)
        wait(lambda: publisher.get_subscription_count() >= 4, _MATCHED_S, "subscribers of the rogue")
        since_s = wall_s()
        for _ in range(commands):
            message.header.stamp = client.node.get_clock().now().to_msg()
            publisher.publish(message)
            time.sleep(period_s)
        client.node.destroy_publisher(publisher)
        return Begun(since_s, client.close)

    return begin


def echo_of_commands() -> Effect:
    """A node repeats each command that it hears, as a relay does that somebody forgot."""

    def begin(graph: GraphUnderFault) -> Begun:
        client = _discovered("echo")
        topic = graph.robot.command_topic
        publisher = client.node.create_publisher(TwistStamped, topic, qos.COMMAND)

        def heard(message: TwistStamped) -> None:
            if message.header.frame_id != ROGUE:
                message.header.frame_id = ROGUE
                publisher.publish(message)

        wait(lambda: publisher.get_subscription_count() >= 4, _MATCHED_S, "subscribers of the echo")
        since_s = wall_s()
        client.node.create_subscription(TwistStamped, topic, heard, qos.COMMAND)
        client.spin_in_thread()
        return Begun(since_s, client.close)

    return begin


# -- emergency stops -----------------------------------------------------------------------------------
def other_button(pressed: bool | None) -> Effect:
    """Somebody presses the second emergency stop while the first one says that it is released; None: it is silent."""

    def begin(graph: GraphUnderFault) -> Begun:
        since_s = wall_s()
        graph.other_estop_pressed = pressed
        insisting = _Insisting(graph) if pressed else None

        def end() -> None:
            if insisting is not None:
                insisting.end()
            graph.other_estop_pressed = False

        return Begun(since_s, end)

    return begin


def second_publisher_of_the_button() -> Effect:
    """The emergency stop is pressed, and another node says on its topic that it is not."""

    def begin(graph: GraphUnderFault) -> Begun:
        since_s = wall_s()
        graph.estop_pressed = True
        speaker = _Speaker(Bool, ESTOP, lambda stamp: Bool(data=False), 100.0)
        insisting = _Insisting(graph)

        def end() -> None:
            insisting.end()
            graph.estop_pressed = False
            speaker.end()

        return Begun(since_s, end)

    return begin


class _Insisting:
    """Somebody who calls for a reset again and again; AssertionError at the end when one was granted."""

    def __init__(self, graph: GraphUnderFault) -> None:
        self._graph = graph
        self._granted = 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._insist, daemon=True)
        self._thread.start()

    def _insist(self) -> None:
        while not self._ending.wait(0.02):
            if self._graph.latched():
                self._granted += self._graph.reset_latch()

    def end(self) -> None:
        self._ending.set()
        self._thread.join()
        if self._granted:
            raise AssertionError(f"{self._granted} resets were granted while the cause persisted")


# -- parameters ----------------------------------------------------------------------------------------
def set_at_run_time(name: str, value: str) -> Effect:
    """Somebody sets a parameter of the monitor that is given at the start; AssertionError when that is granted."""

    def begin(graph: GraphUnderFault) -> Begun:
        since_s = wall_s()
        given = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=value)
        request = SetParameters.Request(parameters=[Parameter(name=name, value=given)])
        answer = graph.call(SetParameters, f"{MONITOR}/set_parameters", request)
        if answer is None or answer.results[0].successful:
            raise AssertionError(f"'{name}' was set at run time: {answer}")
        return Begun(since_s, lambda: None)

    return begin
