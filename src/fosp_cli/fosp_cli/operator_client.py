"""What a person asks of the running graph from a terminal: to take a bundle over, to leave a latched stop."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

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
"""How long the graph is looked for."""
LOADING_S = 45.0
"""From the announcement to the switch: the encoder gives its followers 30 s."""
TRIAL_S = 120.0
"""A trial is 200 decisions, ten seconds; but a robot that stands makes none."""
_SAID = {
    ModelStatus.STATE_READY: "loaded and tested by the encoder, which waits for policy and safety monitor",
    ModelStatus.STATE_TRIAL: "makes the decisions from now on, on trial; the bundle before it is kept",
    ModelStatus.STATE_ACTIVE: "has passed its trial and stays",
    ModelStatus.STATE_REFUSED: "refused",
    ModelStatus.STATE_ROLLED_BACK: "rolled back, the bundle before it decides again",
}


class OperatorClient(GraphClient):
    """A node of its own for one request; use as a context manager. `namespace`: of the robot's stack.

    UserError when no such stack answers.
    """

    def __init__(self, namespace: str = "") -> None:
        super().__init__(OPERATOR, namespace, enclave=enclave(OPERATOR, namespace))
        self._where = f"namespace '{namespace}'" if namespace else "this ROS domain"

    def reset(self) -> tuple[bool, str]:
        """End a latched stop; whether the monitor did, and what it said."""
        answer = self.call(Trigger, f"{MONITOR}/reset", Trigger.Request(), DISCOVERY_S)
        if answer is None:
            raise self._nobody(MONITOR)
        return bool(answer.success), str(answer.message)

    def offer(self, bundle: Path, write: Callable[[str], None]) -> bool:
        """Have the graph take a bundle over without a stop; whether it did. `write` is told of each step.

        The folder must be there, under this path, on the computer that the nodes run on. UserError: damaged bundle.
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
        """Until the encoder has made up its mind."""
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
        write(f"{model_id[:12]}: nothing more was heard for {patience_s:.0f} s; does the robot stand?")
        return False

    def _spin_until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        until = time.monotonic() + timeout_s
        while not condition() and time.monotonic() < until:
            self.spin_once(0.1)
        return condition()

    def _nobody(self, name: str) -> UserError:
        return UserError(f"no {name} in {self._where}: is the graph up, and ROS_DOMAIN_ID the same in both terminals?")
