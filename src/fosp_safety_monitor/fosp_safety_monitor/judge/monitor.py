"""The safety monitor without ROS: joins latents and proposals, runs the bundle's critic, keeps the state.

safety_monitor_node and the in-process evaluation use it. Its decisions are the pure functions of decision.py.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fosp_core.bundle.bundle import Bundle
from fosp_core.bundle.risk import judged_risk
from fosp_core.bundle.self_testing import LiveSession, sessions_to_test
from fosp_core.clock import Now
from fosp_core.decisions import Decision, Reason, WhoDrives
from fosp_core.errors import UserError
from fosp_core.processes import DISPENSABLE
from fosp_core.robot.config import RobotConfig
from fosp_core.robot.gripper import GripperSetpoint
from fosp_core.robot.limits import CommandLimits, Response, capped
from fosp_core.robot.trail import WayBack
from fosp_core.specs import Manifest
from fosp_safety_monitor.arm.guard import ArmGuard
from fosp_safety_monitor.judge import checks, decision, homing
from fosp_safety_monitor.judge.consent_inputs import ConsentSettings
from fosp_safety_monitor.judge.inputs import (
    CheckedLatent,
    CheckedProposal,
    CriticValues,
    Judge,
    LatentInput,
    ProposalInput,
)
from fosp_safety_monitor.judge.state import MonitorState, Tick, initial_state
from fosp_safety_monitor.judge.thresholds import Thresholds
from fosp_safety_monitor.judge.verdict import Finding, Verdict
from fosp_safety_monitor.judge.watch.camera import CameraWatch
from fosp_safety_monitor.judge.watch.homing import Homing
from fosp_safety_monitor.parameters import MonitorParameters, loosened
from fosp_safety_monitor.replacing import replaced
from fosp_safety_monitor.zones.field import ProtectiveField

_LATENTS_KEPT = 8


class Network(Protocol):
    """critic.onnx of a bundle: fosp_core.bundle.onnx_session.OnnxModel."""

    def run(self, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]: ...


@dataclass(frozen=True)
class CriticModel:
    """The critic of a bundle, and the manifest that its thresholds come from."""

    manifest: Manifest
    critic: Network
    session: LiveSession | None = None
    """The critic's session with its golden vectors; None: it is not tested again."""

    @classmethod
    def of(cls, bundle: Bundle) -> CriticModel:
        return cls(bundle.manifest, bundle.critic, *sessions_to_test(bundle, ("critic",)))


