"""Requests of an operator to the running graph: load a bundle, engage and disengage, end a latched stop."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from std_srvs.srv import Trigger

from fosp_bringup.interfaces import OPERATOR
from fosp_bringup.stack import MONITOR, enclave
from fosp_cli.graph_client import GraphClient
from fosp_core import topics
from fosp_core.bundle.bundle import verify_bundle
from fosp_core.errors import UserError
from fosp_core.ros import qos
from fosp_core.ros.model_following import LEADER, resolved_node
from fosp_msgs.msg import ModelAnnouncement, ModelStatus

DISCOVERY_S = 10.0
"""Time to look for the graph, s."""
LOADING_S = 45.0
"""Time from the announcement to the switch, s. The encoder gives its followers 30 s of it."""
TRIAL_S = 120.0
"""Time for a trial, s. It counts decisions, and a robot that stands still makes none."""
_SAID = {
    ModelStatus.STATE_READY: "loaded and tested by the encoder, which waits for policy and safety monitor",
    ModelStatus.STATE_TRIAL: "makes the decisions from now on, on trial; the previous bundle is kept",
    ModelStatus.STATE_ACTIVE: "has passed its trial and stays",
    ModelStatus.STATE_REFUSED: "refused",
    ModelStatus.STATE_ROLLED_BACK: "rolled back; the previous bundle decides again",
}


class OperatorClient(GraphClient):
    """A node for one request to the stack in `namespace`. Use it as a context manager.

    Each request raises UserError when no such stack answers.
    """

    def __init__(self, namespace: str = "") -> None:
        super().__init__(OPERATOR, namespace, enclave=enclave(OPERATOR, namespace))
        self._where = f"namespace '{namespace}'" if namespace else "this ROS domain"

    def ask_monitor(self, service: Literal["reset", "engage", "disengage", "home", "home_status"]) -> tuple[bool, str]:
        """Ask the safety monitor to end a latched stop, to take or end the consent to motion, or to drive home.

        Return whether it did, and its answer.
        """
        answer = self.call(Trigger, f"{MONITOR}/{service}", Trigger.Request(), DISCOVERY_S)
        if answer is None:
            raise self._nobody(MONITOR)
        return bool(answer.success), str(answer.message)

    def offer(self, bundle: Path, write: Callable[[str], None]) -> bool:
        """Ask the graph to swap to a bundle without a stop, and return whether it did. `write` gets a line per step.

        The nodes read the folder under this path on their own computer. Raise UserError for a damaged bundle.
        """
        manifest = verify_bundle(bundle)
        statuses: deque[ModelStatus] = deque()
        leader = resolved_node(self.node, LEADER)

        def hear(message: ModelStatus) -> None:
            if message.node == leader:
                statuses.append(message)

        self.node.create_subscription(ModelStatus, topics.MODEL_STATUS, hear, qos.MODEL_STATUSES)
        announcements = self.node.create_publisher(ModelAnnouncement, topics.MODEL_ANNOUNCEMENT, qos.LATCHED)
        if not self._spin_until(lambda: bool(statuses), DISCOVERY_S):
            raise self._nobody(LEADER)
        name = manifest.id[:12]
        if statuses[-1].model_id == manifest.id and statuses[-1].state == ModelStatus.STATE_ACTIVE:
            write(f"{name}: makes the decisions already")
            return True
        statuses.clear()
        announcements.publish(
            ModelAnnouncement(
                model_id=manifest.id,
                parent_id=manifest.parent_id,
                path=str(bundle.absolute()),
                stamp=self.node.get_clock().now().to_msg(),
            )
        )
        return self._follow(manifest.id, statuses, write)

    def _follow(self, model_id: str, statuses: deque[ModelStatus], write: Callable[[str], None]) -> bool:
        """Report the encoder's statuses until it keeps, refuses or rolls back the model. Return whether it keeps it."""
        patience_s = LOADING_S
        while self._spin_until(lambda: bool(statuses), patience_s):
            status = statuses.popleft()
            if status.model_id != model_id:
                if patience_s == TRIAL_S and status.state == ModelStatus.STATE_ACTIVE:
                    write(f"{model_id[:12]}: {_SAID[ModelStatus.STATE_ROLLED_BACK]}")
                    return False
                continue
            detail = f": {status.detail}" if status.detail else ""
            write(f"{model_id[:12]}: {_SAID[status.state]}{detail}")
            if status.state == ModelStatus.STATE_TRIAL:
                patience_s = TRIAL_S
            elif status.state != ModelStatus.STATE_READY:
                return bool(status.state == ModelStatus.STATE_ACTIVE)
        write(f"{model_id[:12]}: no further status for {patience_s:.0f} s; does the robot stand still?")
        return False

    def _spin_until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        until = time.monotonic() + timeout_s
        while not condition() and time.monotonic() < until:
            self.spin_once(0.1)
        return condition()

    def _nobody(self, name: str) -> UserError:
        return UserError(f"no {name} in {self._where}: is the graph up, and ROS_DOMAIN_ID the same in both terminals?")
