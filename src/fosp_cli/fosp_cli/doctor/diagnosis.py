"""The checks of `fosp doctor`. Each is a pure function of probed values (probes.py) and gives the remedy."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from fosp_cli.doctor.requirements import pip_install

SOCKET_BUFFER_BYTES = 4_194_304
"""Socket buffer that the stack's transport asks for (environment.settings). With less, camera images get lost."""
DEFAULT_BUFFER_BYTES = 1_048_576
"""Least default buffer with which an image of 640x480 fits."""
SHARED_MEMORY_BYTES = 64 << 20
RTPRIO = 20
"""The highest priority that the control path asks for (fosp_core.processes)."""
BUILT = 1_767_225_600.0
"""2026-01-01, s since 1970. A clock that shows an earlier time was never set."""
USB_3 = 3.0
LEAST_MARGIN = 3.0
"""Least ratio of the decision period to the time of a slow decision: the messages between nodes need time, too."""


class Level(Enum):
    """Severity of a finding. With ERROR the part that was checked will not work."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Diagnosis:
    """The result of one check."""

    check: str
    """Name of the check, and heading under which docs/troubleshooting.md explains it."""
    level: Level
    says: str
    remedy: str = ""
    """The remedy; empty when all is well."""


@dataclass(frozen=True)
class DdsSettings:
    """Environment variables that decide how nodes find and reach each other."""

    rmw: str
    transports: str
    expected_transports: str
    discovery_range: str
    localhost_only: str


@dataclass(frozen=True)
class Camera:
    """A camera that this user can open."""

    name: str
    usb: float | None = None
    """USB version of a RealSense's connection, 0 when it does not report one; None for another camera."""
    serial: str = ""
    """Serial number of a RealSense."""


@dataclass(frozen=True)
class Cameras:
    """The cameras of this machine."""

    opened: tuple[Camera, ...] = ()
    denied: tuple[str, ...] = ()
    """Devices that exist and that this user may not open."""
    absent: tuple[str, ...] = ()
    """Devices that the robot file names and that do not exist."""
    realsense: int = 0
    """Number of RealSense cameras on the USB bus."""
    driver: bool = False
    """pyrealsense2 is installed."""


def check_python(version: tuple[int, int]) -> Diagnosis:
    """Check that Python is one of 3.11 to 3.13."""
    said = f"{version[0]}.{version[1]}"
    if (3, 11) <= version <= (3, 13):
        return _ok("Python", said)
    return _error("Python", f"{said} is not supported", "use Python 3.12 (Ubuntu 24.04 has it), 3.11 or 3.13")


def check_ros(distribution: str, error: str) -> Diagnosis:
    """Check ROS. `error` says why rclpy or the messages could not be imported; it is empty when they could."""
    if error:
        remedy = "in a checkout: make setup; on a robot: source /opt/ros/jazzy/setup.bash and install/setup.bash"
        return _error("ROS", f"cannot be used: {error}", remedy)
    if distribution != "jazzy":
        return _error(
            "ROS",
            f"ROS_DISTRO is '{distribution or 'not set'}', not 'jazzy'",
            "source /opt/ros/jazzy/setup.bash in this terminal",
        )
    return _ok("ROS", distribution)


def check_dds(settings: DdsSettings) -> Diagnosis:
    """Check that this terminal does not override the DDS settings of the stack."""
    if settings.rmw not in ("", "rmw_fastrtps_cpp"):
        return _warning(
            "DDS", f"RMW_IMPLEMENTATION is {settings.rmw}; only Fast DDS is tested", "unset RMW_IMPLEMENTATION"
        )
    if settings.discovery_range == "OFF":
        said = "ROS_AUTOMATIC_DISCOVERY_RANGE is OFF: no node finds another one"
        return _error("DDS", said, "unset ROS_AUTOMATIC_DISCOVERY_RANGE")
    if settings.discovery_range not in ("", "SUBNET", "LOCALHOST", "SYSTEM_DEFAULT"):
        said = f"ROS_AUTOMATIC_DISCOVERY_RANGE is '{settings.discovery_range}', which ROS does not know"
        return _warning("DDS", said, "unset it, or say SUBNET")
    if settings.localhost_only not in ("", "0") or settings.discovery_range == "LOCALHOST":
        name = "ROS_AUTOMATIC_DISCOVERY_RANGE" if settings.discovery_range == "LOCALHOST" else "ROS_LOCALHOST_ONLY"
        said = f"{name} brings back shared memory, in which a killed process can block all others"
        return _warning("DDS", said, f"unset {name}; to keep robots apart use ROS_DOMAIN_ID")
    if settings.transports not in ("", settings.expected_transports):
        said = f"FASTDDS_BUILTIN_TRANSPORTS is '{settings.transports}', with which the stack is not tested"
        return _warning("DDS", said, "unset FASTDDS_BUILTIN_TRANSPORTS: the stack sets it")
    return _ok("DDS", "settings are the stack's own")


