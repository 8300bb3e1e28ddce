"""The stack as data: its processes and their parameters. Launch files and `fosp up` both run this description."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from fosp_bringup.commissioning_record import UNCOMMISSIONED_SPEED, uncommissioned_because
from fosp_bringup.neighbours import MANAGER
from fosp_bringup.parameter_file import doubts
from fosp_bringup.paths import feedback_path, robot_path, scenario_path, share, teleop_path
from fosp_bringup.stack_options import NOTHING, StackOptions, check_parameter_file, require_distinct
from fosp_core import topics
from fosp_core.bundle.acceptance import require_supported, unsupported_because
from fosp_core.bundle.bundle import read_manifest
from fosp_core.cameras import DEVICES, recording_type
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.robot.urdf import read_urdf
from fosp_core.specs import read_yaml
from fosp_safety_monitor.arm.model import require_model
from fosp_safety_monitor.parameters import SPEED_CAP, UNSUPPORTED_PHRASE, paced

ParameterValue = str | bool | int | float | list[str]

MOST_RESPAWNS = 5
"""A process that died more often ends the stack, or is given up where the robot goes on without it."""
MONITOR = "safety_monitor_node"


@dataclass(frozen=True)
class StackProcess:
    """One node in a process of its own."""

    name: str
    """Name of the node."""
    package: str
    module: str
    """Module for `python -m`; the package installs it as lib/PACKAGE/EXECUTABLE, too."""
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    managed: bool = True
    """The lifecycle manager brings this node up."""
    is_robot: bool = False
    """The process stands for the robot: it outlives the others, so that they can bring it to a stop."""
    dispensable: bool = False
    """The robot goes on without this process: it is started anew when it dies, up to MOST_RESPAWNS times."""
    respawn: bool = False
    """With use_respawn the process is started anew when it dies; the death of any other process ends the stack."""
    executable: str = ""
    """Name of the installed executable; empty where it is the node's name."""


@dataclass(frozen=True)
class Stack:
    """All processes of a graph, and their common settings. Managed ones are in bring-up order, the monitor last."""

    processes: tuple[StackProcess, ...]
    namespace: str = ""
    log_level: str = "info"
    params_file: Path | None = None
    """ROS parameter file; its values win over the parameters of the processes."""
    use_respawn: bool = False
    warning: str = ""
    """Lines to be shown at every start; empty when there is nothing to warn of."""
    stays_here: bool = False
    """The processes speak through the loopback interface only, as those of a simulated robot do."""

    def ros_arguments(self, process: StackProcess) -> list[str]:
        """Return the command line of one process after its executable."""
        arguments = ["--ros-args", "-r", f"__node:={process.name}", "--log-level", self.log_level]
        arguments += ["--enclave", enclave(process.name, self.namespace)]
        if self.namespace:
            arguments += ["-r", f"__ns:=/{self.namespace.strip('/')}"]
        for name, value in process.parameters.items():
            arguments += ["-p", f"{name}:={json.dumps(value)}"]
        if self.params_file is not None:
            arguments += ["--params-file", str(self.params_file)]
        return arguments

    def respawns(self, process: StackProcess) -> bool:
        """Return whether the process is started anew when it dies."""
        return process.dispensable or (self.use_respawn and process.respawn)


def enclave(name: str, namespace: str = "") -> str:
    """Return the path of a node's own enclave in the SROS2 keystore; it is used where security is switched on."""
    return "/" + "/".join(part for part in (namespace.strip("/"), name) if part)


def default_bundle(task: str) -> Path:
    """Return the folder of the bundle that is shipped for a task."""
    return share() / "models" / task


