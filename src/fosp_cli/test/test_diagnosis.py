"""Each check of `fosp doctor` finds what it is for, says the remedy, and is content with a machine that is well."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_bundle import write_tiny_bundle

from fosp_bringup.paths import robot_path, share
from fosp_cli.doctor import probes
from fosp_cli.doctor.diagnosis import (
    Camera,
    Cameras,
    DdsSettings,
    DecisionTimes,
    Diagnosis,
    Level,
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
    write_error,
)
from fosp_cli.doctor.probes import (
    bundle_error,
    diagnose,
    domains_in_use,
    import_error,
    left_behind,
    realtime_granted,
    run,
)
from fosp_cli.doctor.speed import decision_times
from fosp_core.robot.config import CameraConfig, read_robot

NOW = 1_800_000_000.0
CPU, CUDA = ["CPUExecutionProvider"], ["CUDAExecutionProvider", "CPUExecutionProvider"]
REALSENSE = Camera("D435", 3.2, "1234")


def dds(**changes: str) -> DdsSettings:
    values = {"rmw": "", "transports": "", "expected_transports": "UDPv4", "discovery_range": "", "localhost_only": ""}
    return DdsSettings(**{**values, **changes})


WELL = [
    check_python((3, 12)),
    check_ros("jazzy", ""),
    check_dds(dds()),
    check_dds(dds(rmw="rmw_fastrtps_cpp", transports="UDPv4", discovery_range="SUBNET", localhost_only="0")),
    check_socket_buffers(4_194_304, 8_000_000),
    check_gl(""),
    check_gpu("", CPU),
    check_gpu("H200", CUDA),
    check_camera(Cameras((REALSENSE,), realsense=1, driver=True), ["1234"]),
    check_camera(Cameras((Camera("/dev/video0"),))),
    check_gamepad([], []),
    check_gamepad(["/dev/input/event5"], []),
    check_clock(NOW, True),
    check_clock(NOW, None),
    check_shared_memory(1 << 30, 0),
    check_realtime(True),
    check_bundle("models/safe_reach", "sim_arm", ""),
    check_domains(7, []),
    check_domains(7, [7]),
    check_log_folder("HOME", Path("/home/me/.ros/log"), ""),
    check_node(StartedNode(others=("/camera/driver", "/_ros2cli_daemon_0"))),
    check_gpu("H200", CUDA, {"cpu": "", "cuda": ""}),
    check_socket_buffers(4_194_304, 8_000_000, 1_048_576),
    check_cv_bridge("2.4.0", False, ""),
    check_cv_bridge("1.26.4", True, ""),
    check_speed(DecisionTimes(0.05, (0.004,) * 99)),
    check_speed(None),
]

BROKEN = [
    (check_python((3, 10)), Level.ERROR, "3.10 is not supported", "Python 3.12"),
    (check_python((3, 14)), Level.ERROR, "3.14 is not supported", "Python 3.12"),
    (check_ros("humble", ""), Level.ERROR, "humble", "source /opt/ros/jazzy/setup.bash"),
    (check_ros("jazzy", "No module named 'rclpy'"), Level.ERROR, "rclpy", "make setup"),
    (check_dds(dds(rmw="rmw_cyclonedds_cpp")), Level.WARNING, "cyclonedds", "unset RMW_IMPLEMENTATION"),
    (check_dds(dds(transports="LARGE_DATA")), Level.WARNING, "LARGE_DATA", "unset FASTDDS_BUILTIN_TRANSPORTS"),
    (check_dds(dds(discovery_range="LOCALHOST")), Level.WARNING, "shared memory", "ROS_DOMAIN_ID"),
    (check_dds(dds(localhost_only="1")), Level.WARNING, "ROS_LOCALHOST_ONLY", "ROS_DOMAIN_ID"),
    (check_socket_buffers(212_992, 4_194_304), Level.WARNING, "212992", "sysctl --system"),
    (check_socket_buffers(4_194_304, 212_992), Level.WARNING, "212992", "net.core.wmem_max=4194304"),
    (check_socket_buffers(0, 0), Level.WARNING, "cannot be read", "rmem_max"),
    (check_gl("libEGL.so.1: cannot open"), Level.WARNING, "libEGL.so.1", "apt install libegl1"),
    (check_gl("ModuleNotFoundError: No module named 'mujoco'"), Level.WARNING, "not installed", "requirements/sim.txt"),
    (check_gpu("H200", CPU), Level.WARNING, "runs on the CPU", "pip install onnxruntime-gpu"),
    (check_gpu("", CUDA), Level.WARNING, "there is no GPU", "driver"),
    (check_camera(Cameras(driver=True)), Level.WARNING, "no RealSense", "camera:=none"),
    (check_camera(Cameras(realsense=1)), Level.ERROR, "pyrealsense2 is missing", "pip install pyrealsense2"),
    (check_camera(Cameras(realsense=1, driver=True)), Level.ERROR, "cannot be opened", "udev rules"),
    (check_camera(Cameras((Camera("D435", 2.1),), realsense=1, driver=True)), Level.WARNING, "USB 2.1", "USB 3 port"),
    (check_camera(Cameras(denied=("/dev/video0",))), Level.ERROR, "video0 is there, but", "usermod -aG video"),
    (check_camera(Cameras((REALSENSE,), (), (), 1, True), ["99"]), Level.ERROR, "RealSense 99", "robot file"),
    (check_camera(Cameras(absent=("/dev/v4l/by-id/left",))), Level.ERROR, "/dev/v4l/by-id/left", "robot file"),
    (check_gamepad([], ["/dev/input/event5"]), Level.WARNING, "event5 may not be read", "usermod -aG input"),
    (check_clock(1000.0, True), Level.ERROR, "1970-01-01", "set-ntp true"),
    (check_clock(NOW, False), Level.WARNING, "not synchronised", "chrony"),
    (check_shared_memory(1 << 20, 0), Level.ERROR, "1 MiB free", "--shm-size"),
    (check_shared_memory(1 << 30, 3), Level.WARNING, "3 files of killed processes", "fosp up sim"),
    (check_realtime(False), Level.WARNING, "not granted", "rtprio 20"),
    (check_bundle("b", "ur5e", "b: bundle is for robot 'sim_arm'"), Level.ERROR, "for robot 'sim_arm'", "ur5e"),
    (check_dds(dds(discovery_range="OFF")), Level.ERROR, "no node finds another", "unset ROS_AUTOMATIC_DISCOVERY"),
    (check_dds(dds(discovery_range="subnet")), Level.WARNING, "'subnet', which ROS does not know", "SUBNET"),
    (check_socket_buffers(4_194_304, 4_194_304, 212_992), Level.WARNING, "rmem_default", "net.core.rmem_default="),
    (check_gpu("H200", CUDA, {"cuda": "libcublas"}), Level.WARNING, "does not run on it: libcublas", "cuDNN"),
    (check_gpu("", CPU, {"cpu": "illegal"}), Level.ERROR, "not even on the CPU: illegal", "reinstall onnxruntime"),
    (check_shared_memory(-1, 0), Level.WARNING, "cannot be written", "tmpfs"),
    (check_log_folder("HOME", Path("/proc/.ros/log"), "No such file"), Level.ERROR, "no node starts", "ROS_LOG_DIR="),
    (check_log_folder("HOME", None, "it is not set"), Level.ERROR, "HOME (by HOME)", "ROS_LOG_DIR="),
    (check_node(StartedNode("RCLError: no rmw")), Level.ERROR, "no node can start here: RCLError", "RMW_IMPL"),
    (check_node(StartedNode(others=("/a/safety_monitor_node",))), Level.WARNING, "a stack runs", "ROS_DOMAIN_ID"),
    (check_domains(0, [0, 42]), Level.WARNING, "domain 0 and 42", "export ROS_DOMAIN_ID=42"),
    (check_domains(0, [42]), Level.WARNING, "domain 42, this terminal 0", "export ROS_DOMAIN_ID=42"),
    (
        check_speed(DecisionTimes(0.05, (0.004,) * 90 + (0.03,) * 10)),
        Level.WARNING,
        "20 Hz with a margin of 1.7",
        "power",
    ),
    (check_speed(DecisionTimes(0.05, (0.004,) * 90 + (0.06,) * 10)), Level.ERROR, "late decisions will stop", "faster"),
    (
        check_cv_bridge("2.4.0", True, ""),
        Level.ERROR,
        "numpy 2.4.0",
        "ubuntu.txt -c requirements/constraints-ubuntu.txt",
    ),
    (check_cv_bridge("1.26.4", True, "libopencv"), Level.ERROR, "libopencv", "ros-jazzy-cv-bridge"),
]


@pytest.mark.parametrize("finding", WELL, ids=lambda finding: finding.check)
def test_a_machine_that_is_well_needs_no_remedy(finding: Diagnosis) -> None:
    assert (finding.level, finding.remedy) == (Level.OK, "")


@pytest.mark.parametrize(("finding", "level", "says", "remedy"), BROKEN, ids=[f[0].says[:40] for f in BROKEN])
def test_what_is_broken_is_found_with_its_remedy(finding: Diagnosis, level: Level, says: str, remedy: str) -> None:
    assert finding.level is level
    assert says in finding.says
    assert remedy in finding.remedy
    assert "\n" not in finding.says + finding.remedy


@pytest.mark.parametrize(
    ("given", "says", "level"),
    [
        ("300", "the highest is 232", Level.ERROR),
        ("233", "the highest is 232", Level.ERROR),
        ("abc", "no number", Level.ERROR),
        ("-1", "no number", Level.ERROR),
        ("1.5", "no number", Level.ERROR),
        ("150", "a node may fail to start now and then", Level.WARNING),
    ],
)
def test_a_domain_id_with_which_nodes_end_is_found(given: str, says: str, level: Level) -> None:
    finding = check_domain_id(given, (32768, 60999))
    assert finding is not None
    assert says in finding.says
    assert finding.level is level
    assert "0 to 101" in finding.remedy


@pytest.mark.parametrize("given", ["", "0", "42", "101", " 7", "232"])
def test_a_domain_id_that_ros_takes_is_no_finding(given: str) -> None:
    assert check_domain_id(given, (32768, 60999)) is None
    assert check_domain_id(given, local_ports("damaged")) is None


def test_the_log_folder_is_where_ros_looks_for_it() -> None:
    assert log_folder({"HOME": "/h", "ROS_LOG_DIR": "/l", "ROS_HOME": "/r"}) == ("ROS_LOG_DIR", Path("/l"))
    assert log_folder({"HOME": "/h", "ROS_LOG_DIR": "", "ROS_HOME": "~/r"}) == ("ROS_HOME", Path("/h/r/log"))
    assert log_folder({"HOME": "/h"}) == ("HOME", Path("/h/.ros/log"))
    assert log_folder({}) == ("HOME", None)


def test_a_folder_that_cannot_be_written_is_found_also_by_root(tmp_path: Path) -> None:
    assert write_error(tmp_path / "new" / "log") == ""
    assert list((tmp_path / "new" / "log").iterdir()) == []
    (tmp_path / "file").touch()
    assert write_error(tmp_path / "file" / "log") == "Not a directory"
    assert write_error(Path("/proc/.ros/log")) != ""


def test_every_check_is_explained_in_the_docs() -> None:
    if not (share() / "docs").is_dir():
        pytest.skip("the docs are not installed")
    headings = re.findall(r"^## (.+)$", (share() / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    assert {finding.check for finding in WELL} <= set(headings)


def test_the_speed_is_measured_with_a_bundle_and_not_without_a_usable_one(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "bundle", read_robot(robot_path("sim_arm")))
    measured = decision_times(tmp_path / "bundle", measured_s=0.3)
    assert measured is not None
    assert len(measured.times_s) == round(0.3 / measured.period_s) - 1
    assert min(measured.times_s) > 0.0
    assert decision_times(tmp_path / "nothing") is None


def test_the_speed_is_measured_without_the_simulator() -> None:
    code = "import sys; sys.modules['mujoco'] = None; import fosp_cli.doctor.speed, fosp_cli.evaluation.agent"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60.0)


def test_the_checks_of_this_machine_all_run() -> None:
    findings = diagnose()  # five seconds of it measure decisions
    assert [f.check for f in findings if f.check in ("Python", "ROS") and f.level is not Level.OK] == []
    assert {finding.check for finding in findings} == {finding.check for finding in WELL}


def usb_device(sys_root: Path, name: str, vendor: str, product: str) -> None:
    folder = sys_root / "bus/usb/devices" / name
    folder.mkdir(parents=True)
    (folder / "idVendor").write_text(f"{vendor}\n")
    (folder / "idProduct").write_text(f"{product}\n")


def test_a_realsense_on_the_bus_is_asked_for_its_name_serial_number_and_usb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usb_device(tmp_path, "2-1", "8086", "0b07")
    usb_device(tmp_path, "1-4", "046d", "c52b")
    said = "warning of the driver\n2.1|1234|Intel RealSense D435\n|99|Intel RealSense D405\n"
    monkeypatch.setattr(probes, "run", lambda command: (0, said, ""))
    found = probes.cameras(sys_root=tmp_path, dev_root=tmp_path)
    assert found.realsense == 1
    if found.driver:
        names = [Camera("Intel RealSense D435", 2.1, "1234"), Camera("Intel RealSense D405", 0.0, "99")]
        assert list(found.opened) == names
        assert "USB 2.1" in check_camera(found).says


def test_a_camera_that_this_user_may_not_open_is_no_missing_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("video0", "video1"):
        (tmp_path / name).touch()
    wanted = [CameraConfig(source="opencv", device=str(tmp_path / name)) for name in ("video1", "video7")]
    monkeypatch.setattr(probes, "_may_open", lambda path, mode=0: path.name != "video1")
    found = probes.cameras(wanted, sys_root=tmp_path, dev_root=tmp_path)
    assert [camera.name for camera in found.opened] == [str(tmp_path / "video0")]
    assert found.denied == (str(tmp_path / "video1"),)
    assert found.absent == (str(tmp_path / "video7"),)
    assert "may not open" in check_camera(found).says


def test_settings_of_the_kernel_are_read_and_one_that_is_not_there_is_zero(tmp_path: Path) -> None:
    (tmp_path / "sys/net/core").mkdir(parents=True)
    (tmp_path / "sys/net/core/rmem_max").write_text("212992\n")
    sizes = [probes.sysctl(f"net/core/{name}", tmp_path) for name in ("rmem_max", "wmem_max")]
    assert sizes == [212_992, 0]
    assert check_socket_buffers(*sizes).level is Level.WARNING


def test_a_gamepad_is_found_by_the_events_that_joy_node_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "class/input/js0/device/event5").mkdir(parents=True)
    monkeypatch.setattr(probes, "_may_open", lambda path, mode: path.name != "event5")
    assert probes.gamepads(tmp_path, tmp_path) == ([], [str(tmp_path / "input/event5")])


@pytest.mark.slow
def test_the_command_finds_what_is_really_broken_and_exits_with_1(tmp_path: Path) -> None:
    """A cv_bridge whose compiled part was built for another numpy, no GL, another robot's bundle, a second domain."""
    compiled = tmp_path / "path/cv_bridge/boost"
    compiled.mkdir(parents=True)
    (compiled.parent / "__init__.py").write_text("try:\n    from cv_bridge.boost.cv_bridge_boost import getCvType\n"
                                                 "except ImportError:\n    pass\n")  # fmt: skip
    (compiled / "__init__.py").touch()
    (compiled / "cv_bridge_boost.py").write_text("raise ImportError('numpy.core.multiarray failed to import')\n")
    write_tiny_bundle(tmp_path / "bundle", read_robot(robot_path("sim_arm")))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as node:
        node.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        node.bind(("", 7400 + 250 * 231))
        done = subprocess.run(
            [*(sys.executable, "-m", "fosp_cli.cli", "doctor", "--json"),
             *("--robot", "sim_base", "--bundle", str(tmp_path / "bundle"))],
            env={**os.environ, "PYTHONPATH": f"{tmp_path / 'path'}:{os.environ['PYTHONPATH']}", "ROS_DOMAIN_ID": "230",
                 "__EGL_VENDOR_LIBRARY_FILENAMES": "/nonexistent", "MUJOCO_GL": "egl"},
            capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
    assert done.returncode == 1, done.stderr
    found = {finding["check"]: finding for finding in json.loads(done.stdout)}
    assert found["Bundle"]["level"] == "error"
    assert "sim_arm" in found["Bundle"]["says"]
    assert found["cv_bridge"]["level"] == "error"
    assert found["GL"]["level"] == "warning"
    assert "231" in found["ROS domain"]["says"]
    assert all(finding["remedy"] for finding in (found[name] for name in ("Bundle", "cv_bridge", "GL", "ROS domain")))


def test_realtime_priority_is_asked_for_and_a_refusal_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = (1, "", "PermissionError: [Errno 1] Operation not permitted")
    monkeypatch.setattr(probes, "run", lambda command: refused if "sched_setscheduler" in command[-1] else (0, "", ""))
    assert not realtime_granted()


def test_a_missing_package_is_told_by_the_last_line_of_its_error() -> None:
    assert import_error("json") == ""
    assert import_error("no_such_package") == "ModuleNotFoundError: No module named 'no_such_package'"
    assert import_error("os; os.abort()").startswith(("it exited with", "Fatal"))


def test_a_command_that_is_not_there_or_does_not_end_is_no_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(["no-such-command"])[0] == 127
    monkeypatch.setattr(probes, "_TIMEOUT_S", 0.1)
    assert run(["sleep", "10"])[0] == 124


def test_a_domain_is_seen_by_the_port_that_its_nodes_listen_to() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("", 7400 + 250 * 97))
        assert 97 in domains_in_use()
    assert domains_in_use("header\n 1: 00000000:1CE8 00000000:0000\n 2: 00000000:1D01 0:0\n 3: 0:0035 0:0") == [0]


def test_a_bundle_for_another_robot_is_found(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "bundle", read_robot(robot_path("sim_arm")))
    assert bundle_error(tmp_path / "bundle", "sim_arm") == ""
    assert "for robot 'sim_arm', not 'sim_base'" in bundle_error(tmp_path / "bundle", "sim_base")
    assert bundle_error(None, "") == ""


def test_files_of_a_dead_process_are_counted_and_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fosp_bringup import shared_memory

    path = tmp_path / "fastrtps_0123456789abcdef"
    path.write_bytes(b"")
    monkeypatch.setattr(shared_memory.dead_files, "__defaults__", (tmp_path,))
    monkeypatch.setattr(shared_memory, "NEWBORN_S", -1.0)
    assert left_behind() == 1
    assert path.exists()
    assert os.listdir(tmp_path) == [path.name]