def check_socket_buffers(receive: int, send: int, default: int = SOCKET_BUFFER_BYTES) -> Diagnosis:
    """Check the bytes that the kernel grants a socket (net.core.rmem_max and wmem_max); 0 when unknown.

    `default` is rmem_default: what a socket of another program's node gets, which does not ask.
    """
    if not receive or not send:
        return _warning(
            "Socket buffers", "their size cannot be read", f"make sure that net.core.rmem_max is {SOCKET_BUFFER_BYTES}"
        )
    if min(receive, send) < SOCKET_BUFFER_BYTES:
        said = (
            f"the kernel grants {receive} and {send} bytes, the stack asks for {SOCKET_BUFFER_BYTES}: images get lost"
        )
        size = SOCKET_BUFFER_BYTES
        return _warning(
            "Socket buffers",
            said,
            f"printf 'net.core.rmem_max={size}\\nnet.core.wmem_max={size}\\n' | sudo tee /etc/sysctl.d/60-fosp.conf; "
            "sudo sysctl --system",
        )
    if 0 < default < DEFAULT_BUFFER_BYTES:
        said = f"a socket that asks for nothing gets {default} bytes (net.core.rmem_default): viewers and recorders of "
        remedy = f"sudo sysctl net.core.rmem_default={DEFAULT_BUFFER_BYTES}, and put it into /etc/sysctl.d/60-fosp.conf"
        return _warning("Socket buffers", f"{said}other packages lose images", remedy)
    return _ok("Socket buffers", f"{receive} and {send} bytes")


def check_gl(error: str) -> Diagnosis:
    """Check GL. `error` says why the simulator could not render a picture; it is empty when it could."""
    if "No module named" in error:
        remedy = f"{pip_install('sim')} (only the simulator needs it)"
        return _warning("GL", f"the simulator is not installed: {error}", remedy)
    if error:
        remedy = "sudo apt install libegl1 libgl1 libgl1-mesa-dri (a robot needs no GL: only the simulator does)"
        return _warning("GL", f"the simulator cannot render: {error}", remedy)
    return _ok("GL", "the simulator renders")


def check_gpu(gpu: str, providers: Sequence[str], errors: Mapping[str, str] = MappingProxyType({})) -> Diagnosis:
    """Check that ONNX Runtime fits the NVIDIA GPU, whose name is empty when there is none.

    `errors` says of each device, cuda or cpu, on which a network was tried why it did not run there; empty when it did.
    """
    if errors.get("cpu"):
        said = f"ONNX Runtime runs no network, not even on the CPU: {errors['cpu']}"
        return _error("GPU", said, "pip install --force-reinstall onnxruntime, or give a bundle that is whole")
    cuda = "CUDAExecutionProvider" in providers
    if gpu and not cuda:
        remedy = "pip uninstall onnxruntime; pip install onnxruntime-gpu (the CPU is enough for networks of size nano)"
        return _warning("GPU", f"{gpu} is there, but ONNX Runtime runs on the CPU", remedy)
    if cuda and not gpu:
        remedy = "install NVIDIA's driver and log in again, or pip install onnxruntime in place of onnxruntime-gpu"
        return _warning("GPU", "ONNX Runtime is built for CUDA, but there is no GPU", remedy)
    if cuda and errors.get("cuda"):
        remedy = "install the CUDA and cuDNN that this onnxruntime-gpu needs (pip install onnxruntime-gpu[cuda,cudnn])"
        return _warning("GPU", f"{gpu} is there, but a network does not run on it: {errors['cuda']}", remedy)
    return _ok("GPU", f"{gpu}, used by ONNX Runtime" if gpu else "none; ONNX Runtime runs on the CPU")


