"""A client of the running graph: a node in a context of its own, independent of other uses of ROS in its process.

Every command that listens to the graph or speaks to it does so through this class, which gives it the stack's DDS
settings: with others images get lost, and a graph that runs well looks slow.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import rclpy
from rclpy.executors import SingleThreadedExecutor
from std_srvs.srv import Trigger

from fosp_bringup.environment import environment
from fosp_core.processes import claim_realtime_priority

IS_ACTIVE = "lifecycle_manager/is_active"
_CLOSING_S = 10.0


class GraphClient:
    """A node as a context manager. It receives messages while `spin` or `spin_in_thread` spins it."""

    def __init__(
        self,
        name: str,
        namespace: str = "",
        domain_id: int | None = None,
        make_executor: Callable[..., Any] = SingleThreadedExecutor,
        enclave: str = "/",
    ) -> None:
        """`domain_id` defaults to the environment's; `enclave` matters where SROS2 is switched on (stack.enclave).

        The environment of this process gets the stack's settings, unless the caller has set them otherwise.
        """
        os.environ.update(environment())
        self._context = rclpy.Context()
        rclpy.init(args=["--ros-args", "--enclave", enclave], context=self._context, domain_id=domain_id)
        self.node: Any = rclpy.create_node(name, namespace=namespace or None, context=self._context)
        self._executor = make_executor(context=self._context)
        self._executor.add_node(self.node)
        self._clients: dict[str, Any] = {}
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop spinning and destroy the node."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(_CLOSING_S)
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def spin(self, seconds: float) -> None:
        """Receive messages for `seconds`."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.spin_once(left)

    def spin_once(self, timeout_s: float) -> None:
        """Receive one message, waiting at most `timeout_s`."""
        self._executor.spin_once(timeout_sec=timeout_s)

    def spin_in_thread(self, priority: int | None = None) -> None:
        """Receive messages in a thread from now on, which claims `priority` (fosp_core.processes)."""

        def spin() -> None:
            if priority is not None:
                claim_realtime_priority(priority)
            while not self._closing.is_set():
                self.spin_once(0.05)

        self._thread = threading.Thread(target=spin, name="graph client", daemon=True)
        self._thread.start()

    def call(self, kind: Any, name: str, request: Any, timeout_s: float = 10.0) -> Any:
        """Return the answer of the service `name` of type `kind`, or None when none comes in time."""
        until = time.monotonic() + timeout_s
        if name not in self._clients:
            self._clients[name] = self.node.create_client(kind, name)
        client = self._clients[name]
        if not client.wait_for_service(timeout_sec=timeout_s):
            return None
        future = client.call_async(request)
        left = max(0.0, until - time.monotonic())
        if self._thread is None:
            self._executor.spin_until_future_complete(future, timeout_sec=left)
        else:
            answered = threading.Event()
            future.add_done_callback(lambda _: answered.set())
            answered.wait(left)
        if not future.done():
            client.remove_pending_request(future)
            return None
        return future.result()

    def wait_active(self, timeout_s: float, alive: Callable[[], bool] = lambda: True) -> str:
        """Wait until the lifecycle manager reports every node active. Return an empty string, or why that failed."""
        until, said = time.monotonic() + timeout_s, "its lifecycle manager does not answer"
        while time.monotonic() < until:
            if not alive():
                return "a process ended"
            answer = self.call(Trigger, IS_ACTIVE, Trigger.Request(), 2.0)
            if answer is not None:
                if answer.success:
                    return ""
                said = answer.message
                self.spin(0.1)
        return said
