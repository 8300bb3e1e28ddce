"""The probes of `fosp doctor`, which read this machine for the checks in diagnosis.py. They never raise or block."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from fosp_cli.doctor.diagnosis import (
    RTPRIO,
    Camera,
    Cameras,
    DdsSettings,
    Diagnosis,
    check_bundle,
    check_camera,
    check_clock,
    check_cv_bridge,
    check_dds,
    check_domains,
    check_gamepad,
    check_gl,
    check_gpu,
    check_python,
    check_realtime,
    check_ros,
    check_shared_memory,
    check_socket_buffers,
    check_speed,
)
from fosp_cli.doctor.environment import (
    StartedNode,
    check_domain_id,
    check_log_folder,
    check_node,
    local_ports,
    log_folder,
    node_script,
    terminal,
    write_error,
)
from fosp_cli.doctor.speed import decision_times
from fosp_core.errors import UserError
from fosp_core.robot.config import CameraConfig

_TIMEOUT_S = 30.0
_USER_ERROR = "fosp_core.errors.UserError: "
_DOMAIN_PORT, _PORTS_PER_DOMAIN, _LAST_DOMAIN = 7400, 250, 232
"""RTPS domain d listens to the multicast port 7400 + 250 d."""
_DEV, _PROC, _SYS = Path("/dev"), Path("/proc"), Path("/sys")
_REALSENSE_VENDOR, _REALSENSE_PRODUCTS = "8086", ("0a", "0b")


def diagnose(robot: str = "", bundle: Path | None = None) -> list[Diagnosis]:
    """Return all findings about this machine, in the order in which to mend them.

    Raise UserError for a robot file that cannot be read.
    """
    wanted, providers = _cameras_of(robot), onnx_providers()
    return [
        check_python(sys.version_info[:2]),
        check_ros(os.environ.get("ROS_DISTRO", ""), import_error("rclpy, sensor_msgs.msg, fosp_msgs.msg")),
        check_cv_bridge(numpy_version(), *cv_bridge()),
        check_dds(dds_settings()),
        check_domain_id(terminal("ROS_DOMAIN_ID"), local_ports(_read(_PROC / "sys/net/ipv4/ip_local_port_range")))
        or check_domains(own_domain(), domains_in_use()),
        check_log_folder(*log_folder(os.environ), write_error(log_folder(os.environ)[1])),
        check_node(started_node()),
        check_socket_buffers(sysctl("net/core/rmem_max"), sysctl("net/core/wmem_max"), sysctl("net/core/rmem_default")),
        check_shared_memory(shared_memory_free(), left_behind()),
        check_realtime(realtime_granted()),
        check_clock(time.time(), clock_synchronised()),
        check_camera(
            cameras(wanted), [camera.serial for camera in wanted if camera.source == "realsense" and camera.serial]
        ),
        check_gamepad(*gamepads()),
        check_gpu(gpu_name(), providers, provider_errors(bundle, providers)),
        check_gl(import_error("fosp_sim.task.gl as gl; gl.mujoco.GLContext(64, 64).make_current()")),
        check_bundle(str(bundle or ""), robot, bundle_error(bundle, robot)),
        check_speed(decision_times(bundle)),
    ]


def import_error(what: str) -> str:
    """Return why `import what` fails in a process of its own, which may crash; empty when it succeeds."""
    return _last_line(run([sys.executable, "-c", f"import {what}"]))


def run(command: list[str], variables: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr of a command; the code is 127 if it cannot run, 124 if it does not end.

    `variables` replace the environment.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, env=variables and dict(variables)
        )
    except subprocess.TimeoutExpired:
        return 124, "", f"{Path(command[0]).name} did not end within {_TIMEOUT_S:.0f} s"
    except OSError as error:
        return 127, "", f"{command[0]}: {error.strerror or error}"
    return done.returncode, done.stdout, done.stderr


def numpy_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("numpy")
    except PackageNotFoundError:
        return "0 (none)"


def cv_bridge() -> tuple[bool, str]:
    """Return whether cv_bridge is installed, and the import error of its compiled part, which its own import skips."""
    present = importlib.util.find_spec("cv_bridge") is not None
    return present, import_error("cv_bridge.boost.cv_bridge_boost") if present else ""


def dds_settings() -> DdsSettings:
    from fosp_bringup.environment import settings

    def variable(name: str) -> str:
        return os.environ.get(name, "")

    return DdsSettings(
        rmw=variable("RMW_IMPLEMENTATION"),
        transports=variable("FASTDDS_BUILTIN_TRANSPORTS"),
        expected_transports=settings()["FASTDDS_BUILTIN_TRANSPORTS"],
        discovery_range=variable("ROS_AUTOMATIC_DISCOVERY_RANGE"),
        localhost_only=variable("ROS_LOCALHOST_ONLY"),
    )


def own_domain() -> int:
    value = os.environ.get("ROS_DOMAIN_ID", "0") or "0"
    return int(value) if value.isdecimal() else 0


def domains_in_use(sockets: str | None = None) -> list[int]:
    """Return the ROS domains whose multicast port a process here listens to. `sockets` replaces /proc/net/udp."""
    if sockets is None:
        sockets = _read("/proc/net/udp")
    found = set()
    for line in sockets.splitlines()[1:]:
        fields = line.split()
        domain, other = divmod(int(fields[1].rpartition(":")[2], 16) - _DOMAIN_PORT, _PORTS_PER_DOMAIN)
        if other == 0 and 0 <= domain <= _LAST_DOMAIN:
            found.add(domain)
    return sorted(found)


def left_behind() -> int:
    """Return the number of files of dead Fast DDS processes in /dev/shm."""
    from fosp_bringup.shared_memory import dead_files

    return len(dead_files())


def realtime_granted() -> bool:
    """Ask for the priority in a process, because limits, root and a container's capabilities all decide on it."""
    script = f"import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param({RTPRIO}))"
    return run([sys.executable, "-c", script])[0] == 0


