"""The stack, described once: which processes, with which parameters. Launch files and `fosp up` both run this."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from fosp_bringup.parameter_file import check_parameter_file
from fosp_bringup.paths import feedback_path, robot_path, scenario_path, share, teleop_path
from fosp_core import topics
from fosp_core.bundle.bundle import read_manifest
from fosp_core.cameras import DEVICES, recording_type
from fosp_core.errors import UserError
from fosp_core.specs import RobotConfig, read_robot, read_yaml
from fosp_safety_monitor.parameters import SHADOW_PHRASE

Simulator = Literal["mujoco", "gazebo", "none"]
CAMERAS = ("simulated", "file", *DEVICES, "none")
SIMULATORS: tuple[Simulator, ...] = ("mujoco", "gazebo", "none")
LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")
ParameterValue = str | bool | int | float | list[str]

MOST_RESPAWNS = 5
"""A process that keeps dying ends the stack, or is let go where the robot goes on without it."""
MANAGER = "lifecycle_manager"
MONITOR = "safety_monitor_node"


@dataclass(frozen=True)
class Process:
    """One node in a process of its own."""

    name: str
    """Of the node."""
    package: str
    module: str
    """For `python -m`; the package installs it as lib/PACKAGE/EXECUTABLE, too."""
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    managed: bool = True
    """A lifecycle node that the manager brings up."""
    is_robot: bool = False
    """Stands for the robot: it outlives the others, so that they can bring it to a stop."""
    dispensable: bool = False
    """The robot goes on without it: it is started anew when it died, and when it dies again and again it is let go."""
    respawn: bool = False
    """May be started anew when it died, if that is asked for; the stack ends with any other process."""
    executable: str = ""
    """The node's name where it is empty."""


@dataclass(frozen=True)
class Stack:
    """All processes, and what they have in common. Managed ones are in the order of bring-up, the monitor last."""

    processes: tuple[Process, ...]
    namespace: str = ""
    log_level: str = "info"
    params_file: Path | None = None
    """ROS parameter file; what it says wins over the parameters of the processes."""
    use_respawn: bool = False

    def ros_arguments(self, process: Process) -> list[str]:
        """Command line of one process after its executable."""
        arguments = ["--ros-args", "-r", f"__node:={process.name}", "--log-level", self.log_level]
        arguments += ["--enclave", enclave(process.name, self.namespace)]
        if self.namespace:
            arguments += ["-r", f"__ns:=/{self.namespace.strip('/')}"]
        for name, value in process.parameters.items():
            arguments += ["-p", f"{name}:={json.dumps(value)}"]
        if self.params_file is not None:
            arguments += ["--params-file", str(self.params_file)]
        return arguments

    def respawns(self, process: Process) -> bool:
        return process.dispensable or (self.use_respawn and process.respawn)


def enclave(name: str, namespace: str = "") -> str:
    """Of a node in the SROS2 keystore, where security is switched on; each has its own."""
    return "/" + "/".join(part for part in (namespace.strip("/"), name) if part)


def settings() -> dict[str, str]:
    """Environment variables that every process of the graph needs, and every process that listens to it."""
    return {
        # No shared memory: a process killed inside of it blocks publish() in all others for up to 3 s (measured: 7 of
        # 50 SIGKILLs), the command stream's included; over UDP none did. And with the default sizes images get lost.
        # Where the discovery range is LOCALHOST, rmw_fastrtps brings shared memory back, whatever is said here.
        "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4?max_msg_size=65KB&sockets_size=4MB",
        "FASTRTPS_DEFAULT_PROFILES_FILE": str(share() / "config" / "fastdds.xml"),
        # One thread for each node's maths: more would fight for the cores that the command stream needs.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        # Lines as they come, also into a pipe.
        "PYTHONUNBUFFERED": "1",
        "RCUTILS_LOGGING_BUFFERED_STREAM": "0",
    }


def environment() -> dict[str, str]:
    """The whole environment of a process of the stack: our settings, except where the caller's own say otherwise."""
    return {**settings(), **os.environ}


