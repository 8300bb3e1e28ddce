"""A gripper behind an action server, played by the tester: its driver, its position, and what can go wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import hands
from control_msgs.action import GripperCommand
from effects import Begun, Effect
from graph_under_fault import POLICY_ACTION, GraphUnderFault, wait
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from relay import Tamper, changed, wall_s
from sensor_msgs.msg import JointState

from fosp_cli.graph_client import GraphClient
from fosp_core import topics
from fosp_core.ros import qos
from fosp_core.ros.stamps import seconds
from fosp_msgs.msg import ActionProposal

CLOSED, OPEN = 0.0, 0.1
MAX_RATE = 0.08
"""m/s: the gripper closes in 1.25 s, so that a fault finds it on its way."""
JOINT, FEEDBACK = "finger_gap", "gripper/joint_states"
TIMEOUT_S = 0.25
GRIPPER: dict[str, Any] = {
    "how": "action",
    "topic": "gripper_cmd",
    "joint": JOINT,
    "closed": CLOSED,
    "open": OPEN,
    "max_rate": MAX_RATE,
    "feedback_topic": FEEDBACK,
    "timeout_s": TIMEOUT_S,
}
"""Section of a robot file."""
CLOSING_ACTION = [*POLICY_ACTION, -1.0]
_PERIOD_S = 0.02
_MOVES_S = 20.0
_STAMP_SLACK_S = 0.015
"""A setpoint is stamped when it is published, which is a little after its tick was computed."""
_BRAKED_S = 0.05
_ROUNDING_M = 1e-6

Change = Callable[[JointState], None]
Told = Sequence[tuple[float, float]]
"""Moments, s, and what the gripper was told, m."""


class Fingers:
    """By default the driver takes every goal, and the fingers are there at once."""

    def __init__(self, node: Any) -> None:
        self._node, self._felt = node, node.create_publisher(JointState, FEEDBACK, qos.STEP)
        self.at = OPEN
        """Gap between the fingers, m."""
        self.change: Change | None = _nothing
        """It changes each measured position in place; None: the position is silent."""
        self.delay_s, self.accepts = 0.0, True
        self.answering = threading.Event()
        self.answering.set()
        self.told: list[tuple[float, float]] = []
        """Stamps of the monitor's account, and what the gripper was told, m."""
        self.opens_now, self.held_since_s = False, float("inf")
        """The gripper is meant to open; since when it is meant to hold, wall clock."""
        self._driver: GraphClient | None = None
        self.begin_driver()
        node.create_subscription(JointState, topics.GRIPPER, self._on_told, qos.COMMAND_HISTORY)
        node.create_timer(_PERIOD_S, self._feel)

    # -- the driver ----------------------------------------------------------------------------------
    def begin_driver(self) -> None:
        """Serve the action, in a context of its own as the process of a driver has."""
        self._driver = GraphClient("gripper_driver")
        self._server = ActionServer(
            self._driver.node,
            GripperCommand,
            GRIPPER["topic"],
            self._execute,
            goal_callback=self._asked,
            cancel_callback=lambda goal: CancelResponse.REJECT,
        )
        self._driver.spin_in_thread()

    def end_driver(self) -> None:
        """End the driver; the fingers stay where they are."""
        if self._driver is not None:
            self._driver.close()
            self._driver = None

    def _asked(self, goal: Any) -> GoalResponse:
        self.answering.wait()
        return GoalResponse.ACCEPT if self.accepts else GoalResponse.REJECT

    def _execute(self, goal: Any) -> Any:
        self.at = goal.request.command.position
        goal.succeed()
        return GripperCommand.Result(position=self.at, reached_goal=True)

    # -- what it says and hears ----------------------------------------------------------------------
    def _feel(self) -> None:
        if self.change is None:
            return
        state = JointState(name=[JOINT], position=[self.at])
        state.header.stamp = self._node.get_clock().now().to_msg()
        self.change(state)
        if self.delay_s:
            timer = threading.Timer(self.delay_s, self._felt.publish, (state,))
            timer.daemon = True
            timer.start()
        else:
            self._felt.publish(state)

    def _on_told(self, message: JointState) -> None:
        self.told.append((seconds(message.header.stamp), float(message.position[0])))

    def mend(self) -> None:
        """End whatever is wrong."""
        self.change, self.delay_s, self.accepts = _nothing, 0.0, True
        self.answering.set()
        self.opens_now, self.held_since_s = False, float("inf")
        if self._driver is None:
            self.begin_driver()


