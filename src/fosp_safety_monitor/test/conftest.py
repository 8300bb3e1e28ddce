"""A robot in front of the pure core: each method is one thing that happens, and time passes only when told to."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_bundle import DETER, STOCH, tiny_manifest

from fosp_core.clock import Now, Received
from fosp_core.limits import CommandLimits
from fosp_core.specs import ActionAxis, AxisLimits, RobotConfig, TargetLead, read_robot
from fosp_safety_monitor.judge import decision
from fosp_safety_monitor.judge.camera import CameraWatch
from fosp_safety_monitor.judge.inputs import (
    CheckedProposal,
    CriticValues,
    LatentInput,
    ProposalInput,
    RobotStateInput,
    Thresholds,
)
from fosp_safety_monitor.judge.state import Tick, initial_state
from fosp_safety_monitor.judge.verdict import Finding, FrameStamp, Verdict
from fosp_safety_monitor.parameters import MonitorParameters

ROBOTS = Path(__file__).resolve().parents[3] / "config" / "robots"
PERIOD_S = 0.05
TICK_S = 0.01
MODEL = "model-under-test"
CENTRE = (0.5, 0.0, 0.2)
"""Centre of the arm's workspace, m."""


class MonitorScene:
    """State, clock and newest inputs of a monitor; by default everything is fresh, safe and well-formed."""

    def __init__(self, robot: RobotConfig, parameters: MonitorParameters | None = None, shadow: bool = False) -> None:
        manifest = tiny_manifest(robot).model_copy(update={"id": MODEL})
        self.robot_config = robot
        self.thresholds = Thresholds.of(manifest, robot, parameters or MonitorParameters(), shadow)
        self.limits = CommandLimits(robot)
        self.size = robot.action.size
        self.state = replace(initial_state(self.size), camera=CameraWatch(trusted=True))
        self.ros_s = 1000.0
        self.monotonic_s = 50.0
        self.step = 0
        self.robot = RobotStateInput()
        self.noise_m = 1.0
        self.hear_from_robot()

    @property
    def now(self) -> Now:
        return Now(self.ros_s, self.monotonic_s)

    def wait(self, seconds: float) -> None:
        self.ros_s += seconds
        self.monotonic_s += seconds

    def hear_from_robot(self, position: tuple[float, float, float] = CENTRE, noise_m: float = 1e-9) -> None:
        """State and pose, of which no two are the same to the last bit, as measured ones are, but with `noise_m` 0."""
        received = Received(self.ros_s, self.monotonic_s)
        self.noise_m = -self.noise_m
        position = (position[0] + math.copysign(noise_m, self.noise_m), *position[1:])
        self.robot = replace(self.robot, state=received, pose=received, position=position)
        if self.thresholds.needs_estop:
            self.robot = replace(self.robot, estop_receipt_s=self.monotonic_s)

    def latent(self, **changes: Any) -> LatentInput:
        """The latent of a frame that was taken this very moment."""
        latent = LatentInput(
            step=self.step,
            model_id=MODEL,
            frame=FrameStamp(round(self.ros_s * 1e9), "camera"),
            receipt_s=self.monotonic_s,
            deter=np.zeros(DETER, np.float32),
            stoch=np.zeros(STOCH, np.float32),
            surprise=0.1,
            repeated_image=False,
            contrast=0.2,
            novelty=0.5,
            inconsistency=0.5,
        )
        return replace(latent, **changes)

    def proposal(self, actions: Sequence[Sequence[float]] | None = None, **changes: Any) -> ProposalInput:
        """A proposal for that frame; by default of one candidate, half the speed on every axis."""
        wanted = [[0.5] * self.size] if actions is None else actions
        proposal = ProposalInput(
            step=self.step,
            model_id=MODEL,
            frame=FrameStamp(round(self.ros_s * 1e9), "camera"),
            receipt_s=self.monotonic_s,
            actions=np.array(wanted, np.float32),
            chosen=0,
        )
        return replace(proposal, **changes)

    def values(self, q_h: Sequence[float] = (0.1,), **changes: Any) -> CriticValues:
        zeros = (0.0,) * len(q_h)
        return replace(CriticValues(q_r=zeros, q_c=zeros, q_h=tuple(q_h), v_h=0.1), **changes)

    def judge(
        self,
        proposal: ProposalInput | None = None,
        latent: LatentInput | None = None,
        scored: CriticValues | Finding | None = None,
    ) -> Verdict:
        """One decision now; what is not given is fresh and safe."""
        self.receive(latent or self.latent())
        return self.answer(proposal, latent, scored)

    def receive(self, latent: LatentInput) -> Verdict | None:
        """A latent comes."""
        checked = decision.checked_latent(latent, self.thresholds)
        self.state, verdict = decision.judge_latent(self.state, checked, self.robot, self.thresholds, self.now)
        return verdict

    def checked(self, proposal: ProposalInput, latent: LatentInput | None) -> CheckedProposal:
        """A proposal with its latent, both checked."""
        received = None if latent is None else decision.checked_latent(latent, self.thresholds)
        return decision.checked_proposal(proposal, received, self.thresholds)

    def answer(
        self,
        proposal: ProposalInput | None = None,
        latent: LatentInput | None = None,
        scored: CriticValues | Finding | None = None,
    ) -> Verdict:
        """The verdict on a proposal alone."""
        proposal = proposal or self.proposal()
        count = 1 if proposal.actions is None else len(proposal.actions)
        self.state, verdict = decision.judge_proposal(
            self.state,
            self.checked(proposal, latent or self.latent()),
            scored or self.values((0.1,) * count),
            self.robot,
            self.thresholds,
            self.now,
        )
        self.step += 1
        return verdict

    def tick(self) -> Tick:
        self.state, tick = decision.judge_tick(self.state, self.robot, self.thresholds, self.limits, self.now)
        return tick

    def drive(self, seconds: float, deciding: bool = True, robot: bool = True, **arguments: Any) -> list[Tick]:
        """Ticks at 100 Hz, a decision every fifth one and at the end, robot state all the time.

        `arguments` make those of `judge`, anew for each decision.
        """
        ticks = []
        for index in range(round(seconds / TICK_S)):
            self.wait(TICK_S)
            if robot:
                self.hear_from_robot(self.robot.position or CENTRE)
            if deciding and (index + 1) % round(PERIOD_S / TICK_S) == 0:
                self.judge(**{name: make() for name, make in arguments.items()})
            ticks.append(self.tick())
        return ticks

    def reset(self) -> str:
        """Empty on success."""
        self.state, refusal = decision.reset(self.state, self.robot, self.thresholds, self.now)
        return refusal