def stack(options: StackOptions) -> Stack:
    """Return the stack of one robot, or of a simulated one.

    Everything is read and checked here: UserError says what is wrong before any process is started.
    """
    if options.params_file is not None:
        simulated = options.simulator is not None
        check_parameter_file(options.params_file, MONITOR, options.shadow, simulated, options.unsupported)
    processes: list[StackProcess] = []
    if options.simulator is not None:
        options, processes = _simulated(options)
    if (options.camera == "simulated") != (options.simulator is not None):
        raise UserError(f"camera '{options.camera}' does not go with simulator '{options.simulator or NOTHING}'")
    if not options.robot:
        raise UserError("robot must be given: a name in config/robots or a path")
    robot_file = robot_path(options.robot).resolve()
    robot = read_robot(robot_file)
    require_model(robot, robot_file.parent)
    processes += camera_processes(options.camera, options.camera_path, robot, options.camera_loop)
    alone = bool(options.teleop) and not options.take_over
    if options.teleop and alone:
        driving, last = _operated(options.teleop, robot_file, robot)
    else:
        bundle = _checked_bundle(options.bundle, robot)
        options = _with_support(bundle, options)
        driving, last = _decided(bundle, robot_file, options)
        if options.teleop:
            driving.append(_device(options.teleop, robot_file, robot, beside_policy=True))
            said = {"take_over": True, **({"gate_operator": True} if options.gate_operator else {})}
            last = replace(last, parameters={**last.parameters, **said})
    processes += driving
    if options.feedback:
        processes.append(_feedback(options.feedback, options.simulator, robot_file, options.hazards))
    if options.recorder:
        processes.append(_recorder(options, robot, robot_file, None if alone else options.bundle))
    if options.black_box:
        processes.append(_black_box(options.black_box, robot_file, robot, None if alone else options.bundle))
    if robot.urdf and options.simulator is None:
        processes.append(_description(robot, robot_file))
    if options.console:
        processes.append(_console(robot_file, None if alone else options.bundle))
    last, warning = (last, "") if options.simulator else _capped_unless_commissioned(last, robot_file, robot)
    last = replace(last, parameters=options.guarded(last.parameters))
    processes.append(last)
    processes.append(_manager(processes, options.autostart, options.use_respawn))
    if options.use_sim_time:
        timed = {"use_sim_time": True}  # the robot's process publishes the time
        processes = [p if p.is_robot else replace(p, parameters={**p.parameters, **timed}) for p in processes]
    require_distinct(process.name for process in processes)
    params_file = options.params_file.resolve() if options.params_file else None
    if params_file is not None:
        modules = {process.name: process.module for process in processes}
        warning = "\n".join(filter(None, (warning, *doubts(params_file, modules, options.namespace.strip("/")))))
    here, respawn = options.simulator is not None and not options.network, options.use_respawn
    return Stack(tuple(processes), options.namespace, options.log_level, params_file, respawn, warning, here)


def _capped_unless_commissioned(
    monitor: StackProcess, robot_file: Path, robot: RobotConfig
) -> tuple[StackProcess, str]:
    """Return the monitor of a real robot, and the warning: without a commissioning record its speed is capped."""
    because = uncommissioned_because(robot_file, robot)
    if not because:
        return monitor, ""
    capped = replace(monitor, parameters={**monitor.parameters, SPEED_CAP: UNCOMMISSIONED_SPEED})
    return capped, (
        f"WARNING: {because}. The speed is capped at {UNCOMMISSIONED_SPEED:g} of the limits until the robot is "
        f"commissioned: fosp commission --robot {robot_file}"
    )


def _simulated(options: StackOptions) -> tuple[StackOptions, list[StackProcess]]:
    """Return the options, completed by those of the scenario, and the processes of the simulated robot."""
    from fosp_sim.task.scenario import read_scenario
    from fosp_sim.task.tasks import find_task

    if not options.scenario:
        raise UserError("a simulator needs a scenario: a name in config/scenarios or a path")
    scenario_file = scenario_path(options.scenario).resolve()
    described = read_scenario(scenario_file)
    robot_file = robot_path(options.robot or described.robot).resolve()
    options = replace(
        options,
        robot=str(robot_file),
        bundle=options.bundle or default_bundle(described.task),
        camera=options.camera or "simulated",
        use_sim_time=options.use_sim_time or options.simulator == "gazebo",
    )
    parameters: dict[str, ParameterValue] = {"scenario": str(scenario_file), "robot": str(robot_file)}
    if options.simulator == "gazebo":
        if find_task(described.task).build is not None:
            raise UserError(f"{scenario_file}: task '{described.task}' is not for Gazebo; use simulator mujoco")
        if described.obstacles.motion != "static" or described.camera.moved_m or described.camera.turned_deg:
            raise UserError(f"{scenario_file}: motion and moved cameras are simulated by MuJoCo only; use mujoco")
        return options, _gazebo(parameters, options.auto_reset, options.gui)
    parameters |= {
        "camera_rate_hz": read_robot(robot_file).camera_frame_rate_hz,
        "publish_clock": options.use_sim_time,
        "auto_reset": options.auto_reset,
    }
    return options, [simulator_process("sim_node", parameters)]


def _decided(bundle: Path, robot_file: Path, options: StackOptions) -> tuple[list[StackProcess], StackProcess]:
    """Return the model's nodes, and the monitor that judges what they propose."""
    model: dict[str, ParameterValue] = {"bundle": str(bundle), "robot": str(robot_file)}
    policy = {**model, **options.going_back(), **({"exploring": True} if options.exploring else {})}
    nodes = [
        StackProcess("encoder_node", "fosp_perception", "fosp_perception.encoder_node", model, respawn=True),
        StackProcess("policy_node", "fosp_policy", "fosp_policy.policy_node", policy, respawn=True),
    ]
    if options.learner:
        nodes.append(_learner(options.learner, model, options))
    said = {"shadow": options.shadow, "unsupported": options.unsupported}
    judged = {**model, **options.going_back(), **{name: phrase for name, phrase in said.items() if phrase}}
    if options.simulator is not None:  # a simulated robot hurts nobody, so no person has to consent to its motion
        judged |= {"engage": "by_itself", **paced(read_manifest(bundle).decision_period_s)}
    if options.episodes != "required":
        judged["episodes"] = options.episodes
    return nodes, StackProcess(MONITOR, "fosp_safety_monitor", "fosp_safety_monitor.safety_monitor_node", judged)


