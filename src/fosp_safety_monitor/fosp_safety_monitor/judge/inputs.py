"""What the safety monitor judges from: latents, proposals, its critic's values, the robot's state. No ROS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fosp_core.clock import Received
from fosp_core.errors import UserError
from fosp_core.specs import Manifest, RobotConfig, TargetLead
from fosp_safety_monitor.judge.verdict import Frame
from fosp_safety_monitor.parameters import MonitorParameters

MAX_CANDIDATES = 256
"""More in one proposal are no proposal: judging them would outlast the deadline."""


@dataclass(frozen=True)
class LatentInput:
    """A latent as the encoder sent it, not yet checked."""

    step: int
    model_id: str
    frame: Frame
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


@dataclass(frozen=True)
class ProposalInput:
    """A proposal as the policy sent it, not yet checked. Its own values (q_h and so on) are left out on purpose."""

    step: int
    model_id: str
    frame: Frame
    receipt_s: float
    """Monotonic clock."""
    actions: NDArray[np.float32] | None
    """Candidates (K, A), normalised; None when their sizes differ."""
    chosen: int


@dataclass(frozen=True)
class CriticValues:
    """What the monitor's own critic says of each candidate (K,), and of the state."""

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
    """What the robot's side says: newest state and pose, its emergency stop, and who else commands it."""

    state: Received | None = None
    """Joint states or odometry; None: never received."""
    pose: Received | None = None
    """Of the commanded point; None: never received."""
    position: tuple[float, float, float] | None = None
    """m, in the action frame."""
    estop_receipt_s: float | None = None
    """Monotonic clock of the last message of the emergency stop; None: never received."""
    estop_pressed: bool = False
    """What that message said."""
    other_commanders: tuple[str, ...] = ()
    """Nodes beside the monitor that publish on the robot's command topic."""
    lead: Lead | None = None
    """Of the target pose, where the robot takes poses and one was sent; None: there is none."""


@dataclass(frozen=True)
class Thresholds:
    """All that inputs are held against: of the bundle, of the robot, and the monitor's own parameters."""

    model_id: str
    deter_size: int
    stoch_size: int
    action_size: int
    decision_period_s: float
    eps: float
    kappa: float
    surprise_limit: float
    ranges: dict[str, tuple[float, float]]
    """Accepted values of q_r, q_c, q_h and v_h."""
    needs_pose: bool
    """The robot has a workspace, so commands need the pose of the commanded point."""
    needs_estop: bool
    """The robot has an external emergency stop: its silence counts as pressed."""
    action_scale: tuple[float, ...]
    """m/s and rad/s at the normalised action 1."""
    linear_axes: tuple[int, ...]
    """Indices of the axes that move the commanded point, m/s."""
    target_lead: TargetLead | None
    """How far ahead of the measured pose the target may end; None: the robot takes twists."""
    command_timeout_s: float
    """After a pause of the command stream of this length the robot has stopped by itself."""
    parameters: MonitorParameters
    shadow: bool = False
    simulated_time: bool = False
    """The ROS clock is a simulator's: it may run at any pace, but not backwards."""

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        robot: RobotConfig,
        parameters: MonitorParameters,
        shadow: bool = False,
        simulated_time: bool = False,
    ) -> Thresholds:
        """UserError when the bundle, the robot and the parameters cannot work together."""
        ranges = {str(name): bounds for name, bounds in manifest.calibration.ranges.items()}
        for name in ("q_r", "q_c", "q_h", "v_h"):
            if name not in ranges:
                raise UserError(f"bundle {manifest.id[:12]}: calibration holds no range of {name}; export it again")
        if parameters.proposal_timeout_s <= manifest.decision_period_s:
            raise UserError(
                f"parameter 'proposal_timeout_s' ({parameters.proposal_timeout_s:g} s) must be longer than the "
                f"decision period of the bundle ({manifest.decision_period_s:g} s)"
            )
        if robot.workspace is not None and not robot.pose_topic:
            raise UserError(f"robot '{robot.name}' has a workspace, so it needs a pose_topic")
        return cls(
            model_id=manifest.id,
            deter_size=manifest.latent.deter,
            stoch_size=manifest.latent.stoch,
            action_size=manifest.action.size,
            decision_period_s=manifest.decision_period_s,
            eps=manifest.calibration.eps,
            kappa=manifest.kappa,
            surprise_limit=manifest.calibration.surprise_limit,
            ranges=ranges,
            needs_pose=robot.workspace is not None,
            needs_estop=bool(robot.estop_topic),
            action_scale=robot.action.scale,
            linear_axes=tuple(i for i, axis in enumerate(robot.action.axes) if axis.name.startswith("linear.")),
            target_lead=robot.target_lead,
            command_timeout_s=robot.command_timeout_s,
            parameters=parameters,
            shadow=shadow,
            simulated_time=simulated_time,
        )