@pytest.fixture
def arm() -> RobotConfig:
    return read_robot(ROBOTS / "sim_arm.yaml")


@pytest.fixture
def turning_arm(arm: RobotConfig) -> RobotConfig:
    """The arm with a rotation for a fourth axis, taking target poses."""
    axes = (*arm.action.axes, ActionAxis(name="angular.z", scale=0.5))
    turning = AxisLimits(speed=0.6, acceleration=8.0, deceleration=12.0)
    return arm.model_copy(
        update={
            "action": arm.action.model_copy(update={"axes": axes}),
            "limits": {**arm.limits, "angular.z": turning},
            "command_type": "PoseStamped",
            "target_lead": TargetLead(distance=0.05, angle=0.2),
        }
    )


@pytest.fixture
def base() -> RobotConfig:
    return read_robot(ROBOTS / "sim_base.yaml")


@pytest.fixture
def scene(arm: RobotConfig) -> MonitorScene:
    """The arm, at rest, nothing judged yet."""
    return MonitorScene(arm)


@pytest.fixture
def moving(scene: MonitorScene) -> MonitorScene:
    """The arm at half its speed, after a second of decisions that passed."""
    scene.drive(1.0)
    assert all(speed > 0.1 for speed in scene.state.command)
    return scene


@pytest.fixture
def make_scene(arm: RobotConfig, base: RobotConfig) -> Callable[..., MonitorScene]:
    """`make_scene("arm" or "base", shadow=..., robot=changes to its configuration, **parameters)`."""

    def make(
        kind: str = "arm", shadow: bool = False, robot: dict[str, Any] | None = None, **parameters: Any
    ) -> MonitorScene:
        config = (arm if kind == "arm" else base).model_copy(update=robot or {})
        return MonitorScene(config, MonitorParameters(**parameters), shadow)

    return make
