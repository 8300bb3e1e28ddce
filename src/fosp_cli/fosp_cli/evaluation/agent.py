"""Encoder, policy and safety monitor in one process and on a simulated clock, for evaluation without ROS.

The agent calls the functions that the nodes call; only the messages between the nodes are missing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fosp_core.bundle.bundle import Bundle
from fosp_core.clock import Now, Received
from fosp_core.decisions import Decision
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.robot.gripper import GripperInput, GripperSetpoint
from fosp_core.robot.trail import WayBack
from fosp_core.specs import Manifest
from fosp_perception.encoder import Encoder, LatentState
from fosp_policy.detour import NO_GUIDE, Detour
from fosp_policy.expansion import ALTERNATIVE_SPREAD, DEPLOYED_CANDIDATES, Actors, Choice, SafePolicy
from fosp_safety_monitor.arm.view import ArmView
from fosp_safety_monitor.judge.consent_inputs import NOTHING_NEEDED
from fosp_safety_monitor.judge.inputs import LatentInput, ProposalInput
from fosp_safety_monitor.judge.monitor import CriticModel, SafetyMonitor
from fosp_safety_monitor.judge.verdict import FrameStamp, Verdict
from fosp_safety_monitor.parameters import MonitorParameters, paced
from fosp_safety_monitor.zones.field import SourceView
from fosp_sim.task.arm_kinematics import TOOL_ORIENTATION

if TYPE_CHECKING:
    from fosp_sim.env import CommandTick  # a robot that measures its speed has no simulator

Monitoring = Literal["on", "policy_filter", "off", "shadow", "no_critic"]
"""The ways to drive, from most to least filtered.

"on": the safety monitor gates what the policy proposes, and the policy proposes what its critics find feasible.
"policy_filter": the monitor is not asked. "off": nor do risks filter the candidates of the policy, which is alone.
"shadow": as "policy_filter", and the monitor judges without gating. "no_critic": the monitor gates with a critic that
says of every action that it is safe; then only what needs no critic stops the robot, such as protective zones.
"""

_FOREIGN_SPREAD = 0.1 * ALTERNATIVE_SPREAD
"""Standard deviation of the alternatives around a scripted action, which is that of an actor without doubt."""

_SAME_PACE = 0.01
"""Share by which two decision periods may differ."""


class MeasuredState(Protocol):
    """The part of a robot's state that the monitor hears."""

    @property
    def position(self) -> tuple[float, float, float]:
        """Tool tip or centre of the base in the world frame, m."""

    @property
    def heading(self) -> float:
        """Heading of the base, rad; 0 for an arm."""

    @property
    def gripper(self) -> float | None:
        """Measured position of a gripper, in its unit; None without one."""


@dataclass(frozen=True)
class Action:
    """The action for the robot, and the monitor's decision on it."""

    action: NDArray[np.float32]
    """(n,) in [-1, 1]."""
    decision: Decision
    """PASS when the monitor is off."""
    verdict: Verdict | None
    """None when the monitor is off."""
    q_h: float = math.nan
    """Risk of the proposed action by the policy's critic, in [0, 1]; NaN for a script's action without a verdict."""