def clock_synchronised() -> bool | None:
    code, said, _ = run(["timedatectl", "show", "-p", "NTPSynchronized", "--value"])
    return {"yes": True, "no": False}.get(said.strip()) if code == 0 else None


def cameras(wanted: Sequence[CameraConfig] = (), sys_root: Path = _SYS, dev_root: Path = _DEV) -> Cameras:
    """Return the cameras, those `wanted` by a robot file included. A RealSense's /dev/video* belong to its driver."""
    driver = importlib.util.find_spec("pyrealsense2") is not None
    plugged_in = sum(
        _read(path.parent / "idVendor").strip() == _REALSENSE_VENDOR
        and _read(path).strip().startswith(_REALSENSE_PRODUCTS)
        for path in (sys_root / "bus/usb/devices").glob("*/idProduct")
    )
    named = [Path(camera.device) for camera in wanted if camera.device.startswith(f"{dev_root}/")]
    present = [path for path in named if path.exists()]
    found = realsense() if driver and plugged_in else []
    seen = present if plugged_in else [*present, *sorted(dev_root.glob("video*"))]
    video = list({path.resolve(): path for path in reversed(seen)}.values())[::-1]
    return Cameras(
        opened=(*found, *(Camera(str(path)) for path in video if _may_open(path))),
        denied=tuple(str(path) for path in video if not _may_open(path)),
        absent=tuple(str(path) for path in named if path not in present),
        realsense=plugged_in,
        driver=driver,
    )


def realsense() -> list[Camera]:
    """Return the RealSense cameras, asked in a process of its own because the driver may crash or hang."""
    script = (
        "import pyrealsense2 as rs\n"
        "i = rs.camera_info\n"
        "for d in rs.context().query_devices():\n"
        "    wanted = i.usb_type_descriptor, i.serial_number, i.name\n"
        "    print(*(d.get_info(k) if d.supports(k) else '' for k in wanted), sep='|')\n"
    )
    _, said, _ = run([sys.executable, "-c", script])
    found = []
    for usb, serial, name in (line.split("|", 2) for line in said.splitlines() if line.count("|") > 1):
        try:
            found.append(Camera(name, float(usb), serial))
        except ValueError:
            found.append(Camera(name, 0.0, serial))
    return found


