"""Inputs of the safety monitor, without ROS: latents, proposals, critic values, and the robot's state."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fosp_core.clock import Received
from fosp_core.robot.gripper import GripperInput
from fosp_safety_monitor.arm.guard import ArmInputs
from fosp_safety_monitor.arm.view import ArmView
from fosp_safety_monitor.judge.consent_inputs import ConsentInputs, FeedbackStep, Force
from fosp_safety_monitor.judge.identity import EmergencyStops, foreign_command
from fosp_safety_monitor.judge.operator_input import OperatorInput
from fosp_safety_monitor.judge.verdict import Finding, FrameStamp
from fosp_safety_monitor.motion_model import Lead
from fosp_safety_monitor.replacing import replaced
from fosp_safety_monitor.zones.field import SourceView, ToolState

MAX_CANDIDATES = 256  # of a proposal: judging more would outlast the deadline


@dataclass(frozen=True)
class LatentInput:
    """A latent as the encoder sent it, not yet checked."""

    step: int
    model_id: str
    frame: FrameStamp
    receipt_s: float
    """Monotonic clock."""
    deter: NDArray[np.float32]
    stoch: NDArray[np.float32]
    surprise: float
    """KL[posterior || prior], nats."""
    repeated_image: bool
    """The pixels of some camera are exactly those of the step before."""
    contrast: float
    """Standard deviation of the pixels, of 1; the smallest of the cameras."""
    novelty: float
    """How far the frames are from those of the training, by the bundle's reference."""
    inconsistency: float
    """Standard deviations by which the image lags behind the executed motion."""
    camera_cause: str = ""
    """Likely cause of a greater novelty, in words; it decides nothing."""


@dataclass(frozen=True)
class ProposalInput:
    """A proposal as the policy sent it, not yet checked. Its own risk values are left out on purpose."""

    step: int
    model_id: str
    frame: FrameStamp
    receipt_s: float
    """Monotonic clock."""
    actions: NDArray[np.float32] | None
    """Candidates (K, A), normalised; None when their sizes differ."""
    chosen: int


@dataclass(frozen=True)
class CheckedLatent:
    """A latent, and the finding of its check against the bundle of model `model_id`."""

    latent: LatentInput
    model_id: str
    malformed: Finding | None


@dataclass(frozen=True)
class CheckedProposal:
    """A proposal with the latent of its frame and step, and the findings of their checks against one bundle."""

    proposal: ProposalInput
    latent: LatentInput | None
    malformed: Finding | None
    """Finding on the proposal."""
    malformed_latent: Finding | None


@dataclass(frozen=True)
class CriticValues:
    """Values of the monitor's own critic for each candidate (K,), and for the state; `spread` if it is part of q_h."""

    q_r: tuple[float, ...]
    q_c: tuple[float, ...]
    q_h: tuple[float, ...]
    v_h: float
    spread: tuple[float, ...] = ()


@dataclass(frozen=True)
class RobotStateInput:
    """Newest inputs from the robot: state and pose, emergency stop, other publishers of commands, target pose."""

    state: Received | None = None
    """Joint states or odometry; None: never received."""
    pose: Received | None = None
    """Pose of the commanded point; None: never received."""
    position: tuple[float, float, float] | None = None
    """Position of the commanded point, m, in the action frame."""
    orientation: tuple[float, float, float, float] | None = None
    """Orientation of the commanded point, a unit quaternion (x, y, z, w); None: it is not known."""
    odometry: tuple[float, float, float] | None = None
    """Position x and y, m, and heading, rad, of a base in the frame of its odometry; None: never received."""
    estop_receipt_s: float | None = None
    """Last message of the emergency stop, monotonic clock; None: never received."""
    estop_pressed: bool = False
    """The last message of the emergency stop says that it is pressed; of several, that of any of them."""
    estop_topic: str = ""
    """The emergency stop that these two are of: of several one that is pressed, else the one silent for longest."""
    other_publishers: tuple[str, ...] = ()
    """Nodes beside the monitor that publish on the robot's command topic."""
    strangers: tuple[str, ...] = ()
    """Inputs that come from other nodes than the one that they are to come from, in words."""
    lead: Lead | None = None
    """None: the robot takes twists, or no target pose was sent yet."""
    consent: ConsentInputs = field(default_factory=ConsentInputs)
    self_test: str = ""
    """Finding of the self-test of the critic, in words; empty while all is well."""
    zones: dict[str, SourceView] = field(default_factory=dict)
    """Newest message of each source of the protective zones, by the source's name."""
    operator: OperatorInput = field(default_factory=OperatorInput)
    gripper: GripperInput = field(default_factory=GripperInput)
    arm: ArmInputs = field(default_factory=ArmInputs)

    @property
    def tool(self) -> ToolState:
        """The commanded point, as the protective zones need it."""
        return ToolState(self.position, self.orientation, 0.0 if self.pose is None else self.pose.stamp_s)


