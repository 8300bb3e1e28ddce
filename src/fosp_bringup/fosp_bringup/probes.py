"""What `fosp doctor` judges (diagnosis.py), read from this machine. A probe never raises and never blocks."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from fosp_bringup.diagnosis import (
    RTPRIO,
    Camera,
    DdsSettings,
    Finding,
    check_bundle,
    check_camera,
    check_clock,
    check_cv_bridge,
    check_dds,
    check_domains,
    check_gl,
    check_gpu,
    check_python,
    check_realtime,
    check_ros,
    check_shared_memory,
    check_socket_buffers,
)
from fosp_core.errors import UserError

_TIMEOUT_S = 30.0
_DOMAIN_PORT, _PORTS_PER_DOMAIN, _LAST_DOMAIN = 7400, 250, 232
"""RTPS: domain d listens to the multicast port 7400 + 250 d."""
_REALSENSE_VENDOR, _REALSENSE_PRODUCTS = "8086", ("0a", "0b")


def diagnose(robot: str = "", bundle: Path | None = None) -> list[Finding]:
    """All findings about this machine, in the order in which a person would mend them."""
    return [
        check_python(sys.version_info[:2]),
        check_ros(os.environ.get("ROS_DISTRO", ""), import_error("rclpy, sensor_msgs.msg, fosp_msgs.msg")),
        check_cv_bridge(numpy_version(), *cv_bridge()),
        check_dds(dds_settings()),
        check_domains(own_domain(), domains_in_use()),
        check_socket_buffers(_sysctl("net/core/rmem_max"), _sysctl("net/core/wmem_max")),
        check_shared_memory(shutil.disk_usage("/dev/shm").free, left_behind()),
        check_realtime(realtime_granted()),
        check_clock(time.time(), clock_synchronised()),
        check_camera(*cameras()),
        check_gpu(gpu_name(), onnx_providers()),
        check_gl(import_error("fosp_sim.gl as gl; gl.mujoco.GLContext(64, 64).make_current()")),
        check_bundle(str(bundle or ""), robot, bundle_error(bundle, robot)),
    ]


def import_error(what: str) -> str:
    """Why `import what` fails in a Python of its own (it may crash); empty when it does not."""
    return _last_line(run([sys.executable, "-c", f"import {what}"]))


def run(command: list[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command; 127 when it cannot be run, 124 when it does not end."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
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
    """Whether it is installed, and what its import says."""
    present = importlib.util.find_spec("cv_bridge") is not None
    return present, import_error("cv_bridge") if present else ""


def dds_settings() -> DdsSettings:
    from fosp_bringup.stack import settings

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
    """ROS domains whose multicast port somebody here listens to; `sockets`: content of /proc/net/udp."""
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
    """Files of dead Fast DDS processes in /dev/shm."""
    from fosp_bringup.shared_memory import dead_files

    return len(dead_files())


def realtime_granted() -> bool:
    """Asked for rather than looked up: the limit, root, and what a container took away all have a say."""
    script = f"import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param({RTPRIO}))"
    return run([sys.executable, "-c", script])[0] == 0


def clock_synchronised() -> bool | None:
    code, said, _ = run(["timedatectl", "show", "-p", "NTPSynchronized", "--value"])
    return {"yes": True, "no": False}.get(said.strip()) if code == 0 else None


def cameras() -> tuple[list[Camera], int, bool]:
    """Cameras that can be opened, how many RealSense the USB bus shows, and whether pyrealsense2 is installed."""
    driver = importlib.util.find_spec("pyrealsense2") is not None
    plugged_in = sum(
        _read(path.parent / "idVendor").strip() == _REALSENSE_VENDOR
        and _read(path).strip().startswith(_REALSENSE_PRODUCTS)
        for path in Path("/sys/bus/usb/devices").glob("*/idProduct")
    )
    found = _realsense() if driver and plugged_in else []
    video = [] if plugged_in else sorted(Path("/dev").glob("video*"))
    return [*found, *(Camera(str(path)) for path in video if os.access(path, os.R_OK | os.W_OK))], plugged_in, driver


def _realsense() -> list[Camera]:
    """In a Python of its own: its driver may crash or hang on a device in a bad state."""
    script = (
        "import pyrealsense2 as rs\n"
        "i = rs.camera_info\n"
        "for d in rs.context().query_devices():\n"
        "    print(d.get_info(i.name), d.get_info(i.serial_number), d.get_info(i.usb_type_descriptor), sep='|')\n"
    )
    _, said, _ = run([sys.executable, "-c", script])
    found = []
    for line in said.splitlines():
        name, serial, usb = line.split("|")
        try:
            found.append(Camera(f"{name} {serial}", float(usb)))
        except ValueError:
            found.append(Camera(f"{name} {serial}", 0.0))
    return found


def gpu_name() -> str:
    """The first NVIDIA GPU; empty when there is none."""
    code, said, _ = run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"])
    return said.splitlines()[0].strip() if code == 0 and said.strip() else ""


def onnx_providers() -> list[str]:
    code, said, _ = run([sys.executable, "-c", "import onnxruntime as o; print(*o.get_available_providers())"])
    return said.split() if code == 0 else []


def bundle_error(bundle: Path | None, robot: str) -> str:
    """Why the bundle cannot be used for the robot; empty when it can, or when none was given."""
    from fosp_bringup.paths import robot_path
    from fosp_core.bundle import verify_bundle
    from fosp_core.specs import read_robot

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
    return lines[-1][:200] if lines else f"it ended with {code}"


def _sysctl(name: str) -> int:
    text = _read(f"/proc/sys/{name}").strip()
    return int(text) if text.isdecimal() else 0


def _read(path: Path | str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
