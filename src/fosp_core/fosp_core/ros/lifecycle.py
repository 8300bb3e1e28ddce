"""Base class of the managed nodes, and the function that runs one.

It closes gaps of rclpy's lifecycle node that a robot cannot tolerate:
- rclpy swallows an exception in a transition callback; here it is logged, and the transition fails;
- an invalid transition request raises out of spin() and ends the process; here it is answered with success=False;
- only lifecycle publishers are silent while inactive; here subscriptions and timers are, too;
- a signal shuts the context down before a node can publish for the last time; here `deactivate` runs first.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import rclpy
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions

from fosp_core import topics
from fosp_core.errors import UserError
from fosp_core.processes import claim_realtime_priority, return_freed_memory
from fosp_core.ros import qos
from fosp_core.ros.polling import PolledSubscription, keeping
from fosp_msgs.msg import Heartbeat

HEARTBEAT_PERIOD_S = 0.1
SWITCH_INTERVAL_S = 5e-4
"""Time for which one thread may keep the interpreter; the default of 5 ms makes a 100 Hz thread late."""


class ManagedNode(LifecycleNode):
    """A lifecycle node that fails closed. Subclasses override `configure`, `activate`, `deactivate`, `cleanup`.

    A hook reports a failure by raising. A UserError, which a person can mend, is logged in one line, every other
    exception with its traceback. After a failed `configure` or `activate`, `cleanup` or `deactivate` runs, and the node
    is in the state that it was in before. When these fail, too, the node is unconfigured.
    """

    def __init__(self, name: str) -> None:
        """Create the node. It publishes fosp/heartbeat, and the robot stops when it falls silent."""
        self._polled: list[Any] = []
        super().__init__(name)
        self._active = False
        self._heartbeat = Heartbeat(node=self.get_fully_qualified_name(), pid=os.getpid())
        self._heartbeat_publisher = self.create_publisher(Heartbeat, topics.HEARTBEAT, qos.STEP)
        self.create_timer(HEARTBEAT_PERIOD_S, self._beat)

    # -- for subclasses ------------------------------------------------------------------------------
    def configure(self) -> None:
        """Load and check everything, create publishers and subscriptions."""

    def activate(self) -> None:
        """Start working."""

    def deactivate(self) -> None:
        """Stop working; also called on shutdown, while DDS still works."""

    def cleanup(self) -> None:
        """Release what `configure` acquired."""

    @property
    def is_active(self) -> bool:
        return self._active

    def create_gated_subscription(
        self, message_type: Any, topic: str, callback: Callable[[Any], None], profile: QoSProfile, raw: bool = False
    ) -> Any:
        """Create a subscription whose callback runs only while the node is active; log a UserError in it, throttled.

        The callback of a `raw` one gets serialised messages.
        """
        return self.create_subscription(message_type, topic, self._gated(callback), profile, raw=raw)

    def create_polled_subscription(
        self,
        message_type: Any,
        topic: str,
        read: Callable[[bytes, float], None],
        profile: QoSProfile,
        depth: int = 1,
    ) -> tuple[Any, PolledSubscription]:
        """Create a subscription that no executor waits for, and what polls it, which calls `read`.

        `depth` is the number of messages that are kept from poll to poll.
        """
        subscription = self.create_subscription(message_type, topic, _unheard, keeping(profile, depth), raw=True)
        self._polled.append(subscription)
        return subscription, PolledSubscription(subscription, read)

    @property
    def subscriptions(self) -> Iterator[Any]:
        """Yield the subscriptions that an executor waits for, which asks for them here."""
        yield from (subscription for subscription in super().subscriptions if subscription not in self._polled)

    def destroy_subscription(self, subscription: Any) -> bool:
        """Destroy a subscription, a polled one, too; return False when it is none of this node."""
        if subscription in self._polled:
            self._polled.remove(subscription)
        return bool(super().destroy_subscription(subscription))

    def create_gated_timer(self, period_s: float, callback: Callable[[], None]) -> Any:
        """Create a timer whose callback runs only while the node is active."""
        return self.create_timer(period_s, self._gated(callback))

    # -- machinery -----------------------------------------------------------------------------------
    def _gated(self, callback: Callable[..., None]) -> Callable[..., None]:
        def gated(*arguments: Any) -> None:
            if not self._active:
                return
            try:
                callback(*arguments)
            except UserError as error:
                self.get_logger().error(str(error), throttle_duration_sec=1.0)

        return gated

    def _beat(self) -> None:
        self._heartbeat.stamp = self.get_clock().now().to_msg()
        self._heartbeat.state = self.lifecycle_state
        self._heartbeat_publisher.publish(self._heartbeat)

    @property
    def lifecycle_state(self) -> int:
        """Present state, a constant of lifecycle_msgs/State."""
        return int(self._state_machine.current_state[0])

    def _run(self, hook: Callable[[], None]) -> TransitionCallbackReturn:
        try:
            hook()
        except UserError as error:
            self.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        except Exception:
            self.get_logger().error(f"{hook.__name__} failed:\n{traceback.format_exc()}")
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = self._run(self.configure)
        if result != TransitionCallbackReturn.SUCCESS:
            self._run(self.cleanup)
        return result

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        settle_memory()
        result = self._run(self.activate)
        if result == TransitionCallbackReturn.SUCCESS:
            result = super().on_activate(state)
        if result == TransitionCallbackReturn.SUCCESS:
            self._active = True
        else:
            self._run(self.deactivate)
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._active = False
        result = self._run(self.deactivate)
        super().on_deactivate(state)
        return TransitionCallbackReturn.SUCCESS if result == TransitionCallbackReturn.SUCCESS else _ERROR

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = self._run(self.cleanup)
        return TransitionCallbackReturn.SUCCESS if result == TransitionCallbackReturn.SUCCESS else _ERROR

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        if self._active:
            self._active = False
            self._run(self.deactivate)
        self._run(self.cleanup)
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything after a failed deactivate or cleanup, and return to unconfigured."""
        self._active = False
        self._run(self.cleanup)
        return TransitionCallbackReturn.SUCCESS

    def _LifecycleNodeMixin__on_change_state(
        self, request: ChangeState.Request, response: ChangeState.Response
    ) -> ChangeState.Response:
        """Override rclpy's private service callback: refuse an impossible transition instead of raising."""
        try:
            return super()._LifecycleNodeMixin__on_change_state(request, response)  # type: ignore[misc]
        except rclpy_implementation.RCLError:
            asked = request.transition.label or request.transition.id
            self.get_logger().warning(f"transition {asked} is not possible in state {self.lifecycle_state}")
            response.success = False
            return response

    def finish(self) -> None:
        """Deactivate the node if it is active, then shut it down, while DDS still works."""
        if self.lifecycle_state not in (State.PRIMARY_STATE_FINALIZED, State.PRIMARY_STATE_UNKNOWN):
            with contextlib.suppress(rclpy_implementation.RCLError):
                self.trigger_shutdown()