def check_camera(found: Cameras, serials: Sequence[str] = ()) -> Diagnosis:
    """Check the cameras. `serials` are those of the RealSense cameras that the robot file names."""
    if found.realsense and not found.driver:
        return _error("Camera", "a RealSense is connected, but pyrealsense2 is missing", "pip install pyrealsense2")
    if found.realsense > sum(camera.usb is not None for camera in found.opened):
        remedy = "install librealsense's udev rules (99-realsense-libusb.rules), reconnect it, close other programs"
        return _error("Camera", "a RealSense is connected, but cannot be opened", remedy)
    if found.denied:
        said = f"{', '.join(found.denied)} is there, but this user may not open it"
        return _error("Camera", said, f'{_join_group("video")}; or a udev rule: KERNEL=="video*", MODE="0666"')
    there = ", ".join(f"{camera.name} {camera.serial}".rstrip() for camera in found.opened)
    missing = [serial for serial in serials if serial not in {camera.serial for camera in found.opened}]
    absent = [*found.absent, *(f"RealSense {serial}" for serial in missing)]
    if absent:
        said = f"the robot file names {', '.join(absent)}, which is not connected; connected: {there or 'none'}"
        return _error("Camera", said, "connect it, or correct 'cameras' in the robot file (ls /dev/v4l/by-id)")
    if not found.opened:
        remedy = "connect a camera, or start its driver and use camera:=none; the simulation needs no camera"
        return _warning("Camera", "no RealSense and no /dev/video*", remedy)
    slow = [camera for camera in found.opened if camera.usb is not None and camera.usb < USB_3]
    if slow:
        remedy = "use a USB 3 port (blue) and the cable that came with the camera"
        return _warning("Camera", f"{slow[0].name} {slow[0].serial} is connected by USB {slow[0].usb}", remedy)
    return _ok("Camera", there)


def check_gamepad(opened: Sequence[str], denied: Sequence[str]) -> Diagnosis:
    """Check that this user may read every gamepad, as joy_node must."""
    if denied:
        return _warning("Gamepad", f"{', '.join(denied)} may not be read by this user", _join_group("input"))
    return _ok("Gamepad", ", ".join(opened) or "none")


def check_clock(now_s: float, synchronised: bool | None) -> Diagnosis:
    """Check the clock: `now_s` since 1970, and whether NTP keeps it; None when the system does not report that."""
    if now_s < BUILT:
        said = f"the clock shows {time.strftime('%Y-%m-%d', time.gmtime(now_s))}, so it was never set"
        return _error("Clock", said, "sudo timedatectl set-ntp true")
    if synchronised is False:
        said = "the clock is not synchronised: stamps of cameras or a learner on another machine will not match"
        return _warning("Clock", said, "sudo apt install chrony; a single machine does not need it")
    return _ok("Clock", "synchronised" if synchronised else "set")


def check_shared_memory(free_bytes: int, left_behind: int) -> Diagnosis:
    """Check the free space in /dev/shm, and the files that dead Fast DDS processes left there.

    The space is negative when /dev/shm cannot be used.
    """
    if free_bytes < 0:
        return _warning("Shared memory", "/dev/shm is not there, or cannot be written", "mount a tmpfs on /dev/shm")
    if free_bytes < SHARED_MEMORY_BYTES:
        said = f"/dev/shm has {free_bytes >> 20} MiB free"
        return _error("Shared memory", said, "remove what fills it; in Docker give the container --shm-size=512m")
    if left_behind:
        said = f"{left_behind} files of killed processes are in /dev/shm"
        return _warning("Shared memory", said, "./fosp up sim removes them when it ends; or restart the machine")
    return _ok("Shared memory", f"{free_bytes >> 20} MiB free")