def default_bundle(task: str) -> Path:
    """The bundle that is shipped for a task."""
    return share() / "models" / task


def stack(
    *,
    bundle: Path | str = "",
    robot: str = "",
    simulator: str = "none",
    scenario: str = "",
    camera: str = "none",
    camera_path: Path | str = "",
    feedback: str = "",
    teleop: str = "",
    recorder: Path | str = "",
    namespace: str = "",
    use_sim_time: bool = False,
    params_file: Path | str = "",
    autostart: bool = True,
    use_respawn: bool = False,
    log_level: str = "info",
    auto_reset: bool = True,
    shadow: str = "",
    black_box: Path | str = "",
    exploring: bool = False,
    learner: Path | str = "",
    learner_config: Path | str = "",
    offline: str = "",
) -> Stack:
    """The stack of one robot, or of a simulated one.

    `robot`: name in config/robots or path; empty: the scenario's. `bundle`: folder; empty: the one shipped for the
    scenario's task. `simulator`: mujoco, gazebo or none; `scenario`: name in config/scenarios or path, for a simulator.
    `camera`: simulated, file (`camera_path`: a bag, a folder of images or a RealSense recording), realsense or opencv
    (a camera_node for each camera of the robot file), or none (a driver that is running already). `feedback`: rules of
    fosp/feedback, a name in config/feedback or path; empty: a simulator or another node publishes it. `teleop`: the
    operator's device, a name in config/teleop or path: a person drives, without a bundle, through the monitor's checks
    that need none. `recorder`: folder for bags; empty: nothing is recorded. `auto_reset`: the simulator begins episodes
    by itself. `shadow`: the safety monitor judges without gating, if it is the phrase SHADOW_PHRASE. `black_box`: a
    folder for what happened before every stop; empty: nothing is kept. `exploring`: the policy draws its actions
    (policy_node/exploring changes it at any time). `learner`: folder of a fine-tuning run; empty: nothing is learned.
    `learner_config`: YAML of FinetuneConfig; `offline`: folders of the data that the bundle was trained on, separated
    by ':'. Everything is checked here; UserError says what is wrong before any process is started.
    """
    for value, name, allowed in (
        (simulator, "simulator", SIMULATORS),
        (camera, "camera", CAMERAS),
        (log_level, "log_level", LOG_LEVELS),
    ):
        if value not in allowed:
            raise UserError(f"{name} must be one of {', '.join(allowed)}, got '{value}'")
    if shadow not in ("", SHADOW_PHRASE):
        raise UserError(f"shadow switches the safety monitor's gate off: to mean it, say '{SHADOW_PHRASE}'")
    if params_file:
        check_parameter_file(Path(params_file), MONITOR, shadow)
    processes: list[Process] = []
    if simulator != "none":
        use_sim_time = use_sim_time or simulator == "gazebo"
        robot, bundle, processes = _simulated(simulator, robot, bundle, scenario, use_sim_time, auto_reset)
        camera = "simulated" if camera == "none" else camera
    if (camera == "simulated") != (simulator != "none"):
        raise UserError(f"camera '{camera}' does not go with simulator '{simulator}'")
    if not robot:
        raise UserError("robot must be given: a name in config/robots or a path")
    robot_file = robot_path(robot).resolve()
    robot_config = read_robot(robot_file)
    processes += _camera(camera, str(camera_path), robot_config)
    last: Process
    if teleop:
        driving, last = _operated(teleop, robot_file, robot_config)
    else:
        driving, last = _decided(_checked_bundle(Path(bundle), robot_config), robot_file, shadow, exploring)
        if learner:
            model = {name: last.parameters[name] for name in ("bundle", "robot")}
            driving.append(_learner(Path(learner), model, str(learner_config), offline))
    processes += [*driving, *_feedback(feedback, simulator, robot_file)]
    if recorder:
        out: dict[str, ParameterValue] = {"out": str(Path(recorder).absolute()), "robot": str(robot_file)}
        if scenario:
            out["task"] = _task(scenario)
        processes.append(Process("recorder_node", "fosp_recording", "fosp_recording.recorder_node", out, respawn=True))
    if black_box:
        processes.append(_black_box(Path(black_box), robot_file, robot_config, None if teleop else Path(bundle)))
    processes.append(last)
    processes.append(_manager(processes, autostart, use_respawn))
    if use_sim_time:
        processes = [_on_simulated_time(process) for process in processes]
    path = Path(params_file).resolve() if params_file else None
    return Stack(tuple(processes), namespace, log_level, path, use_respawn)


