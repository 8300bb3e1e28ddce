"""The encoder node's part in a hot swap: it leads the swap (SwapSequence), and holds the encoder for each frame."""

from __future__ import annotations

import math
import time
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.publisher import Publisher

from fosp_core import topics
from fosp_core.bundle.bundle import Bundle
from fosp_core.bundle.self_testing import LiveSession, sessions_to_test
from fosp_core.decisions import RISK, Decision, Reason, WhoDrives
from fosp_core.robot.config import RobotConfig
from fosp_core.ros import qos
from fosp_core.ros.model_following import POLL_PERIOD_S, announcement, candidate_loader
from fosp_core.ros.model_parameters import publish_status
from fosp_core.swap.sequence import SwapOrder, SwapPhase, SwapReport, SwapSequence
from fosp_core.swap.trial import DecisionOutcome, TrialRules
from fosp_msgs.msg import ModelAnnouncement, ModelStatus, SafetyVerdict
from fosp_perception.agreement_on_frames import agreement_failure
from fosp_perception.encoder import Encoder, History, WarmUp

RETELL_S = 0.5
"""Time from the status of another bundle until that of the running one is repeated. A node that is started later hears
only the last status, and must learn from it what to load."""
_AT_FAULT = RISK | {Reason.NOT_FINITE, Reason.WRONG_SHAPE, Reason.MODEL_ID}
"""Reasons of a latch that the model is to blame for."""
_STATES = {
    SwapReport.READY: ModelStatus.STATE_READY,
    SwapReport.REFUSED: ModelStatus.STATE_REFUSED,
    SwapReport.TRIAL: ModelStatus.STATE_TRIAL,
    SwapReport.COMMITTED: ModelStatus.STATE_ACTIVE,
    SwapReport.ROLLED_BACK: ModelStatus.STATE_ROLLED_BACK,
}