class Judge(ABC):
    """Takes in the inputs from the robot and decides on its commands; each method may be called from any thread."""

    def __init__(self, estop_topics: Sequence[str] = ()) -> None:
        self._lock = threading.Lock()
        self._robot = RobotStateInput()
        self._estops = EmergencyStops(estop_topics)

    @property
    def robot_state(self) -> RobotStateInput:
        """A consistent snapshot of the inputs from the robot."""
        return self._robot

    def receive_robot_state(self, received: Received, odometry: tuple[float, float, float] | None = None) -> None:
        """Take in joint states or odometry, which are finite; `odometry` is that of a base, in m and rad."""
        with self._lock:
            self._robot = replaced(self._robot, state=received, odometry=odometry)

    def receive_pose(
        self,
        received: Received,
        position: tuple[float, float, float],
        orientation: tuple[float, float, float, float] | None = None,
    ) -> None:
        """Take in the pose of the commanded point, finite and in the action frame; `position` in m."""
        with self._lock:
            arm = self._robot.arm.turned(orientation)
            self._robot = replaced(self._robot, pose=received, position=position, orientation=orientation, arm=arm)

    def receive_estop(self, pressed: bool, receipt_s: float, topic: str = "") -> None:
        """Take in a message of the emergency stop of `topic`, received at `receipt_s` on the monotonic clock.

        None overrules another one. A press counts even if the same one is released before the next tick.
        """
        with self._lock:
            worst = self._estops.heard(topic, pressed, receipt_s)
            self._robot = replaced(
                self._robot, estop_pressed=worst.pressed, estop_receipt_s=worst.receipt_s, estop_topic=worst.topic
            )
            if pressed:
                self._on_pressed()

    def receive_gripper(self, gripper: GripperInput) -> None:
        """Take in the measured position of the gripper."""
        with self._lock:
            self._robot = replaced(self._robot, gripper=gripper)

    def receive_lead(self, lead: Lead) -> None:
        """Take in the lead of the last target pose over the measured pose."""
        with self._lock:
            self._robot = replaced(self._robot, lead=lead)

    def receive_other_publishers(self, others: tuple[str, ...]) -> None:
        """Take in the names of the other nodes that publish on the robot's command topic at present."""
        with self._lock:
            self._robot = replaced(self._robot, other_publishers=others)

    def receive_strangers(self, strangers: tuple[str, ...]) -> None:
        """Take in, in words, the inputs that come from other nodes than those that they are to come from."""
        with self._lock:
            self._robot = replaced(self._robot, strangers=strangers)

    def receive_foreign_command(self, publishers: tuple[str, ...]) -> None:
        """Take in that a command reached the robot's command topic that this node did not send.

        `publishers` are the nodes that can have sent it; none when it is gone already.
        """
        with self._lock:
            self._on_foreign_command(foreign_command(publishers))

    def receive_enabling(
        self, pressed: bool, content: Hashable, received: Received, controls: tuple[int, ...] = ()
    ) -> None:
        """Take in a message of the enabling switch; `content` is all that it holds beside its stamp.

        `controls` are the numbers of axes and buttons of a device that it is part of.
        """
        with self._lock:
            inputs = self._robot.consent
            after = replaced(inputs, enabling=inputs.enabling.after(pressed, content, received, controls))
            self._robot = replaced(self._robot, consent=after)

    def receive_watch(self, pid: int, received: Received) -> None:
        """Take in a beat of a console, process `pid`, at which the operator who engaged watches the robot."""
        with self._lock:
            inputs = self._robot.consent
            self._robot = replaced(self._robot, consent=replaced(inputs, watch=inputs.watch.after(pid, received)))

    def receive_feedback(self, step: FeedbackStep) -> None:
        """Take in a message of fosp/feedback."""
        with self._lock:
            inputs = self._robot.consent
            self._robot = replaced(self._robot, consent=replaced(inputs, episode=inputs.episode.after(step)))

    def receive_ready(self, index: int, why_not: str, receipt_s: float) -> None:
        """Take in what entry `index` of the robot file's `ready` says: why it is not ready, or an empty text."""
        with self._lock:
            inputs = self._robot.consent
            after = inputs.with_ready(index, inputs.ready_of(index).after(why_not, receipt_s))
            self._robot = replaced(self._robot, consent=after)

    def receive_wrench(self, force: Force, received: Received) -> None:
        """Take in a reading of the force, N, finite or not."""
        with self._lock:
            inputs = self._robot.consent
            self._robot = replaced(self._robot, consent=replaced(inputs, wrench=inputs.wrench.after(force, received)))

    def receive_self_test(self, fault: str) -> None:
        """Take in what the self-test of the critic found; empty while all is well."""
        if fault != self._robot.self_test:
            with self._lock:
                self._robot = replaced(self._robot, self_test=fault)

    def receive_zone_view(self, source: str, view: SourceView) -> None:
        """Take in what a message of a source of the protective zones says; it may come from a thread of its own."""
        with self._lock:
            self._robot = replaced(self._robot, zones={**self._robot.zones, source: view})

    def receive_arm_view(self, view: ArmView) -> None:
        """Take in what the newest joint states say to the arm's limits; it may come from a thread of its own."""
        with self._lock:
            self._robot = replaced(self._robot, arm=replaced(self._robot.arm, view=view))

    def receive_operator(
        self, holds: bool, action: tuple[float, ...], fault: str, device: str, received: Received
    ) -> None:
        """Take in what a person wants who can take over; `action` is normalised and may be malformed."""
        with self._lock:
            after = self._robot.operator.after(holds, action, fault, device, received)
            self._robot = replaced(self._robot, operator=after)

    @abstractmethod
    def halt(self) -> tuple[float, ...]:
        """Return the next command (n,) on the way to zero, m/s and rad/s, whatever the inputs say."""

    @abstractmethod
    def _on_pressed(self) -> None:
        """Remember, under the lock, that the emergency stop was pressed."""

    @abstractmethod
    def _on_foreign_command(self, finding: Finding) -> None:
        """Stop, under the lock, because of a command of somebody else."""