class _AlwaysSafe:
    """A critic that gives every action the least risk, and values that its bundle accepts."""

    def __init__(self, manifest: Manifest) -> None:
        self._ranges = manifest.calibration.ranges

    def run(self, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        count = inputs["action"].shape[1]
        values = {name: np.full((1, count), 0.5 * sum(self._ranges[name]), np.float32) for name in ("q_r", "q_c")}
        least = max(self._ranges["q_h"][0], 0.0)
        agreed = {"q_h": np.full((1, count), least, np.float32), "q_h_spread": np.zeros((1, count), np.float32)}
        return {**values, **agreed, "v_h": np.full(1, least, np.float32)}


def require_pace(bundle: Path, manifest: Manifest, decision_s: float) -> None:
    """Raise UserError when a bundle decides at another pace than once in `decision_s` s, as its world does."""
    if abs(manifest.decision_period_s / decision_s - 1.0) > _SAME_PACE:
        raise UserError(
            f"{bundle}: the bundle decides every {manifest.decision_period_s:g} s, the scenario every {decision_s:g} s"
        )


class Agent:
    """One bundle that drives one robot. Call `reset` at the start of each episode, `act` once per decision period."""

    def __init__(
        self,
        bundle: Bundle,
        robot: RobotConfig,
        monitoring: Monitoring = "on",
        actors: Actors = "both",
        parameters: MonitorParameters | None = None,
        retreats: bool = False,
        choice: Choice = "return",
    ) -> None:
        """`parameters` are those of the monitor, by default those of a simulation; `retreats` is the setting `retreat`
        of monitor and policy, and `choice` is that of the policy."""
        paces = paced(bundle.manifest.decision_period_s)
        self._parameters, self._retreats = parameters or MonitorParameters.of(paces), retreats
        self._way = WayBack.of(robot) if retreats else None
        self._bundle = bundle
        self._encoder = Encoder(bundle)
        self._policy = SafePolicy(
            bundle,
            DEPLOYED_CANDIDATES,
            actors=actors,
            filters=monitoring != "off",
            choice=choice,
            coasts=robot.coasts,
        )
        self._monitoring = monitoring
        self._robot = robot
        self._model_id = bundle.manifest.id
        self._critic = CriticModel.of(bundle)
        if monitoring == "no_critic":
            self._critic = CriticModel(bundle.manifest, _AlwaysSafe(bundle.manifest))
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Forget the last episode. `seed` draws the candidates around the actors' means."""
        self._encoder.reset()
        self._rng = np.random.default_rng(seed)
        self._time_s = 0.0
        self._monitor = SafetyMonitor(
            self._critic,
            self._robot,
            self._parameters,
            lambda: Now(ros_s=self._time_s, monotonic_s=self._time_s),
            shadow=self._monitoring == "shadow",
            consent=NOTHING_NEEDED,
            camera_known=True,  # as in a session of many episodes, of which only the first one waits for its camera
            retreats=self._retreats,
        )
        self._detour = Detour()
        self._proposed: tuple[tuple[float, ...], float] = ((), 0.0)
        self._step = 0
        self._command = (0.0,) * self._robot.action.twist_size
        self._gripper: GripperSetpoint | None = None

    def see(self, source: str, view: SourceView) -> None:
        """Have the protective zones of the monitor take in what a source of theirs sees."""
        self._monitor.receive_zone_view(source, view)

    def feel(self, view: ArmView | None) -> None:
        """Have the monitor take in the joint states of an arm; None: the robot file has no limits of joints."""
        if view is not None:
            self._monitor.receive_arm_view(view)

    def watch(self, ticks: Sequence[CommandTick]) -> None:
        """Have the monitor hold the robot's motion against the commands that it was sent since the last call."""
        for tick in ticks:
            self._hear(tick.state, tick.time)
            self._monitor.observe(self._command, self._gripper)
            self._command, self._gripper = tick.command, tick.gripper

    def act(
        self,
        images: NDArray[np.uint8],
        executed: NDArray[np.float32],
        is_first: bool,
        state: MeasuredState,
        time_s: float,
        foreign: NDArray[np.float32] | None = None,
    ) -> Action:
        """Decide on `images` (C, H, W, 3) uint8, taken `time_s` s into the episode after `executed` (n,) was executed.

        `state` is the robot's at that time. A `foreign` action (n,) in [-1, 1] is proposed in place of the
        bundle's own, with unscreened alternatives drawn around it.
        """
        latent = self._encoder.step(images, executed, is_first)
        actions, chosen, q_h = self._own(latent, state, time_s) if foreign is None else self._around(foreign)
        self._step += 1
        if self._monitoring in ("off", "policy_filter"):
            return Action(actions[chosen], Decision.PASS, None, q_h)
        verdict = self._judge(latent, actions, chosen, state, time_s)
        return Action(np.array(verdict.action_out, np.float32), verdict.decision, verdict, verdict.q_h)

    def _own(self, latent: LatentState, state: MeasuredState, time_s: float) -> tuple[NDArray[np.float32], int, float]:
        """Return the candidates (K, n) of the bundle's policy, the index of the chosen one, and its risk."""
        guide, way = NO_GUIDE, self._way
        if way is not None:
            orientation = TOOL_ORIENTATION if self._robot.kind == "arm" else None
            place = way.place(state.position, orientation, (state.position[0], state.position[1], state.heading))
            if place is not None:
                self._detour = self._detour.after(place, time_s, *self._proposed, way)
                guide = self._detour.guide(place, way)
        proposal = self._policy.propose(latent.deter, latent.stoch, False, self._rng, guide=guide)
        self._proposed = proposal.chosen_twist(self._robot.action.twist_size), proposal.v_h
        self._detour = self._detour.chose(self._proposed[0])
        actions = np.stack([candidate.action for candidate in proposal.candidates])
        return actions, proposal.chosen, proposal.candidates[proposal.chosen].q_h

    def _around(self, foreign: NDArray[np.float32]) -> tuple[NDArray[np.float32], int, float]:
        noise = self._rng.standard_normal((DEPLOYED_CANDIDATES, len(foreign)), np.float32)
        noise[0] = 0.0
        return np.clip(foreign + _FOREIGN_SPREAD * noise, -1.0, 1.0).astype(np.float32), 0, math.nan

    def _hear(self, state: MeasuredState, time_s: float) -> None:
        """Give the monitor the robot's measurements at `time_s`, and set its clock."""
        self._time_s = time_s
        received = Received(time_s, time_s)
        self._monitor.receive_robot_state(received, (state.position[0], state.position[1], state.heading))
        orientation = TOOL_ORIENTATION if self._robot.kind == "arm" else None
        self._monitor.receive_pose(received, state.position, orientation)
        axis = self._robot.action.gripper
        if axis is not None and state.gripper is not None:
            self._monitor.receive_gripper(GripperInput(received, axis.normalised(state.gripper)))

    def _judge(
        self,
        latent: LatentState,
        actions: NDArray[np.float32],
        chosen: int,
        state: MeasuredState,
        time_s: float,
    ) -> Verdict:
        model_id, frame = self._model_id, FrameStamp(round(time_s * 1e9))
        self._hear(state, time_s)
        self._monitor.observe(self._command, self._gripper)
        self._monitor.receive_latent(
            LatentInput(
                self._step,
                model_id,
                frame,
                time_s,
                latent.deter,
                latent.stoch,
                latent.surprise,
                latent.repeated_image,
                latent.contrast,
                latent.frames.novelty,
                latent.frames.inconsistency,
                latent.frames.cause,
            )
        )
        verdict = self._monitor.receive_proposal(ProposalInput(self._step, model_id, frame, time_s, actions, chosen))
        assert verdict is not None  # its latent has come
        return verdict