class SwapLeader:
    """Loads a bundle, waits for the followers, warms the encoder, switches, watches the trial, and rolls back.

    Call `encoder` with every frame; everything that takes time happens in threads.
    """

    def __init__(
        self,
        node: Node,
        robot: RobotConfig,
        bundle: Bundle,
        status: Publisher,
        followers: tuple[str, ...],
        rules: TrialRules,
    ) -> None:
        self._node, self._status = node, status
        self._own = node.get_fully_qualified_name()
        self._sequence = SwapSequence(bundle.manifest.id, self._own, followers, rules)
        self._probes = bundle.probes
        """Those of the start: a candidate must not bring the probes that it is tested by, nor drift by small steps."""
        self._bundles = {bundle.manifest.id: bundle}
        self._running = Encoder(bundle)
        self._previous: Encoder | None = None
        self._warm_up: WarmUp | None = None
        self._history = History()
        self._loader = candidate_loader(node, robot, bundle)
        create = node.create_subscription
        self._subscriptions = [
            create(ModelAnnouncement, topics.MODEL_ANNOUNCEMENT, self._on_announcement, qos.MODEL_STATUSES),
            create(ModelStatus, topics.MODEL_STATUS, self._on_status, qos.MODEL_STATUSES),
            create(SafetyVerdict, topics.VERDICT, self._on_verdict, qos.STEP),
        ]
        self._timer = node.create_timer(POLL_PERIOD_S, self._poll)
        self._retell_s = math.inf

    # -- for the node --------------------------------------------------------------------------------
    @property
    def model_id(self) -> str:
        """Id of the model that decides."""
        return self._sequence.running_id

    def tested_sessions(self) -> list[LiveSession]:
        """Return the encoders of all loaded bundles, for the self-test."""
        return [
            session for bundle in tuple(self._bundles.values()) for session in sessions_to_test(bundle, ("encoder",))
        ]

    def encoder(self) -> Encoder:
        """Return the encoder for the frame that has arrived, after switching to another one if that is due."""
        self._switch_if_due()
        return self._running

    def stepped(self, images: NDArray[np.uint8], executed: NDArray[np.float32], is_first: bool) -> None:
        """Remember the inputs of a step that the encoder has made."""
        self._history.append(images, executed, is_first)
        if time.monotonic() >= self._retell_s:
            self._tell_running()

    def cost(self, cost: float) -> None:
        """Take the cost of the newest decision period into account."""
        self._sequence.cost(cost)

    def restart(self) -> None:
        """Forget the past when the node is activated."""
        self._history.clear()
        self._running.reset()
        self._sequence.restart()
        self._tell_running()

    def close(self) -> None:
        self._loader.close()
        self._node.destroy_timer(self._timer)
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    # -- reports -------------------------------------------------------------------------------------
    def _on_announcement(self, message: ModelAnnouncement) -> None:
        offered = announcement(message)
        if self._sequence.announced(offered, time.monotonic()):
            self._loader.offer(offered)
        self._publish_events()

    def _on_status(self, message: ModelStatus) -> None:
        if message.node == self._own:
            return
        if message.state in (ModelStatus.STATE_READY, ModelStatus.STATE_ACTIVE):
            self._sequence.reported(message.node, message.model_id)
        elif message.state == ModelStatus.STATE_REFUSED:
            self._sequence.reported(message.node, message.model_id, message.detail or "refused")

    def _on_verdict(self, message: SafetyVerdict) -> None:
        latched = message.decision == Decision.LATCH
        self._sequence.latched = latched
        at_fault = latched and message.reason in _AT_FAULT
        by_the_model = len(message.action_in) and message.source != WhoDrives.OPERATOR
        if by_the_model or at_fault:
            self._sequence.decided(
                message.model_id,
                DecisionOutcome(
                    vetoed=message.reason in RISK,
                    surprised=message.surprise > message.surprise_limit,
                    latched=at_fault,
                ),
            )

    # -- orders --------------------------------------------------------------------------------------
    def _poll(self) -> None:
        for loaded in self._loader.take():
            model_id = loaded.announcement.model_id
            if loaded.bundle is not None:
                self._bundles[model_id] = loaded.bundle
            self._sequence.reported(self._own, model_id, loaded.refusal)
        self._obey(self._sequence.next_order(time.monotonic()))
        self._publish_events()

    def _obey(self, order: SwapOrder) -> None:
        """Carry out an order, except for the switch itself, which waits for a frame."""
        candidate = self._sequence.candidate
        if order is SwapOrder.WARM and candidate is not None:
            bundle = self._bundles[candidate.model_id]
            test = partial(agreement_failure, self._bundles[self.model_id], bundle, self._probes)
            self._warm_up = WarmUp(candidate.model_id, Encoder(bundle), self._history, test)
        elif order is SwapOrder.ROLL_BACK and self._previous is not None:
            back = self._sequence.previous_id
            if self._warm_up is None or self._warm_up.model_id != back:
                self._warm_up = WarmUp(back, self._previous, self._history)
        elif order is SwapOrder.COMMIT:
            self._previous = None
        if self._sequence.candidate is None:
            self._warm_up = None
            self._let_go()

    def _switch_if_due(self) -> None:
        """Change from one model to the other, between two frames, when all is ready."""
        warm_up, now_s = self._warm_up, time.monotonic()
        if warm_up is None or not warm_up.ready:
            return
        warm_up.finish()
        self._sequence.warmed(warm_up.model_id, warm_up.failure)
        order = self._sequence.next_order(now_s)
        if order is SwapOrder.SWITCH:
            self._previous, self._running = self._running, warm_up.encoder
            self._warm_up = None
            self._sequence.switched(now_s)
        elif order is SwapOrder.ROLL_BACK and warm_up.encoder is self._previous:
            if warm_up.failure:
                warm_up.encoder.reset()
            self._running, self._previous = warm_up.encoder, None
            self._warm_up = None
            self._sequence.rolled_back(now_s)
        else:
            self._obey(order)

    def _let_go(self) -> None:
        """Release the bundles that nothing can return to."""
        sequence = self._sequence
        keep = {sequence.running_id, sequence.previous_id}
        keep |= {a.model_id for a in (sequence.candidate, sequence.waiting) if a is not None}
        self._bundles = {name: bundle for name, bundle in self._bundles.items() if name in keep}

    def _publish_events(self) -> None:
        for event in self._sequence.take_events():
            decides = event.report in (SwapReport.TRIAL, SwapReport.COMMITTED)
            path = self._path(event.model_id) if decides else None
            self._retell_s = math.inf if decides else time.monotonic() + RETELL_S
            publish_status(self._node, self._status, event.model_id, _STATES[event.report], event.detail, path)
            line = f"model {event.model_id[:12]}: {event.report.value}" + (f", {event.detail}" if event.detail else "")
            bad = event.report in (SwapReport.REFUSED, SwapReport.ROLLED_BACK)
            if bad:
                self._node.get_logger().warning(line)
            else:
                self._node.get_logger().info(line)

    def _tell_running(self) -> None:
        """Publish the id and the folder of the model that decides."""
        self._retell_s = math.inf
        on_trial = self._sequence.phase is SwapPhase.TRIAL
        state = ModelStatus.STATE_TRIAL if on_trial else ModelStatus.STATE_ACTIVE
        publish_status(self._node, self._status, self.model_id, state, path=self._path(self.model_id))

    def _path(self, model_id: str) -> Any:
        bundle = self._bundles.get(model_id)
        return bundle.directory if bundle is not None else None
