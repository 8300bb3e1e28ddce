"""Latents in, proposals out: the node around safe policy expansion.

A latent that cannot be answered (another model's, wrong size, not finite) gives one log line and no proposal; the
safety monitor then stops the robot for want of one.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np

from fosp_core import topics
from fosp_core.errors import UserError
from fosp_core.realtime import CONTROL_PRIORITY
from fosp_core.ros import qos
from fosp_core.ros.lifecycle import ManagedNode, events_executor, run_node
from fosp_core.ros.model_parameters import (
    create_status_publisher,
    declare_model_parameters,
    float_field,
    load_model,
    publish_status,
)
from fosp_msgs.msg import ActionCandidate, ActionProposal, Latent, ModelStatus
from fosp_policy.expansion import DEPLOYED_CANDIDATES, Candidate, LatentError, PolicyOutputError, SafePolicy


class PolicyNode(ManagedNode):
    """Publishes one fosp/proposal for each fosp/latent of its own model.

    Parameters besides those of the model: `exploring` (choose by softmax of utility), `candidates` (actions of each
    actor; deployed, the first is the mean and the others are alternatives for the safety monitor), `prefer_means` (see
    SafePolicy), `seed` of the samples.
    """

    def __init__(self) -> None:
        super().__init__("policy_node")
        declare_model_parameters(self)
        self.declare_parameter("exploring", False)
        self.declare_parameter("candidates", DEPLOYED_CANDIDATES)
        self.declare_parameter("prefer_means", True)
        self.declare_parameter("seed", 0)
        self._made: list[Any] = []
        self._status = create_status_publisher(self)

    def configure(self) -> None:
        _, bundle = load_model(self)
        candidates = int(self.get_parameter("candidates").value)
        if candidates < 1:
            raise UserError(f"parameter 'candidates' must be at least 1, got {candidates}")
        self._model_id = bundle.manifest.id
        self._exploring = bool(self.get_parameter("exploring").value)
        self._policy = SafePolicy(bundle, candidates, bool(self.get_parameter("prefer_means").value))
        self._proposals = self.create_publisher(ActionProposal, topics.PROPOSAL, qos.STEP)
        self._made = [self.create_gated_subscription(Latent, topics.LATENT, self._on_latent, qos.STEP)]
        publish_status(self, self._status, self._model_id, ModelStatus.STATE_READY)

    def activate(self) -> None:
        self._rng = np.random.default_rng(int(self.get_parameter("seed").value))
        publish_status(self, self._status, self._model_id, ModelStatus.STATE_ACTIVE)

    def deactivate(self) -> None:
        publish_status(self, self._status, self._model_id, ModelStatus.STATE_READY)

    def cleanup(self) -> None:
        for subscription in self._made:
            self.destroy_subscription(subscription)
        self._made = []

    def _on_latent(self, message: Latent) -> None:
        received = time.perf_counter()
        if message.model_id != self._model_id:
            raise UserError(
                f"no proposal: latent of model '{message.model_id[:12]}', this node runs '{self._model_id[:12]}'"
            )
        try:
            proposal = self._policy.propose(
                np.frombuffer(message.deter, np.float32),
                np.frombuffer(message.stoch, np.float32),
                self._exploring,
                self._rng,
            )
        except (LatentError, PolicyOutputError) as error:
            raise UserError(f"no proposal: {error}") from None
        self._proposals.publish(
            ActionProposal(
                header=message.header,
                step=message.step,
                model_id=self._model_id,
                candidates=[candidate_message(candidate) for candidate in proposal.candidates],
                chosen=proposal.chosen,
                v_h=proposal.v_h,
                eps=self._policy.eps,
                exploring=self._exploring,
                inference_s=time.perf_counter() - received,
            )
        )


def candidate_message(candidate: Candidate) -> ActionCandidate:
    """The candidate as a message; its action keeps every bit."""
    return ActionCandidate(
        source=candidate.source,
        action=float_field(candidate.action),
        q_r=candidate.q_r,
        q_c=candidate.q_c,
        q_h=candidate.q_h,
        utility=candidate.utility,
        feasible=candidate.feasible,
    )


def main() -> None:
    sys.exit(run_node(PolicyNode, make_executor=events_executor, priority=CONTROL_PRIORITY))


if __name__ == "__main__":
    main()