def _operated(teleop: str, robot_file: Path, robot: RobotConfig) -> tuple[list[StackProcess], StackProcess]:
    """Return the operator's node, and the guard that runs the monitor's model-free checks under the monitor's name."""
    return [_device(teleop, robot_file, robot)], guard_process({"robot": str(robot_file)})


def _device(teleop: str, robot_file: Path, robot: RobotConfig, beside_policy: bool = False) -> StackProcess:
    """Return the node of the operator's device, which drives alone or takes over from a policy."""
    from fosp_policy.teleoperation import read_mapping

    mapping = teleop_path(teleop).resolve()
    read_mapping(mapping, robot.action)
    parameters: dict[str, ParameterValue] = {"robot": str(robot_file), "mapping": str(mapping)}
    parameters |= {"beside_policy": True} if beside_policy else {}
    return StackProcess("teleop_node", "fosp_policy", "fosp_policy.teleop_node", parameters, respawn=True)


def guard_process(parameters: Mapping[str, ParameterValue]) -> StackProcess:
    """Return the operator guard, under the monitor's name."""
    module = "fosp_safety_monitor.operator_guard_node"
    return StackProcess(MONITOR, "fosp_safety_monitor", module, parameters, executable="operator_guard_node")


def _gazebo(parameters: dict[str, ParameterValue], auto_reset: bool, gui: bool) -> list[StackProcess]:
    """Return Gazebo, its bridge to ROS, and the node that makes a robot of it; the clock is Gazebo's."""
    node = {**parameters, "auto_reset": auto_reset, "use_sim_time": True}
    return [
        simulator_process("gazebo_server", {**parameters, "gui": True} if gui else parameters),
        simulator_process("gazebo_bridge", parameters),
        simulator_process("gazebo_node", node),
    ]


def simulator_process(name: str, parameters: Mapping[str, ParameterValue]) -> StackProcess:
    """Return a process that stands for the robot."""
    return StackProcess(name, "fosp_sim", f"fosp_sim.{name}", parameters, managed=False, is_robot=True)


def _checked_bundle(bundle: Path | None, robot: RobotConfig) -> Path:
    from fosp_core.bundle.bundle import verify_bundle

    if bundle is None:
        raise UserError("a bundle must be given: --bundle DIR, model:=DIR of a launch file (fosp pretrain writes one)")
    if bundle.parent == share() / "models" and not bundle.is_dir():
        raise UserError(f"no bundle is shipped for {bundle.name}: train one, and give it by --bundle DIR")
    verify_bundle(bundle, robot)
    return bundle.resolve()


def _with_support(bundle: Path, options: StackOptions) -> StackOptions:
    """Return the options with the phrase that a simulated robot needs for a bundle of unsupported calibration.

    UserError where a real robot needs it and nobody said it. The safety monitor warns of such a bundle when it starts.
    """
    manifest = read_manifest(bundle)
    if options.simulator is not None and unsupported_because(manifest.calibration):
        return replace(options, unsupported=UNSUPPORTED_PHRASE)
    require_supported(manifest, options.unsupported is not None, f"unsupported:={UNSUPPORTED_PHRASE}")
    return options


def _feedback(rules: str, simulator: str | None, robot_file: Path, hazards: bool) -> StackProcess:
    if simulator is not None:
        raise UserError("feedback is for robots: the simulator publishes fosp/feedback itself")
    from fosp_recording.feedback_rules import read_feedback_config

    path = feedback_path(rules).resolve()
    read_feedback_config(path)
    parameters: dict[str, ParameterValue] = {"rules": str(path), "robot": str(robot_file)}
    parameters |= {"ends_at_cost": True} if hazards else {}
    return StackProcess("feedback_node", "fosp_recording", "fosp_recording.feedback_node", parameters, respawn=True)