def _decided(bundle: Path, robot_file: Path, shadow: str, exploring: bool) -> tuple[list[Process], Process]:
    """The model's nodes, and the monitor that judges what they propose."""
    model: dict[str, ParameterValue] = {"bundle": str(bundle), "robot": str(robot_file)}
    policy = {**model, "exploring": True} if exploring else model
    nodes = [
        Process("encoder_node", "fosp_perception", "fosp_perception.encoder_node", model, respawn=True),
        Process("policy_node", "fosp_policy", "fosp_policy.policy_node", policy, respawn=True),
    ]
    judged = {**model, "shadow": shadow} if shadow else model
    return nodes, Process(MONITOR, "fosp_safety_monitor", "fosp_safety_monitor.safety_monitor_node", judged)


def _operated(teleop: str, robot_file: Path, robot: RobotConfig) -> tuple[list[Process], Process]:
    """A person in place of the model, and the monitor's checks that need no model, under the monitor's name."""
    from fosp_policy.teleoperation import read_mapping

    mapping = teleop_path(teleop).resolve()
    read_mapping(mapping, robot.action)
    robot_parameter: dict[str, ParameterValue] = {"robot": str(robot_file)}
    device = {**robot_parameter, "mapping": str(mapping)}
    guard = Process(
        MONITOR,
        "fosp_safety_monitor",
        "fosp_safety_monitor.operator_guard_node",
        robot_parameter,
        executable="operator_guard_node",
    )
    return [Process("teleop_node", "fosp_policy", "fosp_policy.teleop_node", device, respawn=True)], guard


def _simulated(
    simulator: str, robot: str, bundle: Path | str, scenario: str, use_sim_time: bool, auto_reset: bool
) -> tuple[str, Path | str, list[Process]]:
    """Robot, bundle and processes of a simulated robot; what is not given comes from the scenario."""
    from fosp_sim.task.scenario import read_scenario

    if not scenario:
        raise UserError("a simulator needs a scenario: a name in config/scenarios or a path")
    scenario_file = scenario_path(scenario).resolve()
    described = read_scenario(scenario_file)
    robot_file = robot_path(robot or described.robot).resolve()
    parameters: dict[str, ParameterValue] = {"scenario": str(scenario_file), "robot": str(robot_file)}
    if simulator == "gazebo":
        processes = _gazebo(parameters, auto_reset)
        if described.obstacles.motion != "static":
            raise UserError(f"{scenario_file}: moving obstacles are simulated by MuJoCo only; use simulator mujoco")
    else:
        parameters |= {
            "camera_rate_hz": read_robot(robot_file).camera_frame_rate_hz,
            "publish_clock": use_sim_time,
            "auto_reset": auto_reset,
        }
        processes = [_simulator("sim_node", parameters)]
    return str(robot_file), bundle or default_bundle(described.task), processes


def _gazebo(parameters: dict[str, ParameterValue], auto_reset: bool) -> list[Process]:
    """Gazebo itself, its bridge to ROS, and the node that makes a robot of it; the clock is Gazebo's."""
    node = {**parameters, "auto_reset": auto_reset, "use_sim_time": True}
    return [
        _simulator("gazebo_server", parameters),
        _simulator("gazebo_bridge", parameters),
        _simulator("gazebo_node", node),
    ]


def _simulator(name: str, parameters: Mapping[str, ParameterValue]) -> Process:
    return Process(name, "fosp_sim", f"fosp_sim.{name}", parameters, managed=False, is_robot=True)


def _task(scenario: str) -> str:
    """What the bags say that they show: a bundle trained on them can then be evaluated on scenarios of that task."""
    from fosp_sim.task.scenario import read_scenario

    return read_scenario(scenario_path(scenario)).task