def gamepads(sys_root: Path = _SYS, dev_root: Path = _DEV) -> tuple[list[str], list[str]]:
    """Return the gamepads whose /dev/input/event* this user may read, as joy_node does, and those he may not."""
    opened: list[str] = []
    denied: list[str] = []
    for gamepad in sorted((sys_root / "class/input").glob("js*")):
        for event in sorted((gamepad / "device").glob("event*")):
            path = dev_root / "input" / event.name
            (opened if _may_open(path, os.R_OK) else denied).append(str(path))
    return opened, denied


def gpu_name() -> str:
    """Return the name of the first NVIDIA GPU; empty when there is none."""
    code, said, _ = run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"])
    return said.splitlines()[0].strip() if code == 0 and said.strip() else ""


def onnx_providers() -> list[str]:
    code, said, _ = run([sys.executable, "-c", "import onnxruntime as o; print(*o.get_available_providers())"])
    return said.split() if code == 0 else []


def provider_errors(bundle: Path | None, providers: Sequence[str]) -> dict[str, str]:
    """Return, for each device that ONNX Runtime names, why a network of a bundle does not run on it; empty if it does.

    A process of its own makes each session, because a library that does not fit may crash it. A bundle that cannot be
    read is no fault of a device.
    """
    from fosp_bringup.stack import default_bundle
    from fosp_core.bundle.bundle import read_manifest

    chosen = bundle or default_bundle("safe_reach")
    try:
        read_manifest(chosen)
    except UserError:
        return {}
    script = (
        "import sys; from pathlib import Path; from fosp_core.bundle.onnx_session import OnnxModel; "
        "OnnxModel(Path(sys.argv[1]), sys.argv[2])"
    )
    devices = {"CPUExecutionProvider": "cpu", "CUDAExecutionProvider": "cuda"}
    network = str(chosen / "policy.onnx")
    named = [device for provider, device in devices.items() if provider in providers]
    return {d: _last_line(run([sys.executable, "-c", script, network, d])).removeprefix(_USER_ERROR) for d in named}


def started_node() -> StartedNode:
    """Start a node in a process of its own, in the environment that the stack would give it."""
    from fosp_bringup.environment import environment

    code, said, stderr = run([sys.executable, "-c", node_script()], environment())
    if code == 0:
        return StartedNode(others=tuple((said.strip().splitlines() or [""])[-1].split()))
    return StartedNode(error=_last_line((code, said, stderr)))


def shared_memory_free() -> int:
    """Return the free bytes in /dev/shm; -1 when it is not there or cannot be written."""
    try:
        free = shutil.disk_usage("/dev/shm").free
    except OSError:
        return -1
    return free if _may_open(Path("/dev/shm")) else -1


def bundle_error(bundle: Path | None, robot: str) -> str:
    """Return why the bundle cannot be used for the robot; empty when it can or when none was given."""
    from fosp_bringup.paths import robot_path
    from fosp_core.bundle.bundle import verify_bundle
    from fosp_core.robot.config import read_robot

    if bundle is None:
        return ""
    try:
        verify_bundle(bundle, read_robot(robot_path(robot)) if robot else None)
    except UserError as error:
        return str(error)
    return ""


def _last_line(result: tuple[int, str, str]) -> str:
    code, _, stderr = result
    if code == 0:
        return ""
    lines = stderr.strip().splitlines()
    return lines[-1][:200] if lines else f"it exited with {code}"


def sysctl(name: str, proc_root: Path = _PROC) -> int:
    """Return a setting of the kernel such as net/core/rmem_max; 0 when it cannot be read."""
    text = _read(proc_root / "sys" / name).strip()
    return int(text) if text.isdecimal() else 0


def _cameras_of(robot: str) -> tuple[CameraConfig, ...]:
    """Return the cameras that a robot file names; none without a robot."""
    from fosp_bringup.paths import robot_path
    from fosp_core.robot.config import read_robot

    return read_robot(robot_path(robot)).cameras if robot else ()


def _may_open(path: Path, mode: int = os.R_OK | os.W_OK) -> bool:
    return os.access(path, mode, effective_ids=True)


def _read(path: Path | str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