_ERROR = TransitionCallbackReturn.ERROR
CONFIGURE = Transition.TRANSITION_CONFIGURE
ACTIVATE = Transition.TRANSITION_ACTIVATE
DEACTIVATE = Transition.TRANSITION_DEACTIVATE


def _unheard(data: bytes) -> None:
    """Stand for the callback that a polled subscription has none of."""


def settle_memory() -> None:
    """Exclude all objects that exist by now from garbage collection, which would take milliseconds each time.

    What was freed goes back to the operating system: loading a model takes megabytes that nothing needs afterwards.
    """
    gc.collect()
    return_freed_memory()
    gc.freeze()


def events_executor(context: Any = None) -> Executor:
    """Return rclpy's event-driven executor where rclpy has it, else the single-threaded one.

    It handles what has arrived, and is faster than the other, which goes through all services and timers at each
    wake-up, and at some 200 messages per second takes a third of its processor time. With rclpy 7.1 call spin_once with
    a timeout, because its spin() delivers nothing, and let no callback of a subscription take a second argument for the
    message's information, because delivery then fails.
    """
    try:
        from rclpy.experimental import EventsExecutor
    except ImportError:
        return SingleThreadedExecutor(context=context)
    return EventsExecutor(context=context)


def run_node(
    make: Callable[[], Node],
    args: list[str] | None = None,
    priority: int | None = None,
) -> int:
    """Spin one node in this process until SIGINT or SIGTERM; return the exit code (0 done, 1 failed, 2 wrong input).

    One thread spins: a multi-threaded executor in Python does not catch up with a burst of messages. `priority` is
    claimed for the whole process (fosp_core.processes).
    """
    if priority is not None:
        claim_realtime_priority(priority)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    stopping = False

    def stop(signum: int, frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    node: Node | None = None
    executor: Executor | None = None
    try:
        node = make()
        executor = events_executor()
        executor.add_node(node)
        settle_memory()
        while not stopping:
            executor.spin_once(timeout_sec=0.1)
        return 0
    except UserError as error:
        print(f"fosp: {error}", file=sys.stderr)
        return 2
    except Exception:
        traceback.print_exc()
        return 1
    finally:
        if node is not None:
            if isinstance(node, ManagedNode):
                node.finish()
            elif callable(getattr(node, "close", None)):
                node.close()
            if executor is not None:
                executor.shutdown()  # before its node: a node destroyed during an event would wait for the executor
            with contextlib.suppress(Exception):  # the process ends anyway
                node.destroy_node()
        rclpy.try_shutdown()
