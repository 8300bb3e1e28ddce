"""The sensors of a simulated robot in this process: the scanner of a base, and the joints of an arm."""

from __future__ import annotations

import math
from types import SimpleNamespace

from fosp_core.clock import Received
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_safety_monitor.arm.model import ArmModel
from fosp_safety_monitor.arm.view import ArmObserver, ArmView, MeasuredPose
from fosp_safety_monitor.zones.decoding import SourceDecoder
from fosp_safety_monitor.zones.field import ProtectiveField, SourceView, ToolState
from fosp_sim.description import joint_names, robot_urdf
from fosp_sim.task.arm_kinematics import TOOL_ORIENTATION
from fosp_sim.task.scanner import BEAMS, RANGE_MAX, RANGE_MIN, LaserScanner
from fosp_sim.task.world import SimulatedWorld, World


class SimulatedScans:
    """The LaserScan sources of a robot in a simulated world. Raise UserError for a source of another type."""

    def __init__(self, robot: RobotConfig, world: SimulatedWorld) -> None:
        for source in robot.sources:
            if source.type != "LaserScan" or robot.kind != "base":
                raise UserError(
                    f"source {source.name}: only a LaserScan of a base is simulated in process, and not {source.type}"
                )
        self._decoders = [SourceDecoder(source) for source in robot.sources]
        self._field = ProtectiveField(robot)
        if robot.sources and not isinstance(world, World):
            raise UserError(f"source {robot.sources[0].name}: this task simulates no LaserScan")
        self._world = world
        self._scanner = LaserScanner(world) if robot.sources and isinstance(world, World) else None

    def views(self, time_s: float) -> list[tuple[str, SourceView]]:
        """Return the view of each source, by its name, of a scan that is taken at `time_s`, s."""
        if self._scanner is None:
            return []
        state, step = self._world.state(), 2.0 * math.pi / BEAMS
        x, y, _ = state.position
        ranges = self._scanner.scan(self._world.data, x, y, state.heading)
        views = []
        for decoder in self._decoders:
            message = SimpleNamespace(
                header=SimpleNamespace(frame_id=decoder.config.frame_id),
                angle_min=0.0,
                angle_max=step * (BEAMS - 1),
                angle_increment=step,
                range_min=RANGE_MIN,
                range_max=RANGE_MAX,
                ranges=ranges,
            )
            readings = decoder.read(message)
            received = Received(time_s, time_s)
            views.append((decoder.config.name, self._field.view(decoder.config.name, readings, received, ToolState())))
        return views


class SimulatedJoints:
    """The joints of an arm in a simulated world; nothing for a robot without `joints`.

    Raise UserError for a task without an arm, and where Pinocchio is missing.
    """

    def __init__(self, robot: RobotConfig, world: SimulatedWorld) -> None:
        self._world = world
        self._observer: ArmObserver | None = None
        if robot.joints is None:
            return
        if not isinstance(world, World):
            raise UserError("joints of the robot file: this task simulates no arm")
        model = ArmModel(
            robot_urdf(world.model, robot), robot.joints, robot.action.frame_id, "the simulated arm's URDF"
        )
        self._observer, self._names = ArmObserver(robot, model), joint_names(world.model)

    def view(self, time_s: float) -> ArmView | None:
        """Return the view of the joint states at `time_s`, s; None for a robot without `joints`."""
        if self._observer is None:
            return None
        state, received = self._world.state(), Received(time_s, time_s)
        x, y, z = state.position
        self._observer.hear(self._names, state.joint_positions, state.joint_velocities, received)
        return self._observer.view(MeasuredPose(received, (x, y, z), TOOL_ORIENTATION))
