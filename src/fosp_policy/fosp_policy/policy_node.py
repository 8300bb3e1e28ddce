"""Node around safe policy expansion: it answers latents with proposals.

For a latent that cannot be answered (of another model, of a wrong size, not finite) there is one log line and no
proposal; without a proposal, the safety monitor stops the robot.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from rcl_interfaces.msg import SetParametersResult
from rclpy.parameter import Parameter

from fosp_core import topics
from fosp_core.bundle.bundle import Bundle
from fosp_core.bundle.self_testing import LiveSession, sessions_to_test
from fosp_core.errors import UserError
from fosp_core.processes import CONTROL_PRIORITY, end_process
from fosp_core.ros import qos
from fosp_core.ros.lifecycle import ManagedNode, events_executor, run_node
from fosp_core.ros.model_following import ModelFollower
from fosp_core.ros.model_parameters import (
    create_status_publisher,
    declare_model_parameters,
    float_field,
    load_model,
    publish_status,
)
from fosp_core.ros.self_testing import NodeSelfTest
from fosp_msgs.msg import ActionCandidate, ActionProposal, Latent, ModelStatus
from fosp_policy.expansion import (
    ACTORS,
    DEPLOYED_CANDIDATES,
    FALLBACKS,
    LatentError,
    PolicyOutputError,
    SafePolicy,
    ScoredCandidate,
)

_FIXED = ("candidates", "prefer_means", "actors", "fallbacks", "seed")


@dataclass(frozen=True)
class LoadedPolicy:
    """The policy of a bundle, and its sessions for the self-test."""

    policy: SafePolicy
    sessions: tuple[LiveSession, ...]


class PolicyNode(ManagedNode):
    """Publishes one fosp/proposal for each fosp/latent, by the model of that latent (fosp_core.ros.model_following).

    Parameters besides those of the model: `exploring` (draw the choice by softmax of utility; it may be changed at any
    time, with effect from the next latent on), `actors` (both, offline or online: those that propose), `candidates`,
    `prefer_means` and `fallbacks` (see SafePolicy), and `seed` of the samples.
    """

    def __init__(self) -> None:
        super().__init__("policy_node")
        declare_model_parameters(self)
        self.declare_parameter("exploring", False)
        self.declare_parameter("candidates", DEPLOYED_CANDIDATES)
        self.declare_parameter("prefer_means", True)
        self.declare_parameter("actors", "both")
        self.declare_parameter("fallbacks", FALLBACKS)
        self.declare_parameter("seed", 0)
        self.add_on_set_parameters_callback(self._on_parameters)
        self._made: list[Any] = []
        self._models: ModelFollower[LoadedPolicy] | None = None
        self._self_test: NodeSelfTest | None = None
        self._status = create_status_publisher(self)

    def configure(self) -> None:
        robot, bundle = load_model(self)
        candidates = int(self.get_parameter("candidates").value)
        if candidates < 1:
            raise UserError(f"parameter 'candidates' must be at least 1, got {candidates}")
        actors = str(self.get_parameter("actors").value)
        if actors not in ACTORS:
            raise UserError(f"parameter 'actors' must be one of {', '.join(ACTORS)}, got '{actors}'")
        prefer_means = bool(self.get_parameter("prefer_means").value)
        fallbacks = int(self.get_parameter("fallbacks").value)
        if fallbacks < 0:
            raise UserError(f"parameter 'fallbacks' must be at least 0, got {fallbacks}")

        def policy_of(bundle: Bundle) -> LoadedPolicy:
            policy = SafePolicy(bundle, candidates, prefer_means, actors, fallbacks)  # type: ignore[arg-type]
            return LoadedPolicy(policy, sessions_to_test(bundle, ("policy", "critic")))

        self._exploring = bool(self.get_parameter("exploring").value)
        models = self._models = ModelFollower(self, robot, bundle, self._status, policy_of)
        self._self_test = NodeSelfTest(
            self, lambda: [session for loaded in models.models() for session in loaded.sessions]
        )
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
        if self._self_test is not None:
            self._self_test.close()
            self._self_test = None
        if self._models is not None:
            self._models.close()
            self._models = None

    @property
    def _model_id(self) -> str:
        """Id of the model that answered last."""
        assert self._models is not None
        return self._models.active_id

    def _on_parameters(self, changed: list[Parameter]) -> SetParametersResult:
        """Apply `exploring` at once, and refuse changes of the others while the node is configured."""
        for parameter in changed:
            if parameter.name == "exploring":
                if parameter.type_ != Parameter.Type.BOOL:
                    return SetParametersResult(successful=False, reason="'exploring' must be true or false")
                self._exploring = parameter.value
            elif parameter.name in _FIXED and self._models is not None:
                reason = f"'{parameter.name}' is read when the node is configured: clean the node up first"
                return SetParametersResult(successful=False, reason=reason)
        return SetParametersResult(successful=True)

    def _on_latent(self, message: Latent) -> None:
        received = time.perf_counter()
        assert self._models is not None
        assert self._self_test is not None
        self._self_test.require()
        loaded = self._models.of(message.model_id)
        if loaded is None:
            raise UserError(
                f"no proposal: latent of model '{message.model_id[:12]}', which is not loaded; "
                f"this node answered with '{self._model_id[:12]}' last"
            )
        policy, exploring = loaded.policy, self._exploring
        try:
            proposal = policy.propose(
                np.frombuffer(message.deter, np.float32),
                np.frombuffer(message.stoch, np.float32),
                exploring,
                self._rng,
            )
        except (LatentError, PolicyOutputError) as error:
            raise UserError(f"no proposal: {error}") from None
        self._proposals.publish(
            ActionProposal(
                header=message.header,
                step=message.step,
                model_id=message.model_id,
                candidates=[candidate_message(candidate) for candidate in proposal.candidates],
                chosen=proposal.chosen,
                v_h=proposal.v_h,
                eps=policy.eps,
                exploring=exploring,
                inference_s=time.perf_counter() - received,
            )
        )


def candidate_message(candidate: ScoredCandidate) -> ActionCandidate:
    """Return the candidate as a message, with its action bit for bit."""
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
    end_process(run_node(PolicyNode, make_executor=events_executor, priority=CONTROL_PRIORITY))


if __name__ == "__main__":
    main()
