"""The limits that the safety monitor holds its inputs against: of the robot, of its parameters and of the bundle."""

from __future__ import annotations

from dataclasses import dataclass, field

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig, TargetLead
from fosp_core.robot.consent_inputs import EnablingConfig, ReadyConfig
from fosp_core.robot.gripper import GripperConfig
from fosp_core.robot.trail import WayBack
from fosp_core.specs import CameraCalibration, Manifest
from fosp_safety_monitor.arm.guard import ArmGuard
from fosp_safety_monitor.home_drive import HomeDrive
from fosp_safety_monitor.judge.consent_inputs import ConsentSettings
from fosp_safety_monitor.motion_model import MotionModel
from fosp_safety_monitor.parameters import MonitorParameters
from fosp_safety_monitor.zones.field import ProtectiveField


@dataclass(frozen=True, kw_only=True)
class RobotThresholds:
    """Limits for the inputs from the robot: from its configuration, and from the parameters."""

    action_size: int
    action_scale: tuple[float, ...]
    """m/s and rad/s at the normalised action 1, of the twist alone."""
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
    consent: ConsentSettings = field(default_factory=ConsentSettings)
    enabling: EnablingConfig | None = None
    ready: tuple[ReadyConfig, ...] = ()
    protective_force_n: float | None = None
    simulated_time: bool = False
    """The ROS clock is a simulator's: it may run at any pace, but not backwards."""
    motion: MotionModel | None = None
    """The measured motion that is held against the commands; None: the robot measures none."""
    zones: ProtectiveField | None = None
    """The protective zones; None: the robot has none."""
    home: HomeDrive | None = None
    """The pose between episodes; None: the robot has none."""
    arm: ArmGuard | None = None
    """The arm's own limits; None: the robot file has none."""
    coasts: bool = False
    """Commands are thrusts (a simulator's robot alone): a smaller one does not slow the robot, it brakes it less."""
    gripper: GripperConfig | None = None
    way_back: WayBack | None = None

    @property
    def recover_scales(self) -> tuple[float, float]:
        """Factors of the speed at a risk of eps and at a risk of 1: both are 1 for a robot that coasts."""
        return (1.0, 1.0) if self.coasts else (self.parameters.recover_scale, self.parameters.recover_scale_least)

    @classmethod
    def of_robot(cls, robot: RobotConfig, parameters: MonitorParameters) -> RobotThresholds:
        """Return the thresholds that need no bundle."""
        return RobotThresholds(
            action_size=robot.action.size,
            action_scale=robot.action.scale,
            linear_axes=tuple(i for i, axis in enumerate(robot.action.axes) if axis.name.startswith("linear.")),
            needs_pose=robot.workspace is not None,
            needs_estop=bool(robot.estop_topics),
            target_lead=robot.target_lead,
            command_timeout_s=robot.command_timeout_s,
            parameters=parameters,
            motion=MotionModel.of(robot, parameters),
            enabling=robot.enabling,
            ready=robot.ready,
            protective_force_n=robot.protective_force_n,
            zones=ProtectiveField(robot) if robot.zones else None,
            home=HomeDrive.of(robot),
            coasts=robot.coasts,
            gripper=robot.gripper,
            arm=ArmGuard.of(robot),
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
        consent: ConsentSettings | None = None,
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
            **{**of_robot, "simulated_time": simulated_time, "consent": consent or ConsentSettings()},
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
