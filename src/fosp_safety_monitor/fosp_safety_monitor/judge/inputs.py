"""Inputs of the safety monitor, without ROS: latents, proposals, critic values, the robot's state, and thresholds."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fosp_core.clock import Received
from fosp_core.errors import UserError
from fosp_core.specs import CameraCalibration, Manifest, RobotConfig, TargetLead
from fosp_safety_monitor.judge.verdict import Finding, FrameStamp
from fosp_safety_monitor.parameters import MonitorParameters

MAX_CANDIDATES = 256
"""Largest number of candidates in a proposal: judging more would outlast the deadline."""


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
    """Values of the monitor's own critic for each candidate (K,), and for the state."""

    q_r: tuple[float, ...]
    q_c: tuple[float, ...]
    q_h: tuple[float, ...]
    v_h: float


@dataclass(frozen=True)
class Lead:
    """Target pose of a robot that takes poses, and how far ahead of the measured pose it ends when stopped now."""

    position: tuple[float, float, float]
    """Position of the target, m."""
    distance: float
    """Distance from the measured position, m."""
    angle: float
    """Angle from the measured orientation, rad."""


@dataclass(frozen=True)
class RobotStateInput:
    """Newest inputs from the robot: state and pose, emergency stop, other publishers of commands, target pose."""

    state: Received | None = None
    """Joint states or odometry; None: never received."""
    pose: Received | None = None
    """Pose of the commanded point; None: never received."""
    position: tuple[float, float, float] | None = None
    """Position of the commanded point, m, in the action frame."""
    estop_receipt_s: float | None = None
    """Last message of the emergency stop, monotonic clock; None: never received."""
    estop_pressed: bool = False
    """The last message of the emergency stop says that it is pressed."""
    other_publishers: tuple[str, ...] = ()
    """Nodes beside the monitor that publish on the robot's command topic."""
    lead: Lead | None = None
    """None: the robot takes twists, or no target pose was sent yet."""


class Judge(ABC):
    """Takes in the inputs from the robot and decides on its commands; each method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._robot = RobotStateInput()

    @property
    def robot_state(self) -> RobotStateInput:
        """A consistent snapshot of the inputs from the robot."""
        return self._robot

    def receive_robot_state(self, received: Received) -> None:
        """Take in joint states or odometry, which are finite."""
        with self._lock:
            self._robot = replace(self._robot, state=received)

    def receive_pose(self, received: Received, position: tuple[float, float, float]) -> None:
        """Take in the pose of the commanded point, finite and in the action frame; `position` in m."""
        with self._lock:
            self._robot = replace(self._robot, pose=received, position=position)

    def receive_estop(self, pressed: bool, receipt_s: float) -> None:
        """Take in a message of the external emergency stop, received at `receipt_s` on the monotonic clock.

        A press counts even if another message (of another button) says before the next tick that it is not pressed.
        """
        with self._lock:
            self._robot = replace(self._robot, estop_pressed=pressed, estop_receipt_s=receipt_s)
            if pressed:
                self._on_pressed()

    def receive_lead(self, lead: Lead) -> None:
        """Take in the lead of the last target pose over the measured pose."""
        with self._lock:
            self._robot = replace(self._robot, lead=lead)

    def receive_other_publishers(self, others: tuple[str, ...]) -> None:
        """Take in the names of the other nodes that publish on the robot's command topic at present."""
        with self._lock:
            self._robot = replace(self._robot, other_publishers=others)

    @abstractmethod
    def halt(self) -> tuple[float, ...]:
        """Return the next command (n,) on the way to zero, m/s and rad/s, whatever the inputs say."""

    @abstractmethod
    def _on_pressed(self) -> None:
        """Remember, under the lock, that the emergency stop was pressed."""


@dataclass(frozen=True, kw_only=True)
class RobotThresholds:
    """Limits for the inputs from the robot: from its configuration, and from the parameters."""

    action_size: int
    action_scale: tuple[float, ...]
    """m/s and rad/s at the normalised action 1."""
    linear_axes: tuple[int, ...]
    """Indices of the axes that move the commanded point, m/s."""
    needs_pose: bool
    """Commands need the pose of the commanded point, because the robot has a workspace."""
    needs_estop: bool
    """The robot has an external emergency stop: its silence counts as pressed."""
    target_lead: TargetLead | None
    """Allowed lead of the target over the measured pose; None: the robot takes twists."""
    command_timeout_s: float
    """After a pause of the command stream of this length the robot has stopped by itself."""
    parameters: MonitorParameters
    simulated_time: bool = False
    """The ROS clock is a simulator's: it may run at any pace, but not backwards."""

    @classmethod
    def of_robot(cls, robot: RobotConfig, parameters: MonitorParameters) -> RobotThresholds:
        """Return the thresholds that need no bundle."""
        return RobotThresholds(
            action_size=robot.action.size,
            action_scale=robot.action.scale,
            linear_axes=tuple(i for i, axis in enumerate(robot.action.axes) if axis.name.startswith("linear.")),
            needs_pose=robot.workspace is not None,
            needs_estop=bool(robot.estop_topic),
            target_lead=robot.target_lead,
            command_timeout_s=robot.command_timeout_s,
            parameters=parameters,
        )


@dataclass(frozen=True, kw_only=True)
class Thresholds(RobotThresholds):
    """All limits that inputs are held against: those of the robot, and those of the bundle."""

    model_id: str
    deter_size: int
    stoch_size: int
    decision_period_s: float
    eps: float
    kappa: float
    surprise_limit: float
    ranges: dict[str, tuple[float, float]]
    """Accepted values of q_r, q_c, q_h and v_h."""
    camera: CameraCalibration
    """Limits of what the bundle's reference says about live frames."""
    shadow: bool = False

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        robot: RobotConfig,
        parameters: MonitorParameters,
        shadow: bool = False,
        simulated_time: bool = False,
    ) -> Thresholds:
        """Return the thresholds; UserError when the bundle, the robot and the parameters cannot work together."""
        ranges = {str(name): bounds for name, bounds in manifest.calibration.ranges.items()}
        for name in ("q_r", "q_c", "q_h", "v_h"):
            if name not in ranges:
                raise UserError(f"bundle {manifest.id[:12]}: calibration holds no range of {name}; export it again")
        if manifest.calibration.camera is None:
            raise UserError(
                f"bundle {manifest.id[:12]}: calibration holds no limits of its cameras; make them: "
                "fosp bundle reference --bundle DIR --data EPISODES --out NEW"
            )
        if parameters.proposal_timeout_s <= manifest.decision_period_s:
            raise UserError(
                f"parameter 'proposal_timeout_s' ({parameters.proposal_timeout_s:g} s) must be longer than the "
                f"decision period of the bundle ({manifest.decision_period_s:g} s)"
            )
        if robot.workspace is not None and not robot.pose_topic:
            raise UserError(f"robot '{robot.name}' has a workspace, so it needs a pose_topic")
        of_robot = {**vars(RobotThresholds.of_robot(robot, parameters)), "action_size": manifest.action.size}
        return cls(
            **{**of_robot, "simulated_time": simulated_time},
            model_id=manifest.id,
            deter_size=manifest.latent.deter,
            stoch_size=manifest.latent.stoch,
            decision_period_s=manifest.decision_period_s,
            eps=manifest.calibration.eps,
            kappa=manifest.kappa,
            surprise_limit=manifest.calibration.surprise_limit,
            ranges=ranges,
            camera=manifest.calibration.camera,
            shadow=shadow,
        )
