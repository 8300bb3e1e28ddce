"""The console's hand in the graph: services that it calls for a person, the watch of who engaged, and bundles.

Methods without a note run in the executor's thread; `obey` and the methods of `watch` run in the server's.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from rcl_interfaces.srv import GetParameters
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import Trigger

from fosp_console import orders
from fosp_console.graph_state import GraphState
from fosp_console.operator_watch import OperatorWatch
from fosp_console.orders import Order
from fosp_console.readout import BundleCatalogue
from fosp_core import topics
from fosp_core.bundle.bundle import verify_bundle
from fosp_core.errors import UserError
from fosp_core.ros import qos
from fosp_msgs.msg import Heartbeat, ModelAnnouncement
from fosp_msgs.srv import ResetEpisode

MONITOR = "safety_monitor_node"
ANSWER_S = 2.0
"""Time for an answer of the graph."""
ESTOP_ANSWER_S = 1.0
WATCH_PERIOD_S = 0.1
CALLS_PERIOD_S = 0.05
FIRST_BEATS_S = 0.35
"""Time from the first beat of the watch to the request to engage: the monitor has to hear it first."""
_TRIGGERS = {
    orders.ESTOP: f"{MONITOR}/estop",
    orders.DISENGAGE: f"{MONITOR}/disengage",
    orders.RESET: f"{MONITOR}/reset",
    orders.ENGAGE: f"{MONITOR}/engage_watched",
    orders.END: "feedback_node/stop",
    orders.SUCCESS: "feedback_node/success",
    orders.DISCARD: "recorder_node/discard",
}


class GraphLink:
    """Calls services of the graph, and beats on fosp/operator_watch while a page that has engaged is there."""

    def __init__(self, node: Node, state: GraphState) -> None:
        self._node, self._state = node, state
        self.watch = OperatorWatch()
        self.bundles = BundleCatalogue()
        self._clients = {name: node.create_client(Trigger, service) for name, service in _TRIGGERS.items()}
        self._episodes = node.create_client(ResetEpisode, topics.RESET_EPISODE)
        self._parameters: dict[str, Any] = {}
        self._marks = node.create_publisher(String, topics.MARK, qos.STEP)
        self._beats = node.create_publisher(Heartbeat, topics.OPERATOR_WATCH, qos.STEP)
        self._beat = Heartbeat(node=node.get_fully_qualified_name(), pid=os.getpid())
        self._announcements: Any = None
        self._calls: deque[Callable[[], None]] = deque()
        self._granted_at_s = 0.0
        # Real time, even where the graph runs on simulated time, which may stand still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(WATCH_PERIOD_S, self._beat_now, clock=steady)
        node.create_timer(CALLS_PERIOD_S, self._run_calls, clock=steady)  # rclpy's event executor has no other wake-up

    # -- the executor's thread -----------------------------------------------------------------------
    def soon(self, call: Callable[[], None]) -> None:
        """Run `call` in the executor's thread soon. Any thread may ask for it."""
        self._calls.append(call)

    def _run_calls(self) -> None:
        while self._calls:
            self._calls.popleft()()

    def _beat_now(self) -> None:
        if self.watch.lapsed(time.monotonic()):
            self.release("the page that had engaged has fallen silent")
        if self.watch.session:
            self._beat.stamp = self._node.get_clock().now().to_msg()
            self._beats.publish(self._beat)

    def release(self, why: str) -> None:
        """Take the consent to motion back. The watch does not beat any more, so the monitor would end it anyway."""
        self._node.get_logger().warning(f"{why}: the robot is released")
        self._state.tell("watch", self.watch_view())
        client = self._clients[orders.DISENGAGE]
        if client.service_is_ready():
            client.call_async(Trigger.Request())

    def consent_ended(self, at_s: float) -> None:
        """Take in that the monitor ended the consent at `at_s`, ROS clock; old news leaves a newer watch alone."""
        if self.watch.granted and at_s > self._granted_at_s:
            self.watch.end()
            self._state.tell("watch", self.watch_view())

    def end_watch(self, why: str) -> None:
        """Release the robot, if a page had engaged it."""
        if self.watch.session:
            self.watch.end()
            self.release(why)

    def watch_view(self) -> dict[str, Any]:
        """Return who watches, for the page."""
        return {"session": self.watch.session, "granted": self.watch.granted}

    def ask_parameters(self, node: str, names: tuple[str, ...], use: Callable[..., Any]) -> None:
        """Call `use` with the values of a node's parameters, texts, when it answers; do nothing without the node."""
        if node not in self._parameters:
            self._parameters[node] = self._node.create_client(GetParameters, f"{node}/get_parameters")
        client = self._parameters[node]
        if not client.service_is_ready():
            return

        def answered(future: Any) -> None:
            answer = future.result()
            if answer is not None and len(answer.values) == len(names):
                use(*(value.string_value for value in answer.values))

        client.call_async(GetParameters.Request(names=list(names))).add_done_callback(answered)

    # -- the server's thread -------------------------------------------------------------------------
    async def obey(self, order: Order) -> tuple[bool, str]:
        """Carry an order out. Return whether it was, and the answer of the graph."""
        if order.name == orders.ESTOP:
            self.watch.end()
            return await self._trigger(orders.ESTOP, ESTOP_ANSWER_S)
        if order.name == orders.ENGAGE:
            return await self._engage(order.session)
        if order.name == orders.BEGIN:
            request = ResetEpisode.Request(episode=ResetEpisode.Request.EPISODE_NEXT)
            return await self._call(self._episodes, request, ANSWER_S, "no node begins episodes: is feedback_node up?")
        if order.name in (orders.MARK, orders.VIOLATION):
            note = order.note if order.name == orders.MARK else f"violation {order.note}".strip()
            self._marks.publish(String(data=note or "mark"))
            return True, f"marked: {note or 'mark'}"
        if order.name in (orders.ANNOUNCE, orders.ROLL_BACK):
            return await self._announce(order.model_id if order.name == orders.ANNOUNCE else self.bundles.before)
        done, said = await self._trigger(order.name, ANSWER_S)
        if order.name == orders.DISENGAGE:
            self.watch.end()
        return done, said

    async def _engage(self, session: str) -> tuple[bool, str]:
        """Let the page watch, and ask for the consent once the monitor can hear the beats."""
        why_not = self.watch.begin(session, time.monotonic())
        if why_not:
            return False, f"refused, {why_not}"
        self.soon(self._beat_now)
        await asyncio.sleep(FIRST_BEATS_S)
        self._granted_at_s = self._node.get_clock().now().nanoseconds * 1e-9
        done, said = await self._trigger(orders.ENGAGE, ANSWER_S)
        if not done:
            self.watch.left(session)
        elif not self.watch.grant(session):
            self.soon(lambda: self.release("the page has gone while it engaged"))
            done, said = False, "refused, the page has gone meanwhile"
        self._state.tell("watch", self.watch_view())
        return done, said

    async def _announce(self, model_id: str) -> tuple[bool, str]:
        """Offer a bundle to the graph. The nodes load and test it, and answer on fosp/model_status."""
        if not model_id:
            return False, "refused, this console knows no bundle that decided before"
        path = self.bundles.path(model_id)
        manifest = await asyncio.get_running_loop().run_in_executor(None, verify_bundle, path)
        if manifest.id != model_id:
            raise UserError(f"{path.name} is now another bundle than {model_id[:12]}")
        stamp = self._node.get_clock().now().to_msg()
        message = ModelAnnouncement(model_id=manifest.id, parent_id=manifest.parent_id, path=str(path), stamp=stamp)

        def publish() -> None:
            if self._announcements is None:
                self._announcements = self._node.create_publisher(
                    ModelAnnouncement, topics.MODEL_ANNOUNCEMENT, qos.LATCHED
                )
            self._announcements.publish(message)

        self.soon(publish)
        return True, f"announced {path.name} ({model_id[:12]}): the nodes load and test it"

    async def _trigger(self, name: str, timeout_s: float) -> tuple[bool, str]:
        service = _TRIGGERS[name]
        missing = f"nobody answers {service}: is that node up?"
        if name == orders.ESTOP:
            missing = "THE SAFETY MONITOR DOES NOT ANSWER: press the emergency stop of the robot"
        return await self._call(self._clients[name], Trigger.Request(), timeout_s, missing)

    async def _call(self, client: Any, request: Any, timeout_s: float, missing: str) -> tuple[bool, str]:
        """Return the answer of a service; `missing` when none comes in time."""
        if not client.service_is_ready():
            return False, missing
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[Any] = loop.create_future()

        def take(future: Any) -> None:
            if not waiting.done():
                waiting.set_result(future.result())

        def answered(future: Any) -> None:
            loop.call_soon_threadsafe(take, future)

        future = client.call_async(request)
        future.add_done_callback(answered)
        try:
            answer = await asyncio.wait_for(waiting, timeout_s)
        except TimeoutError:
            client.remove_pending_request(future)
            return False, missing
        return bool(answer.success), str(answer.message)
