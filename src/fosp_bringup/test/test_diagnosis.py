"""Each check of `fosp doctor` finds what it is for, says the remedy, and is content with a machine that is well."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

from fosp_bringup import probes
from fosp_bringup.diagnosis import (
    Camera,
    DdsSettings,
    Finding,
    Level,
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
from fosp_bringup.paths import robot_path, share
from fosp_bringup.probes import bundle_error, diagnose, domains_in_use, import_error, left_behind, realtime_granted, run
from fosp_core.specs import read_robot
from fosp_core.testing import write_tiny_bundle

NOW = 1_800_000_000.0
CPU, CUDA = ["CPUExecutionProvider"], ["CUDAExecutionProvider", "CPUExecutionProvider"]
REALSENSE = Camera("D435 1234", 3.2)


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
    check_camera([REALSENSE], 1, True),
    check_camera([Camera("/dev/video0")], 0, False),
    check_clock(NOW, True),
    check_clock(NOW, None),
    check_shared_memory(1 << 30, 0),
    check_realtime(True),
    check_bundle("models/safe_reach", "sim_arm", ""),
    check_domains(7, []),
    check_domains(7, [7]),
    check_cv_bridge("2.4.0", False, ""),
    check_cv_bridge("1.26.4", True, ""),
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
    (check_camera([], 0, True), Level.WARNING, "no RealSense", "camera:=none"),
    (check_camera([], 1, False), Level.ERROR, "pyrealsense2 is missing", "pip install pyrealsense2"),
    (check_camera([], 1, True), Level.ERROR, "cannot be opened", "udev rules"),
    (check_camera([Camera("D435 1", 2.1)], 1, True), Level.WARNING, "USB 2.1", "USB 3 port"),
    (check_clock(1000.0, True), Level.ERROR, "1970-01-01", "set-ntp true"),
    (check_clock(NOW, False), Level.WARNING, "not synchronised", "chrony"),
    (check_shared_memory(1 << 20, 0), Level.ERROR, "1 MiB free", "--shm-size"),
    (check_shared_memory(1 << 30, 3), Level.WARNING, "3 files of killed processes", "fosp up sim"),
    (check_realtime(False), Level.WARNING, "not granted", "rtprio 20"),
    (check_bundle("b", "ur5e", "b: bundle is for robot 'sim_arm'"), Level.ERROR, "for robot 'sim_arm'", "ur5e"),
    (check_domains(0, [0, 42]), Level.WARNING, "domain 0 and 42", "export ROS_DOMAIN_ID=42"),
    (check_domains(0, [42]), Level.WARNING, "domain 42, this terminal 0", "export ROS_DOMAIN_ID=42"),
    (check_cv_bridge("2.4.0", True, ""), Level.ERROR, "numpy 2.4.0", "numpy<2"),
    (check_cv_bridge("1.26.4", True, "libopencv"), Level.ERROR, "libopencv", "ros-jazzy-cv-bridge"),
]


@pytest.mark.parametrize("finding", WELL, ids=lambda finding: finding.check)
def test_a_machine_that_is_well_needs_no_remedy(finding: Finding) -> None:
    assert (finding.level, finding.remedy) == (Level.OK, "")


@pytest.mark.parametrize(("finding", "level", "says", "remedy"), BROKEN, ids=[f[0].says[:40] for f in BROKEN])
def test_what_is_broken_is_found_with_its_remedy(finding: Finding, level: Level, says: str, remedy: str) -> None:
    assert finding.level is level
    assert says in finding.says
    assert remedy in finding.remedy
    assert "\n" not in finding.says + finding.remedy


def test_every_check_is_explained_in_the_docs() -> None:
    if not (share() / "docs").is_dir():
        pytest.skip("the docs are not installed")
    headings = re.findall(r"^## (.+)$", (share() / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    assert {finding.check for finding in WELL} <= set(headings)


def test_the_checks_of_this_machine_all_run() -> None:
    findings = diagnose()
    assert [f.check for f in findings if f.check in ("Python", "ROS") and f.level is not Level.OK] == []
    assert {finding.check for finding in findings} == {finding.check for finding in WELL}


def test_realtime_priority_is_asked_for_and_a_refusal_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = (1, "", "PermissionError: [Errno 1] Operation not permitted")
    monkeypatch.setattr(probes, "run", lambda command: refused if "sched_setscheduler" in command[-1] else (0, "", ""))
    assert not realtime_granted()


def test_a_missing_package_is_told_by_the_last_line_of_its_error() -> None:
    assert import_error("json") == ""
    assert import_error("no_such_package") == "ModuleNotFoundError: No module named 'no_such_package'"
    assert import_error("os; os.abort()").startswith(("it ended with", "Fatal"))


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
