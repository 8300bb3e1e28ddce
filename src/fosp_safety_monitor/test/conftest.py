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
from fosp_core.decisions import WhoDrives
from fosp_core.robot.config import AxisLimits, RobotConfig, TargetLead, read_robot
from fosp_core.robot.gripper import GripperInput
from fosp_core.robot.limits import CommandLimits, Response
from fosp_core.specs import TWIST_COMPONENTS, ActionAxis
from fosp_safety_monitor.judge import decision
from fosp_safety_monitor.judge.consent_inputs import NOTHING_NEEDED, ConsentSettings, FeedbackStep
from fosp_safety_monitor.judge.inputs import CheckedProposal, CriticValues, LatentInput, ProposalInput, RobotStateInput
from fosp_safety_monitor.judge.state import Tick, initial_state
from fosp_safety_monitor.judge.thresholds import Thresholds
from fosp_safety_monitor.judge.verdict import Finding, FrameStamp, Verdict
from fosp_safety_monitor.judge.watch.camera import CameraWatch
from fosp_safety_monitor.parameters import MonitorParameters

ROBOTS = Path(__file__).resolve().parents[3] / "config" / "robots"
PERIOD_S = 0.05
TICK_S = 0.01
MODEL = "model-under-test"
CENTRE = (0.5, 0.0, 0.2)
"""Centre of the arm's workspace, m."""
TREADMILL_M = 0.05
"""Distance from its start at which the robot of a test jumps back there, as a simulated one does for an episode."""


