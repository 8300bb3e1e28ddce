"""The safety monitor without ROS: joins latents and proposals, runs the bundle's critic, keeps the state.

Used by safety_monitor_node and by in-process evaluation. Its decisions are the pure functions of decision.py.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fosp_core.bundle.bundle import Bundle
from fosp_core.clock import Now, Received
from fosp_core.decisions import Decision, Reason
from fosp_core.errors import UserError
from fosp_core.limits import CommandLimits
from fosp_core.specs import Manifest, RobotConfig
from fosp_safety_monitor.judge import checks, decision
from fosp_safety_monitor.judge.inputs import CriticValues, LatentInput, Lead, ProposalInput, RobotStateInput, Thresholds
from fosp_safety_monitor.judge.state import MonitorState, Tick, initial_state
from fosp_safety_monitor.judge.verdict import Finding, Verdict
from fosp_safety_monitor.parameters import MonitorParameters, loosened

_LATENTS_KEPT = 8


class Network(Protocol):
    """critic.onnx of a bundle: fosp_core.bundle.onnx_session.OnnxModel."""

    def run(self, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]: ...


@dataclass(frozen=True)
class JudgedModel:
    """What of a bundle the monitor judges with."""

    manifest: Manifest
    critic: Network

    @classmethod
    def of(cls, bundle: Bundle) -> JudgedModel:
        return cls(bundle.manifest, bundle.critic)


@dataclass(frozen=True)
class JudgingModel:
    """What proposals of one model are judged by."""

    model: JudgedModel
    thresholds: Thresholds

    @property
    def manifest(self) -> Manifest:
        return self.model.manifest


class SafetyMonitor:
    """Judges the proposals of a bundle and shapes the commands of one robot.

    Every proposal is judged by the critic and the thresholds of its own model: that of the start, or one that `models`
    knows by its id (a hot swap). An id that neither knows latches. Between two proposals the thresholds of the last one
    are in force.

    Inputs come from one thread, ticks may come from another: the critic runs outside of the lock that they share.
    `clock` gives the present moment on both clocks; the monotonic one must not run backwards. `latched` is the latch
    that an earlier monitor of the same robot left behind. `shadow`: judge, but let
    through whatever can be followed at all. `simulated_time`: the ROS clock is a simulator's.
    """

    def __init__(
        self,
        model: JudgedModel,
        robot: RobotConfig,
        parameters: MonitorParameters,
        clock: Callable[[], Now],
        latched: Finding | None = None,
        shadow: bool = False,
        simulated_time: bool = False,
        models: Callable[[str], JudgedModel | None] = lambda model_id: None,
    ) -> None:
        self._robot_config = robot
        self._shadow, self._simulated_time = shadow, simulated_time
        self._models = models
        self._model = JudgingModel(model, self._thresholds_of(model.manifest, parameters))
        self._limits = CommandLimits(robot)
        self._clock = clock
        self._lock = threading.Lock()
        self._robot = RobotStateInput()
        self._latents: OrderedDict[tuple[int, int], LatentInput] = OrderedDict()
        self._state = initial_state(robot.action.size, latched)

    @property
    def state(self) -> MonitorState:
        """A consistent snapshot."""
        return self._state

    @property
    def robot_state(self) -> RobotStateInput:
        return self._robot

    @property
    def parameters(self) -> MonitorParameters:
        return self._current.parameters

    # -- inputs --------------------------------------------------------------------------------------
    def receive_latent(self, latent: LatentInput) -> list[Verdict]:
        """Remember a latent. Gives a verdict when it is malformed, and one on the proposal that waited for it."""
        verdicts = []
        with self._lock:
            thresholds = self._judging(latent.model_id).thresholds
            self._state, verdict = decision.judge_latent(self._state, latent, self._robot, thresholds, self._clock())
            waiting = self._state.waiting
        if verdict is not None:
            verdicts.append(verdict)
        self._latents[_key(latent)] = latent
        while len(self._latents) > _LATENTS_KEPT:
            self._latents.popitem(last=False)
        if waiting is not None and _key(waiting) == _key(latent):
            verdicts.append(self._judge(waiting, latent))
        return verdicts

    def receive_proposal(self, proposal: ProposalInput) -> Verdict | None:
        """The verdict on a proposal; None when its latent has not come yet, so that it waits."""
        latent = self._latents.get(_key(proposal))
        if latent is None:
            with self._lock:
                thresholds = self._judging(proposal.model_id).thresholds
                if decision.waits_for_latent(self._state, proposal, thresholds, self._clock()):
                    self._state = replace(self._state, waiting=proposal)
                    return None
        return self._judge(proposal, latent)

    def receive_robot_state(self, received: Received) -> None:
        """Joint states or odometry came, and are finite."""
        with self._lock:
            self._robot = replace(self._robot, state=received)

    def receive_pose(self, received: Received, position: tuple[float, float, float]) -> None:
        """The pose of the commanded point came, finite and in the action frame; `position` in m."""
        with self._lock:
            self._robot = replace(self._robot, pose=received, position=position)

    def receive_estop(self, pressed: bool, receipt_s: float) -> None:
        """The external emergency stop says whether it is pressed; `receipt_s` on the monotonic clock.

        Pressed latches here and now: before the next tick, another message (of another button) may say that it is not.
        """
        with self._lock:
            self._robot = replace(self._robot, estop_pressed=pressed, estop_receipt_s=receipt_s)
            if pressed:
                self._state = decision.latch(self._state, checks.ESTOP_PRESSED)

    def see_commanders(self, others: tuple[str, ...]) -> None:
        """Who else, beside this monitor, publishes on the robot's command topic at present."""
        with self._lock:
            self._robot = replace(self._robot, other_commanders=others)

    def see_target(self, lead: Lead) -> None:
        """Where the target pose is that was sent last, and how far ahead of the measured pose."""
        with self._lock:
            self._robot = replace(self._robot, lead=lead)

    # -- outputs -------------------------------------------------------------------------------------
    def tick(self) -> Tick:
        """The next command of the stream, and a verdict when there is no proposal to answer."""
        with self._lock:
            self._state, tick = decision.judge_tick(
                self._state, self._robot, self._current, self._limits, self._clock()
            )
        return tick

    def halt(self) -> tuple[float, ...]:
        """The next command on the way to zero, whatever the inputs say."""
        with self._lock:
            self._state = decision.halt(self._state, self._limits, self._clock())
            return self._state.command

    # -- operator ------------------------------------------------------------------------------------
    def latch(self, finding: Finding) -> None:
        """LATCH for what no input shows: a person's order, a node that came back."""
        with self._lock:
            self._state = decision.latch(self._state, finding)

    def reset(self) -> str:
        """End a latch; empty on success, else what still stops the robot."""
        with self._lock:
            self._state, refusal = decision.reset(self._state, self._robot, self._current, self._clock())
        return refusal

    def change_parameters(self, parameters: MonitorParameters, active: bool) -> None:
        """Put other parameters in force; UserError, and the old ones stay, when `active` and one would be loosened."""
        if active:
            names = loosened(self.parameters, parameters)
            if names:
                raise UserError(f"{', '.join(names)} can only be made stricter while active: deactivate the node first")
        model = replace(self._model, thresholds=self._thresholds_of(self._model.manifest, parameters))
        with self._lock:
            self._model = model

    # -- models --------------------------------------------------------------------------------------
    @property
    def model_id(self) -> str:
        """Of the model that judged last."""
        return self._model.manifest.id

    @property
    def _current(self) -> Thresholds:
        return self._model.thresholds

    def _judging(self, model_id: str) -> JudgingModel:
        """The model of an input. An unknown id gives the current model, whose checks then refuse the input."""
        found = None if model_id == self.model_id else self._models(model_id)
        if found is None:
            return self._model
        return JudgingModel(found, self._thresholds_of(found.manifest, self.parameters))

    def _thresholds_of(self, manifest: Manifest, parameters: MonitorParameters) -> Thresholds:
        return Thresholds.of(manifest, self._robot_config, parameters, self._shadow, self._simulated_time)

    def _judge(self, proposal: ProposalInput, latent: LatentInput | None) -> Verdict:
        model = self._judging(proposal.model_id)
        scored = self._score(model, proposal, latent) if latent is not None else None
        with self._lock:
            self._state, verdict = decision.judge_proposal(
                self._state, proposal, latent, scored, self._robot, model.thresholds, self._clock()
            )
            self._model = model
        return verdict

    @staticmethod
    def _score(judging: JudgingModel, proposal: ProposalInput, latent: LatentInput) -> CriticValues | Finding | None:
        """Return what our own critic says; None when there is nothing well-formed to score, a Finding when it fails."""
        actions = decision.critic_actions(proposal, latent, judging.thresholds)
        if actions is None:
            return None
        state = {"deter": latent.deter[np.newaxis], "stoch": latent.stoch[np.newaxis], "action": actions}
        try:
            output = judging.model.critic.run(**state)
            return CriticValues(
                q_r=tuple(output["q_r"][0].tolist()),
                q_c=tuple(output["q_c"][0].tolist()),
                q_h=tuple(output["q_h"][0].tolist()),
                v_h=float(output["v_h"][0]),
            )
        except Exception as error:  # onnxruntime raises its own, undocumented types
            text = f"critic failed on proposal {proposal.step}: {str(error).splitlines()[0][:160]}"
            return Finding(Decision.LATCH, Reason.NOT_FINITE, text)


def _key(message: LatentInput | ProposalInput) -> tuple[int, int]:
    """What ties a proposal to its latent: the camera frame and the step. Both must then be of the loaded model."""
    return message.frame.stamp_ns, message.step