def _checked_bundle(bundle: Path, robot: RobotConfig) -> Path:
    from fosp_core.bundle.bundle import verify_bundle

    if bundle == Path():
        raise UserError("bundle must be given: a model bundle folder")
    verify_bundle(bundle, robot)
    return bundle.resolve()


def _feedback(rules: str, simulator: str, robot_file: Path) -> list[Process]:
    if not rules:
        return []
    if simulator != "none":
        raise UserError("feedback is for robots: the simulator publishes fosp/feedback itself")
    from fosp_recording.feedback_rules import read_feedback_config

    path = feedback_path(rules).resolve()
    read_feedback_config(path)
    parameters: dict[str, ParameterValue] = {"rules": str(path), "robot": str(robot_file)}
    return [Process("feedback_node", "fosp_recording", "fosp_recording.feedback_node", parameters, respawn=True)]


def _camera(camera: str, path: str, robot: RobotConfig) -> list[Process]:
    """The camera nodes: of a recording, one that stands for the first camera; else one for each of the robot."""
    if camera in DEVICES:
        if not any(device.source == camera for device in robot.cameras):
            raise UserError(f"camera '{camera}': robot '{robot.name}' lists no camera with source {camera}")
        rate_hz = robot.camera_frame_rate_hz
        return [_camera_node(device.node_parameters(rate_hz), f"{device.name}_node") for device in robot.cameras]
    if camera != "file":
        return []
    source = recording_type(Path(path)) if path else ""
    if not source:
        raise UserError(
            f"camera 'file' needs camera_path: a bag, a folder of images, or a RealSense recording; got '{path}'"
        )
    return [
        _camera_node(
            {"source": source, "path": str(Path(path).resolve()), "rate_hz": robot.camera_frame_rate_hz}, "camera_node"
        )
    ]


def _camera_node(parameters: Mapping[str, ParameterValue], name: str) -> Process:
    return Process(
        name, "fosp_perception", "fosp_perception.camera_node", parameters, respawn=True, executable="camera_node"
    )


def _black_box(out: Path, robot_file: Path, robot: RobotConfig, bundle: Path | None) -> Process:
    """Not managed: it remembers what happens while the graph comes up, too. Images: the bundle's, or the robot's."""
    own = [topics.of_camera(topics.COLOR_IMAGE, camera.name) for camera in robot.cameras]
    cameras = [camera.topic for camera in read_manifest(bundle).observation.cameras] if bundle else own
    parameters: dict[str, ParameterValue] = {
        "out": str(out.absolute()),
        "robot": str(robot_file),
        "image_topics": cameras,
    }
    module = "fosp_recording.black_box_node"
    return Process("black_box_node", "fosp_recording", module, parameters, managed=False, respawn=True)


def _learner(run: Path, model: Mapping[str, ParameterValue], config: str, offline: str) -> Process:
    """The learner; the robot goes on without it."""
    folders = [Path(folder).absolute() for folder in offline.split(":") if folder]
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder of bags (offline)")
    if config:
        read_yaml(Path(config))
    parameters: dict[str, ParameterValue] = {
        **model,
        "run": str(run.absolute()),
        "cache": str(Path("runs/cache").absolute()),
        "offline": [str(folder) for folder in folders] or [""],
        "config": str(Path(config).resolve()) if config else "",
    }
    return Process(
        "learner_node", "fosp_learner", "fosp_learner.learner_node", parameters, managed=False, dispensable=True
    )


def _manager(processes: list[Process], autostart: bool, use_respawn: bool) -> Process:
    parameters: dict[str, ParameterValue] = {
        "nodes": [process.name for process in processes if process.managed],
        "autostart": autostart,
        "respawn": use_respawn,
    }
    return Process(MANAGER, "fosp_bringup", "fosp_bringup.lifecycle_manager", parameters, managed=False)


def _on_simulated_time(process: Process) -> Process:
    """The simulator makes the time; all others read it."""
    if process.is_robot:
        return process
    return replace(process, parameters={**process.parameters, "use_sim_time": True})