class SafetyMonitor(Judge):
    """Judges the proposals of a bundle and shapes the commands of one robot.

    Every proposal is judged by the critic and the thresholds of its own model: that of the start, or one that `models`
    knows by its id (a hot swap). An id that neither knows latches. Between two proposals the thresholds of the last one
    are in force.

    Inputs come from one thread, ticks may come from another: the critic runs outside of the lock that they share.
    `clock` gives the present moment on both clocks; the monotonic one must not run backwards. `latched` is the latch
    that an earlier monitor of the same robot left behind. `shadow` gates nothing but what cannot be followed at all.
    `simulated_time` says that the ROS clock is a simulator's. `consent` says which consents motion needs, by default
    all. `camera_known` says that the frames before showed what the model knows, so that none has to be awaited.
    `retreats` lets a robot that hangs go back along its own trail (watch/retreat.py).
    """

    def __init__(
        self,
        model: CriticModel,
        robot: RobotConfig,
        parameters: MonitorParameters,
        clock: Callable[[], Now],
        latched: Finding | None = None,
        shadow: bool = False,
        simulated_time: bool = False,
        models: Callable[[str], CriticModel | None] = lambda model_id: None,
        consent: ConsentSettings | None = None,
        speed_cap: float = 1.0,
        camera_known: bool = False,
        retreats: bool = False,
    ) -> None:
        super().__init__(robot.estop_topics)
        self._way_back = WayBack.of(capped(robot, speed_cap)) if retreats and not shadow else None
        self._robot_config = robot
        self._shadow, self._simulated_time = shadow, simulated_time
        self._consent = consent or ConsentSettings()
        self._models = models
        self._judging = model, self._thresholds_of(model.manifest, parameters)
        self._limits = CommandLimits(capped(robot, speed_cap))
        self._clock = clock
        self._latents: OrderedDict[tuple[int, int], CheckedLatent] = OrderedDict()
        state = initial_state(robot.action.twist_size, latched, Response.of(robot))
        self._state = replaced(state, camera=CameraWatch(trusted=camera_known))

    @property
    def state(self) -> MonitorState:
        """A consistent snapshot of the state."""
        return self._state

    @property
    def parameters(self) -> MonitorParameters:
        """The parameters in force."""
        return self._thresholds.parameters

    @property
    def model_id(self) -> str:
        """Id of the model that judged last."""
        return self._thresholds.model_id

    @property
    def zones(self) -> ProtectiveField | None:
        """The protective zones; None: the robot has none."""
        return self._thresholds.zones

    @property
    def arm(self) -> ArmGuard | None:
        """The arm's own limits; None: the robot file has none."""
        return self._thresholds.arm

    @property
    def _thresholds(self) -> Thresholds:
        """The thresholds in force, which change together with their model: no reader mixes those of two models."""
        return self._judging[1]

    # -- inputs --------------------------------------------------------------------------------------
    def receive_latent(self, latent: LatentInput) -> list[Verdict]:
        """Remember a latent. Return a verdict when it is malformed, and one on the proposal that waited for it."""
        with self._lock:
            _, thresholds = self._model_for(latent.model_id)
            checked = decision.checked_latent(latent, thresholds)
            self._state, verdict = decision.judge_latent(self._state, checked, self._robot, thresholds, self._clock())
            waiting = self._state.waiting
            operates = verdict is None and self._state.takeover.driver is WhoDrives.OPERATOR
        self._latents[_key(latent)] = checked
        while len(self._latents) > _LATENTS_KEPT:
            self._latents.popitem(last=False)
        if operates:
            return [self._judge_operator(checked)]
        judged = self._judge(waiting, checked) if waiting is not None and _key(waiting) == _key(latent) else None
        return [one for one in (verdict, judged) if one is not None]

    def receive_proposal(self, proposal: ProposalInput) -> Verdict | None:
        """Return the verdict on a proposal; None when its latent has not come, so that it waits, and while a person
        drives."""
        return self._judge(proposal, self._latents.get(_key(proposal)))

    # -- outputs -------------------------------------------------------------------------------------
    def tick(self) -> Tick:
        """Return the next command of the stream, and a verdict when there is no proposal to answer."""
        with self._lock:
            self._state, tick = decision.judge_tick(
                self._state, self._robot, self._thresholds, self._limits, self._clock()
            )
        return tick

    def observe(self, command: tuple[float, ...], gripper: GripperSetpoint | None = None) -> None:
        """Take note that `command` (n,), m/s and rad/s, was in force since the last call, where `tick` is not called.

        `gripper` is what a gripper was told.

        The evaluation in one process, which limits and sends the commands itself, so has the robot's motion judged.
        """
        with self._lock:
            self._state = decision.follow_motion(self._state, command, self._robot, self._thresholds, self._clock())
            self._state = replaced(self._state, gripper=gripper or self._state.gripper)

    def halt(self) -> tuple[float, ...]:
        with self._lock:
            self._state = decision.halt(self._state, self._limits, self._clock())
            return self._state.command

    # -- operator ------------------------------------------------------------------------------------
    def latch(self, finding: Finding) -> None:
        """Latch for a cause that no input shows: a person's order, a node that came back."""
        with self._lock:
            self._state = decision.latch(self._state, finding)

    def _on_pressed(self) -> None:
        self._state = decision.latch(self._state, checks.ESTOP_PRESSED)

    def _on_foreign_command(self, finding: Finding) -> None:
        self._state = decision.latch(self._state, finding)

    def reset(self) -> str:
        """End a latch. Return an empty text on success, otherwise what still stops the robot."""
        with self._lock:
            self._state, refusal = decision.reset(self._state, self._robot, self._thresholds, self._clock())
        return refusal

    def engage(self, watched: bool = False) -> str:
        """Take an operator's consent to motion. Return an empty text on success, otherwise why it is refused.

        A `watched` consent ends when the console falls silent at which the operator engages.
        """
        with self._lock:
            self._state, refusal = decision.engage(self._state, self._robot, self._thresholds, self._clock(), watched)
        return refusal

    def disengage(self) -> None:
        """End the operator's consent; the robot stops."""
        with self._lock:
            self._state = decision.disengage(self._state)

    def home(self) -> str:
        """Take an operator's order to drive home. Return an empty text on success, otherwise why it is refused."""
        with self._lock:
            self._state, refusal = homing.home(self._state, self._robot, self._thresholds, self._clock())
        return refusal

    @property
    def way_home(self) -> Homing:
        return self._state.homing

    def change_parameters(self, parameters: MonitorParameters, active: bool) -> None:
        """Put other parameters in force; UserError, and the old ones stay, when `active` and one would be loosened."""
        if active:
            names = loosened(self.parameters, parameters)
            if names:
                raise UserError(f"{', '.join(names)} can only be made stricter while active: deactivate the node first")
        with self._lock:
            model, _ = self._judging
            self._judging = model, self._thresholds_of(model.manifest, parameters)

    # -- judging -------------------------------------------------------------------------------------
    def _model_for(self, model_id: str) -> tuple[CriticModel, Thresholds]:
        """Return the model of an input. An unknown id gives the current model, whose checks then refuse the input."""
        current, thresholds = self._judging
        found = None if model_id == current.manifest.id else self._models(model_id)
        if found is None:
            return current, thresholds
        return found, self._thresholds_of(found.manifest, thresholds.parameters)

    def _thresholds_of(self, manifest: Manifest, parameters: MonitorParameters) -> Thresholds:
        thresholds = Thresholds.of(
            manifest, self._robot_config, parameters, self._shadow, self._simulated_time, self._consent
        )
        return replaced(thresholds, way_back=self._way_back)

    def _judge(self, proposal: ProposalInput, latent: CheckedLatent | None) -> Verdict | None:
        """Return the verdict on a proposal; None when it waits for its latent, or a person has taken over."""
        model, thresholds = self._model_for(proposal.model_id)
        checked = decision.checked_proposal(proposal, latent, thresholds)
        scored = None if latent is None else self._score(model, checked)
        with self._lock:
            now = self._clock()
            if self._state.takeover.driver is WhoDrives.OPERATOR:
                return None
            if latent is None and decision.waits_for_latent(self._state, checked, now):
                self._state = replaced(self._state, waiting=proposal)
                return None
            self._state, verdict = decision.judge_proposal(self._state, checked, scored, self._robot, thresholds, now)
            self._judging = model, thresholds
        return verdict

    def _judge_operator(self, checked: CheckedLatent) -> Verdict:
        """Return the verdict on what a person wants who has taken over, by the latent that came now."""
        model, thresholds = self._model_for(checked.latent.model_id)
        wanted = decision.operator_proposal(self._state, checked.latent, self._robot, thresholds)
        scored = self._score(model, decision.checked_proposal(wanted, checked, thresholds))
        with self._lock:
            self._state, verdict = decision.judge_operator(
                self._state, checked, scored, self._robot, thresholds, self._clock()
            )
        return verdict

    @staticmethod
    def _score(model: CriticModel, checked: CheckedProposal) -> CriticValues | Finding | None:
        """Return the values of the critic; None when there is nothing well-formed to score, a Finding when it fails."""
        actions, latent = decision.critic_actions(checked), checked.latent
        if actions is None or latent is None:
            return None
        state = {"deter": latent.deter[np.newaxis], "stoch": latent.stoch[np.newaxis], "action": actions}
        try:
            weight, output = model.manifest.calibration.spread_weight, model.critic.run(**state)
            return CriticValues(
                q_r=tuple(output["q_r"][0].tolist()),
                q_c=tuple(output["q_c"][0].tolist()),
                q_h=tuple(judged_risk(output, weight)[0].tolist()),
                v_h=float(output["v_h"][0]),
                spread=() if weight is None else tuple(output["q_h_spread"][0].tolist()),
            )
        except Exception as error:  # onnxruntime raises its own, undocumented types
            text = f"critic failed on proposal {checked.proposal.step}: {str(error).splitlines()[0][:160]}"
            return Finding(Decision.LATCH, Reason.NOT_FINITE, text)