def check_realtime(granted: bool) -> Diagnosis:
    """Check whether a process of this user got the priority RTPRIO when it asked for it."""
    if granted:
        return _ok("Real-time priority", "granted")
    return _warning(
        "Real-time priority",
        "not granted: commands come late when the computer is busy",
        f'echo "$USER - rtprio {RTPRIO}" | sudo tee /etc/security/limits.d/fosp.conf; then log in again '
        "(in Docker: cap_add SYS_NICE, ulimit rtprio)",
    )


def check_bundle(bundle: str, robot: str, error: str) -> Diagnosis:
    """Check a bundle. `error` says why it cannot be used for this robot; it is empty when it can."""
    if error:
        remedy = f"use a bundle trained for {robot or 'this robot'}; fosp bundle show prints the robot of a bundle"
        return _error("Bundle", error, remedy)
    return _ok("Bundle", f"{bundle} for {robot}" if bundle else "none given")


@dataclass(frozen=True)
class DecisionTimes:
    """How long this machine takes for decisions of one bundle."""

    period_s: float
    """Time that the bundle has for each."""
    times_s: tuple[float, ...]
    """Those measured: encoder, policy and safety monitor, without the messages between them."""


def check_speed(measured: DecisionTimes | None) -> Diagnosis:
    """Check that decisions come much faster than the bundle needs them; None: no bundle could be measured."""
    if measured is None or not measured.times_s:
        return _ok("Speed", "not measured: no bundle that runs here")
    slow_s = sorted(measured.times_s)[int(0.99 * (len(measured.times_s) - 1))]
    margin = measured.period_s / max(slow_s, 1e-6)
    says = (
        f"99 of 100 decisions within {slow_s * 1e3:.1f} ms: this machine makes {1.0 / measured.period_s:.0f} Hz "
        f"with a margin of {margin:.1f}"
    )
    if margin >= LEAST_MARGIN:
        return _ok("Speed", says)
    remedy = "end what else runs, switch the processor's power saving off, or use a faster computer or a smaller model"
    if margin >= 1.0:
        return _warning("Speed", f"{says}, so late decisions will stop the robot now and then", remedy)
    return _error("Speed", f"{says}, so late decisions will stop the robot", remedy)


def check_domains(own: int, in_use: Sequence[int]) -> Diagnosis:
    """Check that this terminal is in the ROS domain that other processes on this machine use."""
    others = sorted(set(in_use) - {own})
    if others:
        all_of_them = " and ".join(str(domain) for domain in sorted(set(in_use)))
        said = f"processes here use ROS domain {all_of_them}, this terminal {own}: they do not see each other"
        return _warning("ROS domain", said, f"export ROS_DOMAIN_ID={others[0]} here, or restart the others with {own}")
    return _ok("ROS domain", str(own))


def check_cv_bridge(numpy: str, present: bool, error: str) -> Diagnosis:
    """Check cv_bridge, which apt builds for numpy 1. `error` is that of its import, where it is present."""
    if not present:
        return _ok("cv_bridge", "not installed; rgb8, bgr8, mono8 and 16UC1 images do not need it")
    if numpy.split(".")[0] != "1":
        said = f"numpy {numpy} is installed, cv_bridge needs numpy 1"
        remedy = f"{pip_install('ubuntu', ubuntu=True)}, in the environment of the nodes"
        return _error("cv_bridge", said, remedy)
    if error:
        return _error("cv_bridge", f"cannot be used: {error}", "sudo apt install --reinstall ros-jazzy-cv-bridge")
    return _ok("cv_bridge", f"with numpy {numpy}")


def _join_group(group: str) -> str:
    return f"sudo usermod -aG {group} $USER, then log in again (in Docker: group_add {group})"


def _ok(check: str, says: str) -> Diagnosis:
    return Diagnosis(check, Level.OK, says)


def _warning(check: str, says: str, remedy: str) -> Diagnosis:
    return Diagnosis(check, Level.WARNING, says, remedy)


def _error(check: str, says: str, remedy: str) -> Diagnosis:
    return Diagnosis(check, Level.ERROR, says, remedy)