def trouble(told: Told, begun: tuple[float, float], stopped_s: float | None, fingers: Fingers) -> str:
    """Return what is wrong with what a gripper was told; empty when nothing is.

    `told` reaches back to the fault before; the fault lasted from begun[0] to begun[1], and the robot stood from
    `stopped_s` on. No setpoint leaves the stroke or is faster than the rate; a fault opens nothing; a stop holds.
    """
    if not all(CLOSED - _ROUNDING_M <= value <= OPEN + _ROUNDING_M for _, value in told):
        return "the gripper was told more than its stroke"
    for (before_s, before), (stamp_s, value) in pairwise(told):
        if abs(value - before) > MAX_RATE * (max(stamp_s - before_s, 0.0) + _STAMP_SLACK_S) + _ROUNDING_M:
            return "the gripper was told to move faster than its rate"
    during = [(stamp_s, value) for stamp_s, value in told if begun[0] <= stamp_s <= begun[1]]
    if not during:
        return "nothing tells what the gripper was told"
    if not fingers.opens_now and any(value > before + _ROUNDING_M for (_, before), (_, value) in pairwise(during)):
        return "the gripper was opened"
    held_s = min(fingers.held_since_s, float("inf") if stopped_s is None else stopped_s) + _BRAKED_S
    held = {round(value, 6) for stamp_s, value in during if stamp_s >= held_s}
    return "the gripper was moved in a stop" if len(held) > 1 else ""


# -- effects -----------------------------------------------------------------------------------------
def _nothing(state: JointState) -> None:
    """Leave the position as it is."""


def _wishing(position: float) -> Callable[[ActionProposal], None]:
    def change(proposal: ActionProposal) -> None:
        for candidate in proposal.candidates:
            candidate.action[-1] = position

    return change


def closing(then: Effect) -> Effect:
    """The policy is closing the open gripper when the effect `then` begins."""

    def begin(graph: GraphUnderFault) -> Begun:
        fingers = graph.fingers
        graph.relay.tamper(topics.PROPOSAL, changed(_wishing(1.0)))
        wait(lambda: fingers.told and fingers.told[-1][1] > 0.9 * OPEN and fingers.at > 0.9 * OPEN, _MOVES_S, "opening")
        graph.relay.mend()
        wait(lambda: fingers.told[-1][1] < 0.75 * OPEN, _MOVES_S, "a closing gripper")
        begun = then(graph)

        def end() -> None:
            begun.end()
            fingers.mend()

        return Begun(begun.since_s, end)

    return begin


def gripper(**said: Any) -> Effect:
    """The attributes of the fingers are set to these values, such as change, delay_s, accepts."""

    def begin(graph: GraphUnderFault) -> Begun:
        since_s = wall_s()
        for name, value in said.items():
            setattr(graph.fingers, name, value)
        return Begun(since_s, graph.fingers.mend)

    return begin


def without_driver() -> Effect:
    """The driver of the gripper ends; its position is still told."""

    def begin(graph: GraphUnderFault) -> Begun:
        graph.fingers.end_driver()
        return Begun(wall_s(), graph.fingers.mend)

    return begin


def hung_driver() -> Effect:
    """The driver of the gripper hangs: it answers no goal."""

    def begin(graph: GraphUnderFault) -> Begun:
        since_s = wall_s()
        graph.fingers.answering.clear()
        return Begun(since_s, graph.fingers.mend)

    return begin


def frozen_closed() -> Effect:
    """The position stays closed, under new stamps, from the moment on at which the policy opens the gripper."""

    def begin(graph: GraphUnderFault) -> Begun:
        fingers = graph.fingers
        wait(lambda: fingers.told and fingers.told[-1][1] < 0.1 * OPEN, _MOVES_S, "a closed gripper")
        since_s = wall_s()
        fingers.opens_now, fingers.change = True, said_at(CLOSED)
        graph.relay.tamper(topics.PROPOSAL, changed(_wishing(1.0)))

        def end() -> None:
            graph.relay.mend()
            fingers.mend()

        return Begun(since_s, end)

    return begin


def said_at(position: float) -> Change:
    """The position is said to be this, m."""

    def change(state: JointState) -> None:
        state.position = [position]

    return change


def without_position(state: JointState) -> None:
    """The joint has a name and no position."""
    state.position = []


def of_another_joint(state: JointState) -> None:
    """The message does not name the gripper's joint."""
    state.name = ["other_joint"]


def old() -> Change:
    """The same message again and again, exactly as it was first."""
    kept: list[Any] = []

    def change(state: JointState) -> None:
        if not kept:
            kept.append((state.header.stamp, state.position))
        state.header.stamp, state.position = kept[0]

    return change


def held_by_a_person() -> Effect:
    """A person takes the robot over and presses no button of the gripper."""

    def begin(graph: GraphUnderFault) -> Begun:
        begun = hands.taken()(graph)
        graph.fingers.held_since_s = wall_s()
        return begun

    return begin


def in_turns() -> Tamper:
    """Each proposal wants the other end of the gripper's way than the one before."""
    wish = 1.0

    def change(proposal: ActionProposal) -> None:
        nonlocal wish
        wish = -wish
        _wishing(wish)(proposal)

    return changed(change)


def jumping(then: Effect) -> Effect:
    """The effect `then`, in which the gripper may open, too."""

    def begin(graph: GraphUnderFault) -> Begun:
        graph.fingers.opens_now = True
        return then(graph)

    return begin