def _recorder(options: StackOptions, robot: RobotConfig, robot_file: Path, bundle: Path | None) -> StackProcess:
    """Return the recorder; its bags name the scenario's task, on which a bundle trained on them can be evaluated.

    They also name the decision period of the `bundle`, or, where a person drives in a world that has a period of its
    own, that one: such a world shows a frame per decision.
    """
    assert options.recorder is not None
    parameters: dict[str, ParameterValue] = {"out": str(options.recorder.absolute()), "robot": str(robot_file)}
    if bundle is not None:
        parameters["decision_period_s"] = f"{read_manifest(bundle).decision_period_s:g}"
    if options.scenario:
        from fosp_sim.task.scenario import read_scenario
        from fosp_sim.task.tasks import find_task

        parameters["task"] = read_scenario(scenario_path(options.scenario)).task
        if bundle is None and find_task(str(parameters["task"])).build is not None:
            parameters["decision_period_s"] = f"{1.0 / robot.camera_frame_rate_hz:g}"
    parameters |= options.notes
    module = "fosp_recording.recorder_node"
    return StackProcess("recorder_node", "fosp_recording", module, parameters, dispensable=True)


def camera_processes(
    camera: str | None, path: Path | None, robot: RobotConfig, loop: bool = False
) -> list[StackProcess]:
    """The camera nodes: of a recording, one that stands for the first camera; else one for each of the robot."""
    if camera in DEVICES:
        if not any(device.source == camera for device in robot.cameras):
            raise UserError(f"camera '{camera}': robot '{robot.name}' lists no camera with source {camera}")
        rate_hz = robot.camera_frame_rate_hz
        return [_camera_node(device.node_parameters(rate_hz), f"{device.name}_node") for device in robot.cameras]
    if camera != "file" or path is None:
        return []
    source = recording_type(path)
    if not source:
        raise UserError(
            f"camera 'file' needs camera_path: a bag, a folder of images, or a RealSense recording; got '{path}'"
        )
    parameters: dict[str, ParameterValue] = {"source": source, "path": str(path.resolve())}
    parameters |= {"rate_hz": robot.camera_frame_rate_hz, **({"loop": True} if loop else {})}
    return [_camera_node(parameters, "camera_node")]


def _camera_node(parameters: Mapping[str, ParameterValue], name: str) -> StackProcess:
    return StackProcess(
        name, "fosp_perception", "fosp_perception.camera_node", parameters, respawn=True, executable="camera_node"
    )


def _black_box(out: Path, robot_file: Path, robot: RobotConfig, bundle: Path | None) -> StackProcess:
    """Return the black box for the cameras of the bundle, or of the robot where a person drives.

    It is not managed, so that it remembers the bring-up, too.
    """
    own = [topics.of_camera(topics.COLOR_IMAGE, camera.name) for camera in robot.cameras]
    cameras = [camera.topic for camera in read_manifest(bundle).observation.cameras] if bundle else own
    parameters: dict[str, ParameterValue] = {
        "out": str(out.absolute()),
        "robot": str(robot_file),
        "image_topics": cameras,
    }
    module = "fosp_recording.black_box_node"
    return StackProcess("black_box_node", "fosp_recording", module, parameters, managed=False, respawn=True)


def _learner(run: Path, model: Mapping[str, ParameterValue], options: StackOptions) -> StackProcess:
    """Return the learner; the robot goes on without it."""
    for folder in options.offline:
        if not folder.is_dir():
            raise UserError(f"{folder.absolute()}: no such folder of bags (offline)")
    if options.learner_config is not None:
        read_yaml(options.learner_config)
    parameters: dict[str, ParameterValue] = {
        **model,
        "run": str(run.absolute()),
        "cache": str(Path("runs/cache").absolute()),
        "offline": [str(folder.absolute()) for folder in options.offline] or [""],
        "config": str(options.learner_config.resolve()) if options.learner_config else "",
        **options.notes,
    }
    return StackProcess(
        "learner_node", "fosp_learner", "fosp_learner.learner_node", parameters, managed=False, dispensable=True
    )


def _description(robot: RobotConfig, robot_file: Path) -> StackProcess:
    """Return who shows the robot to viewers by the URDF of its file; a simulator does so itself."""
    read_urdf(robot.urdf, robot_file.parent)
    name, parameters = "robot_description_node", {"robot": str(robot_file)}
    module = f"fosp_perception.{name}"
    return StackProcess(name, "fosp_perception", module, parameters, managed=False, dispensable=True)


def _console(robot_file: Path, bundle: Path | None) -> StackProcess:
    """Return the operator's console, which nothing depends on."""
    parameters: dict[str, ParameterValue] = {
        "robot": str(robot_file),
        "bundle": str(bundle.resolve()) if bundle else "",
    }
    module = "fosp_console.console_node"
    return StackProcess("console_node", "fosp_console", module, parameters, managed=False, dispensable=True)


def _manager(processes: list[StackProcess], autostart: bool, use_respawn: bool) -> StackProcess:
    parameters: dict[str, ParameterValue] = {
        "nodes": [process.name for process in processes if process.managed],
        "autostart": autostart,
        "respawn": use_respawn,
    }
    return StackProcess(MANAGER, "fosp_bringup", "fosp_bringup.lifecycle_manager", parameters, managed=False)