@dataclass(frozen=True)
class Beat:
    """A heartbeat of a node, with two times: neither a late reader nor a jump of the stamps' clock is a silence."""

    pid: int
    active: bool
    sent_s: float
    """Monotonic clock, by `sent_at`; on simulated time, which may stand still, the stamp itself."""
    receipt_s: float
    """Monotonic clock."""


def sent_at(stamp_s: float, now: Now) -> float:
    """Return the time on the monotonic clock, s, at which a heartbeat of `stamp_s` (ROS clock), read `now`, was sent.

    Only its age by the present ROS clock counts, however that clock was set since the heartbeat before.
    """
    return now.monotonic_s - (now.ros_s - stamp_s)


class HeartbeatWatch:
    """Remembers the heartbeats of the other nodes, and finds a node that died or hung and came back.

    The robot must not go on by itself then. The watch judges once it is armed.
    """

    def __init__(self, own_name: str) -> None:
        self._own_name = own_name
        self._beats: dict[str, Beat] = {}
        self._armed = False

    def arm(self) -> None:
        """Begin to judge, at the first activation of the monitor. The watch goes on while the monitor is inactive."""
        self._armed = True

    def heard(self, name: str, beat: Beat, gap_limit_s: float) -> Finding | None:
        """Return a LATCH when `beat` is of another process than before, or follows a silence while active.

        A dispensable node may come and go.
        """
        if name == self._own_name or name.rpartition("/")[2] in DISPENSABLE:
            return None
        before = self._beats.get(name)
        self._beats[name] = beat
        if before is None or not self._armed:
            return None
        if before.pid != beat.pid:
            return _came_back(f"{name} died and was started anew (process {before.pid} is now {beat.pid})")
        silence_s = min(beat.sent_s - before.sent_s, beat.receipt_s - before.receipt_s)
        if silence_s >= gap_limit_s and before.active and beat.active:
            return _came_back(f"{name} is back after a silence of {silence_s:.2f} s, limit {gap_limit_s:g} s")
        return None


def _came_back(text: str) -> Finding:
    return Finding(Decision.LATCH, Reason.NODE_RESTARTED, text)


def _key(message: LatentInput | ProposalInput) -> tuple[int, int]:
    """Return what ties a proposal to its latent: the camera frame and the step."""
    return message.frame.stamp_ns, message.step
