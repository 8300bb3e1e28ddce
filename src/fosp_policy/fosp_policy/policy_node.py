"""Node around safe policy expansion: it answers latents with proposals.

For a latent that cannot be answered (of another model, of a wrong size, not finite) there is one log line and no
proposal; without a proposal, the safety monitor stops the robot.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.parameter import Parameter

from fosp_core import topics
from fosp_core.bundle.bundle import Bundle
from fosp_core.bundle.self_testing import LiveSession, sessions_to_test
from fosp_core.errors import UserError
from fosp_core.processes import CONTROL_PRIORITY, end_process
from fosp_core.robot.trail import WayBack
from fosp_core.ros import qos
from fosp_core.ros.fields import float_field
from fosp_core.ros.lifecycle import ManagedNode, run_node
from fosp_core.ros.model_following import ModelFollower
from fosp_core.ros.model_parameters import MODEL_PARAMETERS, create_status_publisher, load_model, publish_status
from fosp_core.ros.parameters import ANY_TIME, NodeParameter, declare
from fosp_core.ros.self_testing import NodeSelfTest
from fosp_core.ros.stamps import seconds
from fosp_msgs.msg import ActionCandidate, ActionProposal, Latent, ModelStatus
from fosp_policy.detour import NO_GUIDE, Detour, Guide
from fosp_policy.expansion import (
    ACTORS,
    CHOICES,
    DEPLOYED_CANDIDATES,
    FALLBACKS,
    LatentError,
    PolicyOutputError,
    SafePolicy,
    ScoredCandidate,
)
from fosp_policy.exploration import CORRELATION_S, next_drift
from fosp_policy.measured_place import MeasuredPlace

PARAMETERS = (
    *MODEL_PARAMETERS,
    NodeParameter(
        "exploring",
        False,
        "Draw the choice by softmax of utility, from the next latent on.",
        changes=ANY_TIME,
    ),
    NodeParameter(
        "heed_risk",
        True,
        "Prefer feasible candidates. False proposes what promises the greatest return, however risky, from the next "
        "latent on: it leaves safety to the monitor, to show what the monitor does.",
        changes=ANY_TIME,
    ),
    NodeParameter("candidates", DEPLOYED_CANDIDATES, "Number of candidates that are drawn.", "", 1, 256),
    NodeParameter("prefer_means", True, "Choose a sample only if no mean of the actors is feasible."),
    NodeParameter("actors", "both", "Actors that propose.", choices=ACTORS),
    NodeParameter(
        "choice",
        "return",
        "What is chosen by among feasible candidates: utility, q_s of the success critic, or utility among those of "
        "about the greatest q_s. All but `return` need a bundle with a success critic.",
        choices=CHOICES,
    ),
    NodeParameter("fallbacks", FALLBACKS, "Number of further candidates when none is feasible.", "", 0, 256),
    NodeParameter(
        "retreat",
        False,
        "A robot that hangs goes back along its own trail, and then by another mode of the actors. Needs its pose or "
        "odometry; not while exploring.",
    ),
    NodeParameter("seed", 0, "Seed of the samples.", "", 0, 2**31 - 1),
    NodeParameter(
        "exploration_correlation_s",
        CORRELATION_S,
        "Time in which the correlation of the exploration noise falls to 1 / e.",
        "s",
        0.01,
        10.0,
    ),
)


@dataclass(frozen=True)
class LoadedPolicy:
    """The policy of a bundle, and its sessions for the self-test."""

    policy: SafePolicy
    sessions: tuple[LiveSession, ...]
    period_s: float
    """Time between two decisions, s."""


class PolicyNode(ManagedNode):
    """Publishes one fosp/proposal for each fosp/latent, by the model of that latent (fosp_core.ros.model_following).

    PARAMETERS lists its parameters, of which `exploring` and `heed_risk` may be changed at any time.
    """

    def __init__(self) -> None:
        super().__init__("policy_node")
        declare(self, PARAMETERS, self._on_parameters)
        self._made: list[Any] = []
        self._models: ModelFollower[LoadedPolicy] | None = None
        self._self_test: NodeSelfTest | None = None
        self._way: WayBack | None = None
        """None: the robot makes no detours."""
        self._place: MeasuredPlace | None = None
        self._outputs: list[Any] = []
        """Publishers that end with the configuration: a second one of the same topic would count as a stranger's."""
        self._status = create_status_publisher(self)

    def configure(self) -> None:
        robot, bundle = load_model(self)
        candidates = int(self.get_parameter("candidates").value)
        actors = str(self.get_parameter("actors").value)
        prefer_means = bool(self.get_parameter("prefer_means").value)
        fallbacks = int(self.get_parameter("fallbacks").value)
        choice = str(self.get_parameter("choice").value)

        def policy_of(bundle: Bundle) -> LoadedPolicy:
            policy = SafePolicy(
                bundle,
                candidates,
                prefer_means,
                actors,  # type: ignore[arg-type]
                fallbacks,
                choice=choice,  # type: ignore[arg-type]
                coasts=robot.coasts,
            )
            sessions = sessions_to_test(bundle, ("policy", "critic"))
            return LoadedPolicy(policy, sessions, bundle.manifest.decision_period_s)

        self._exploring = bool(self.get_parameter("exploring").value)
        self._heed_risk = bool(self.get_parameter("heed_risk").value)
        models = self._models = ModelFollower(self, robot, bundle, self._status, policy_of)
        self._self_test = NodeSelfTest(
            self, lambda: [session for loaded in models.models() for session in loaded.sessions]
        )
        self._axes = robot.action.twist_size
        self._way = WayBack.of(robot) if self.get_parameter("retreat").value else None
        self._place = None if self._way is None else MeasuredPlace(self, robot, self._way)
        self._proposals = self.create_publisher(ActionProposal, topics.PROPOSAL, qos.STEP)
        self._outputs = [self._proposals]
        self._made = [self.create_gated_subscription(Latent, topics.LATENT, self._on_latent, qos.STEP)]
        self._made += [] if self._place is None else [self._place.subscription]
        publish_status(self, self._status, self._model_id, ModelStatus.STATE_READY)

    def activate(self) -> None:
        self._rng = np.random.default_rng(int(self.get_parameter("seed").value))
        self._drift: NDArray[np.float32] | None = None
        self._detour = Detour()
        self._proposed: tuple[tuple[float, ...], float] = ((), 0.0)
        """Twist that was proposed last, normalised, and the risk of the state then."""
        publish_status(self, self._status, self._model_id, ModelStatus.STATE_ACTIVE)

    def deactivate(self) -> None:
        publish_status(self, self._status, self._model_id, ModelStatus.STATE_READY)

    def cleanup(self) -> None:
        for subscription in self._made:
            self.destroy_subscription(subscription)
        if self._self_test is not None:
            self._self_test.close()
            self._self_test = None
        for publisher in self._outputs:
            self.destroy_publisher(publisher)
        self._made, self._outputs = [], []
        if self._models is not None:
            self._models.close()
            self._models = None

    @property
    def _model_id(self) -> str:
        """Id of the model that answered last."""
        assert self._models is not None
        return self._models.active_id

    def _on_parameters(self, changed: list[Parameter]) -> SetParametersResult:
        """Apply `exploring` and `heed_risk` at once, the only ones that can be changed."""
        changing = [parameter for parameter in changed if parameter.name in ("exploring", "heed_risk")]
        for parameter in changing:
            if parameter.type_ != Parameter.Type.BOOL:
                return SetParametersResult(successful=False, reason=f"'{parameter.name}' must be true or false")
        for parameter in changing:
            setattr(self, f"_{parameter.name}", parameter.value)
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
        policy.heeds_risk = self._heed_risk
        self._drift = self._next_drift(policy.action_size, loaded.period_s) if exploring else None
        try:
            proposal = policy.propose(
                np.frombuffer(message.deter, np.float32),
                np.frombuffer(message.stoch, np.float32),
                exploring,
                self._rng,
                self._drift,
                self._guide(message, exploring),
            )
        except (LatentError, PolicyOutputError) as error:
            raise UserError(f"no proposal: {error}") from None
        self._detour = self._detour.chose(proposal.chosen_twist(self._axes))
        self._proposed = proposal.chosen_twist(self._axes), proposal.v_h
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

    def _guide(self, message: Latent, exploring: bool) -> Guide:
        """Return what the detour of a robot that hangs asks for; nothing where its place is not known."""
        place = None if self._place is None else self._place.now()
        if self._way is None or place is None or exploring or message.is_first:
            self._detour = Detour()
            return NO_GUIDE
        self._detour = self._detour.after(place, seconds(message.header.stamp), *self._proposed, self._way)
        return self._detour.guide(place, self._way)

    def _next_drift(self, size: int, period_s: float) -> NDArray[np.float32]:
        correlation_s = float(self.get_parameter("exploration_correlation_s").value)
        return next_drift(self._drift, size, period_s, correlation_s, self._rng)


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
    end_process(run_node(PolicyNode, priority=CONTROL_PRIORITY))


if __name__ == "__main__":
    main()
