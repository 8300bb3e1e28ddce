"""The services by which an operator sends the robot home, of the node that commands it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from rclpy.node import Node
from std_srvs.srv import Trigger

from fosp_safety_monitor.judge.watch.homing import Homing

ON_THE_WAY = "on the way home"
"""Beginning of the answer of ~/home_status while the robot is on its way."""


class DrivesHome(Protocol):
    """A judge that drives its robot home."""

    def home(self) -> str:
        """Take the order; return an empty text on success, otherwise why it is refused."""

    @property
    def way_home(self) -> Homing:
        """The state of the way home."""


def serve_home(node: Node, judge: Callable[[], DrivesHome | None]) -> None:
    """Serve ~/home, which begins the way home, and ~/home_status, which tells how it goes (std_srvs/Trigger).

    `judge` returns the judge of the moment; None: the node is not active. The status is a success once the robot has
    arrived; until then its message begins with ON_THE_WAY, or says what ended the way.
    """

    def order(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        present = judge()
        refusal = "the node is not active" if present is None else present.home()
        response.success = not refusal
        response.message = f"refused, {refusal}" if refusal else "the robot drives home; ~/home_status tells when it is"
        node.get_logger().info(f"home: {response.message}")
        return response

    def status(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        present = judge()
        way = Homing() if present is None else present.way_home
        response.success = way.arrived
        response.message = ON_THE_WAY if way.running else way.outcome or "nobody has sent the robot home"
        return response

    node.create_service(Trigger, "~/home", order)
    node.create_service(Trigger, "~/home_status", status)