class MonitorScene:
    """State, clock and newest inputs of a monitor; by default everything is fresh, safe and well-formed."""

    def __init__(
        self,
        robot: RobotConfig,
        parameters: MonitorParameters | None = None,
        shadow: bool = False,
        consent: ConsentSettings = NOTHING_NEEDED,
    ) -> None:
        manifest = tiny_manifest(robot).model_copy(update={"id": MODEL})
        self.robot_config = robot
        self.thresholds = Thresholds.of(manifest, robot, parameters or MonitorParameters(), shadow, consent=consent)
        self.limits = CommandLimits(robot)
        self.size = robot.action.size
        self.state = replace(
            initial_state(robot.action.twist_size, response=Response.of(robot)), camera=CameraWatch(trusted=True)
        )
        self.heading = 0.0
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

    def hear_from_robot(self, position: tuple[float, float, float] | None = None, noise_m: float = 1e-9) -> None:
        """State and pose, of which no two are the same to the last bit, as measured ones are, but with `noise_m` 0."""
        received = Received(self.ros_s, self.monotonic_s)
        position = position or self.robot.position or CENTRE
        self.noise_m = -self.noise_m
        position = (position[0] + math.copysign(noise_m, self.noise_m), *position[1:])
        odometry = (position[0], position[1], self.heading)
        self.robot = replace(self.robot, state=received, pose=received, position=position, odometry=odometry)
        if self.thresholds.needs_estop:
            self.robot = replace(self.robot, estop_receipt_s=self.monotonic_s)

    def move(self, seconds: float) -> tuple[float, float, float]:
        """The position of a robot that did as it was told for so long; it does not leave the place of the test."""
        moved = dict.fromkeys(TWIST_COMPONENTS, 0.0)
        for axis, value in zip(self.robot_config.action.axes, self.state.command, strict=True):
            moved[axis.name] = value * seconds
        self.heading += moved["angular.z"]
        c, s = math.cos(self.heading), math.sin(self.heading)
        forward, left = moved["linear.x"], moved["linear.y"]
        if self.robot_config.kind == "base":
            forward, left = c * forward - s * left, s * forward + c * left
        x, y, z = self.robot.position or CENTRE
        position = (x + forward, y + left, z + moved["linear.z"])
        if TREADMILL_M < math.dist(position, CENTRE) < 2 * TREADMILL_M:
            return CENTRE
        return position

    def latent(self, **changes: Any) -> LatentInput:
        """The latent of a frame that was taken this very moment."""
        latent = LatentInput(
            step=self.step,
            model_id=MODEL,
            frame=FrameStamp(round(self.ros_s * 1e9), "camera"),
            receipt_s=self.monotonic_s,
            deter=np.full(DETER, 1e-3 * self.step, np.float32),
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
                self.hear_from_robot(self.move(TICK_S))
            if deciding and (index + 1) % round(PERIOD_S / TICK_S) == 0:
                self.judge(**{name: make() for name, make in arguments.items()})
            ticks.append(self.tick())
        return ticks

    def reset(self) -> str:
        """Empty on success."""
        self.state, refusal = decision.reset(self.state, self.robot, self.thresholds, self.now)
        return refusal


class ConsentScene(MonitorScene):
    """A robot that needs every consent which its configuration names; each tick hears what is switched on here."""

    def __init__(self, robot: RobotConfig, settings: ConsentSettings | None = None, **parameters: Any) -> None:
        super().__init__(robot, MonitorParameters(**parameters), consent=settings or ConsentSettings())
        self.feedback = True
        self.episode = 0
        self.held: bool | None = False
        """None: the switch is silent."""
        self.beats: int | None = None
        """Process of the console that beats; None: none does."""
        self.axis = 0.0
        self.force: tuple[float, float, float] | None = (0.0, 0.0, -9.0)
        self.noise = 0.0
        self.also: Callable[[int], None] = lambda number: None
        """Called at every tick, with its number."""
        self.number = 0

    @property
    def received(self) -> Received:
        return Received(self.ros_s, self.monotonic_s)

    def change(self, **inputs: Any) -> None:
        self.robot = replace(self.robot, consent=replace(self.robot.consent, **inputs))

    def feed(self, is_first: bool = False, is_last: bool = False, **changes: Any) -> None:
        step = FeedbackStep(self.episode, is_first, is_last, 0.0, 0.0, False, self.received)
        self.change(episode=self.robot.consent.episode.after(replace(step, **changes)))

    def switch(self, pressed: bool, axis: float = 0.0) -> None:
        self.held, self.axis = pressed, axis
        self.change(enabling=self.robot.consent.enabling.after(pressed, ((axis,), (pressed,)), self.received))

    def say_ready(self, index: int = 0, why_not: str = "") -> None:
        inputs = self.robot.consent
        after = inputs.ready_of(index).after(why_not, self.monotonic_s)
        self.robot = replace(self.robot, consent=inputs.with_ready(index, after))

    def feel(self, force: tuple[float, float, float]) -> None:
        self.change(wrench=self.robot.consent.wrench.after(force, self.received))

    def hear_from_robot(self, position: Any = (0.5, 0.0, 0.2), noise_m: float = 1e-9) -> None:
        super().hear_from_robot(position, noise_m)
        if not hasattr(self, "number"):
            return
        self.number += 1
        self.also(self.number)
        if self.feedback and self.robot.consent.episode.running:
            self.feed()
        if self.beats is not None:
            self.beat(self.beats)
        if self.thresholds.enabling is not None and self.held is not None:
            self.switch(self.held, self.axis)
        if self.thresholds.protective_force_n is not None and self.force is not None:
            self.noise = 0.01 - self.noise
            self.feel((self.force[0] + self.noise, self.force[1] + self.noise, self.force[2] + self.noise))

    def beat(self, pid: int = 7) -> None:
        """Let the console of process `pid` say that its operator is there."""
        watch = self.robot.consent.watch.after(pid, self.received)
        self.change(watch=watch)

    def engage(self, watched: bool = False) -> str:
        self.state, refusal = decision.engage(self.state, self.robot, self.thresholds, self.now, watched)
        return refusal

    def consent(self) -> None:
        """Everything that motion needs, in the order of a person who knows the rules."""
        self.drive(0.5)
        if self.thresholds.enabling is not None:
            self.switch(False)
            self.drive(0.05)
            self.switch(True)
        self.drive(0.05)
        assert self.engage() == ""
        self.feed(is_first=True)

    @property
    def moves(self) -> bool:
        return any(self.state.command)

    def stops(self, seconds: float = 0.3) -> Finding:
        """Drive on, and return why the robot stands at the end."""
        ticks = self.drive(seconds)
        assert not any(ticks[-1].command)
        return ticks[-1].finding


class TakeoverScene(MonitorScene):
    """The arm with a policy that goes on proposing, and a gamepad in the hands of a person who speaks at every tick."""

    def __init__(self, robot: RobotConfig, gate_operator: bool = False, **parameters: Any) -> None:
        consent = ConsentSettings("by_itself", "not_used", gate_operator)
        super().__init__(robot, MonitorParameters(**parameters), consent=consent)
        self.speaks = True
        self.policy = True
        self.encoder = True
        self.said: dict[str, Any] = {"holds": False, "action": (0.0, 0.0, 0.0), "fault": "", "device": "joy"}
        self.verdicts: list[Verdict] = []
        self.ticks = 0
        self.risk = 0.1

    def say(self, **said: Any) -> None:
        self.said |= said

    def hear(self, stamp_s: float = 0.0, **said: Any) -> None:
        received = Received(self.ros_s + stamp_s, self.monotonic_s)
        told = {**self.said, **said}
        after = self.robot.operator.after(told["holds"], told["action"], told["fault"], told["device"], received)
        self.robot = replace(self.robot, operator=after)

    def hear_from_robot(self, position: Any = None, noise_m: float = 1e-9) -> None:
        super().hear_from_robot(position, noise_m)
        if getattr(self, "speaks", False):
            self.hear()

    def receive(self, latent: LatentInput) -> Verdict | None:
        verdict = super().receive(latent)
        if verdict is None and self.state.takeover.driver is WhoDrives.OPERATOR:
            checked = decision.checked_latent(latent, self.thresholds)
            self.state, verdict = decision.judge_operator(
                self.state, checked, self.values((self.risk,)), self.robot, self.thresholds, self.now
            )
        return verdict

    def go(self, seconds: float) -> list[Tick]:
        """Ticks at 100 Hz, with frames and proposals of the policy every fifth one, as far as these live."""
        ticks = []
        for _ in range(round(seconds / TICK_S)):
            self.ticks += 1
            self.wait(TICK_S)
            self.hear_from_robot(self.move(TICK_S))
            if self.ticks % round(PERIOD_S / TICK_S) == 0:
                latent = self.latent()
                told = self.receive(latent) if self.encoder else None
                if self.policy and self.state.takeover.driver is not WhoDrives.OPERATOR:
                    told = self.answer(latent=latent)
                self.verdicts += [told] if told is not None else []
                self.step += 1
            ticks.append(self.tick())
            self.verdicts += [ticks[-1].verdict] if ticks[-1].verdict is not None else []
        return ticks

    @property
    def driver(self) -> WhoDrives:
        return self.state.takeover.driver

    def share(self) -> np.ndarray:
        """The last command as a normalised action."""
        return np.array(self.state.command) / self.robot_config.action.scale


class GripperScene(MonitorScene):
    """The arm with a gripper that is open at first, does as it is told, and stops at what it holds."""

    lag = False
    silent = False
    width = -1.0
    """Normalised width of what is between the fingers."""

    def hear_from_robot(self, position: Any = None, noise_m: float = 1e-9) -> None:
        super().hear_from_robot(position, noise_m)
        told = self.state.gripper.sent
        if not self.silent:
            at = 1.0 if told is None else max(told, self.width)
            self.feel_gripper(position=at)

    def feel_gripper(self, **changes: Any) -> None:
        measured = GripperInput(Received(self.ros_s, self.monotonic_s), 1.0)
        self.robot = replace(self.robot, gripper=replace(measured, **changes))

    def wants(self, gripper: float, **arguments: Any) -> dict[str, Any]:
        return {"proposal": lambda: self.proposal([[0.5, 0.5, 0.5, gripper]]), **arguments}

    @property
    def told(self) -> float | None:
        return self.state.gripper.sent


class GripperTakeover(TakeoverScene):
    """The same with a person who can take over; the policy wants the gripper closed."""

    hear_gripper = GripperScene.feel_gripper
    driver_fault = ""

    def hear_from_robot(self, position: Any = None, noise_m: float = 1e-9) -> None:
        super().hear_from_robot(position, noise_m)
        at = 1.0 if self.state.gripper.sent is None else self.state.gripper.sent
        self.hear_gripper(position=at, driver_fault=self.driver_fault)

    def proposal(self, actions: Any = None, **changes: Any) -> ProposalInput:
        return super().proposal([[0.5, 0.5, 0.5, -1.0]] if actions is None else actions, **changes)


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


@pytest.fixture
def make_consent_scene(arm: RobotConfig) -> Callable[..., ConsentScene]:
    """`make_consent_scene(settings, robot=changes, **parameters)`: the arm at rest, which needs consent."""

    def scene(
        settings: ConsentSettings | None = None, robot: dict[str, Any] | None = None, **parameters: Any
    ) -> ConsentScene:
        return ConsentScene(arm.model_copy(update=robot or {}), settings, **parameters)

    return scene


@pytest.fixture
def driven(make_consent_scene: Callable[..., ConsentScene]) -> Callable[..., ConsentScene]:
    """The same, in motion with every consent."""

    def scene(robot: dict[str, Any] | None = None, **parameters: Any) -> ConsentScene:
        made = make_consent_scene(None, robot, **parameters)
        for index in range(len(made.thresholds.ready)):
            made.say_ready(index)
        made.consent()
        made.drive(1.5)
        assert made.state.command[0] == pytest.approx(0.125), made.tick().finding
        return made

    return scene


@pytest.fixture
def make_takeover_scene(arm: RobotConfig) -> Callable[..., TakeoverScene]:
    """`make_takeover_scene(gate_operator, robot=changes, **parameters)`: the arm at rest with policy and gamepad."""

    def scene(gate_operator: bool = False, robot: dict[str, Any] | None = None, **parameters: Any) -> TakeoverScene:
        return TakeoverScene(arm.model_copy(update=robot or {}), gate_operator, **parameters)

    return scene


@pytest.fixture
def pick() -> RobotConfig:
    """The arm with a gripper."""
    return read_robot(ROBOTS / "sim_pick.yaml")


@pytest.fixture
def gripper_scene(pick: RobotConfig) -> Callable[..., GripperScene]:
    """`gripper_scene(shadow=...)`: the arm with a gripper, at rest, nothing judged yet."""
    return lambda **settings: GripperScene(pick, **settings)


@pytest.fixture
def gripper_takeover(pick: RobotConfig) -> Callable[..., GripperTakeover]:
    """`gripper_takeover(gate_operator=..., robot=changes)`: the same with a person who can take over."""

    def scene(robot: dict[str, Any] | None = None, **settings: Any) -> GripperTakeover:
        return GripperTakeover(pick.model_copy(update=robot or {}), **settings)

    return scene
