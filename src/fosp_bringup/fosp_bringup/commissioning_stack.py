"""The stack of a robot that is commissioned: the operator guard, the cameras and, to practise, a simulated robot."""

from __future__ import annotations

from pathlib import Path

from fosp_bringup.commissioning_record import UNCOMMISSIONED_SPEED, uncommissioned_because
from fosp_bringup.paths import robot_path
from fosp_bringup.stack import (
    ParameterValue,
    Stack,
    StackProcess,
    camera_processes,
    guard_process,
    simulator_process,
)
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_safety_monitor.parameters import SPEED_CAP


def commissioning_stack(
    robot_file: Path,
    guard_file: Path,
    simulate: Path | None = None,
    camera: str | None = None,
    camera_path: Path | None = None,
    namespace: str = "",
) -> Stack:
    """Return the guard and the cameras of a robot that the commissioning program drives, in bring-up order.

    No manager is among them: the program brings them up itself, and it halts the guard's process to see whether the
    robot stops without commands. `guard_file` describes the robot to the guard. `simulate` is a folder for the empty
    scene of a simulated robot; None for a real one.
    Raise UserError as `stack` does.
    """
    robot = read_robot(robot_file)
    parameters: dict[str, ParameterValue] = {"robot": str(guard_file)}
    processes = [] if simulate is None else [_empty_scene(simulate, robot_file, robot)]
    if simulate is None:
        processes += camera_processes(camera, camera_path, robot)
    return Stack((*processes, guard_process(parameters)), namespace)


def run_stack(robot_file: Path, simulate: Path | None = None, namespace: str = "") -> tuple[Stack, float, str]:
    """Return the guard of a robot that a program drives in the place of a person, its speed cap, and a warning.

    The cap is 1, and the warning empty, where a passed commissioning record fits the robot file, or the robot is
    simulated in an empty scene (`simulate`, as above). No manager is among them.
    """
    robot = read_robot(robot_file)
    because = "" if simulate is not None else uncommissioned_because(robot_file, robot)
    cap = UNCOMMISSIONED_SPEED if because else 1.0
    parameters: dict[str, ParameterValue] = {"robot": str(robot_file), "by_program": True, SPEED_CAP: cap}
    processes = [] if simulate is None else [_empty_scene(simulate, robot_file, robot)]
    warning = f"WARNING: {because}. The speed is capped at {cap:g} of the limits" if because else ""
    return Stack((*processes, guard_process(parameters)), namespace), cap, warning


def _empty_scene(folder: Path, robot_file: Path, robot: RobotConfig) -> StackProcess:
    """Return the simulator of a robot of this kind, in a scene without obstacles that is written to `folder`."""
    from fosp_sim.task.tasks import TASKS

    kinds = {name: read_robot(robot_path(task.robot)).kind for name, task in TASKS.items() if task.build is None}
    task = next((name for name, kind in kinds.items() if kind == robot.kind), None)
    if task is None:
        raise UserError(f"no simulated task has a robot of kind '{robot.kind}'")
    scene = folder / "empty_scene.yaml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        scene.write_text(f"# Written by fosp commission --simulate.\ntask: {task}\nobstacles: {{count: 0}}\n")
    except OSError as error:
        raise UserError(f"{scene}: cannot write: {error.strerror or error}") from None
    parameters: dict[str, ParameterValue] = {
        **{"scenario": str(scene.resolve()), "robot": str(robot_file)},
        "camera_rate_hz": robot.camera_frame_rate_hz,
    }
    return simulator_process("sim_node", parameters)
