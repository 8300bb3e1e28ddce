"""Two graphs under the same names are kept apart: a lock, here without listening to the network."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fosp_bringup.environment import LOOPBACK_PROFILE, PROFILE, environment, settings
from fosp_bringup.neighbours import choose_domain, heard_graph, names_node, ros_domain, sole_graph
from fosp_core.errors import UserError

HOLDER = """
import sys
from pathlib import Path
from fosp_bringup.neighbours import sole_graph
with sole_graph("", folder=Path(sys.argv[1]), listen_s=0):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """Another process with a graph in domain 7."""
    monkeypatch.setenv("ROS_DOMAIN_ID", "7")
    for name in settings():
        monkeypatch.delenv(name, raising=False)
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.communicate()


def test_a_second_graph_in_a_domain_is_refused_with_host_and_process(
    other: subprocess.Popen[str], tmp_path: Path
) -> None:
    with pytest.raises(UserError) as refusal, sole_graph(folder=tmp_path, listen_s=0):
        pass
    assert f"domain 7 on {socket.gethostname()} (process {other.pid}" in str(refusal.value)
    assert "--domain auto" in str(refusal.value)
    with sole_graph("left", folder=tmp_path, listen_s=0), sole_graph("left", folder=tmp_path, listen_s=0):
        pass  # another namespace is another graph, and the process that holds it may enter again


def test_the_names_are_free_again_when_their_process_was_killed(other: subprocess.Popen[str], tmp_path: Path) -> None:
    other.kill()
    other.wait()
    with sole_graph(folder=tmp_path, listen_s=0):
        pass
    with sole_graph(folder=tmp_path, listen_s=0):
        pass


def test_the_automatic_domain_is_one_without_a_graph(
    other: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fosp_bringup.neighbours._AUTOMATIC_DOMAINS", range(7, 9))
    assert choose_domain("auto", tmp_path) == ros_domain() == 8
    monkeypatch.setattr("fosp_bringup.neighbours._AUTOMATIC_DOMAINS", range(7, 8))
    with pytest.raises(UserError, match="every ROS domain"):
        choose_domain("auto", tmp_path)
    assert choose_domain("12") == ros_domain() == 12


@pytest.mark.parametrize("domain", ["-1", "233", "seven", "1.5"])
def test_a_domain_that_does_not_exist_is_refused(domain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", "0")
    with pytest.raises(UserError, match="from 0 to 232"):
        choose_domain(domain)


def test_a_status_is_of_a_node_by_its_full_name() -> None:
    assert names_node("lifecycle_manager: graph", "/lifecycle_manager")
    assert names_node("/left/lifecycle_manager: graph", "/left/lifecycle_manager")
    assert not names_node("/left/lifecycle_manager: graph", "/lifecycle_manager")


def test_a_graph_that_stays_here_has_the_profile_of_the_loopback_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", settings()["FASTDDS_DEFAULT_PROFILES_FILE"])
    assert Path(environment()["FASTDDS_DEFAULT_PROFILES_FILE"]).name == PROFILE
    profile = Path(environment(stays_here=True)["FASTDDS_DEFAULT_PROFILES_FILE"])
    assert profile.name == LOOPBACK_PROFILE
    assert "<address>127.0.0.1</address>" in profile.read_text()
    os.environ["FASTDDS_DEFAULT_PROFILES_FILE"] = "/etc/own.xml"
    assert environment(stays_here=True)["FASTDDS_DEFAULT_PROFILES_FILE"] == "/etc/own.xml"


@pytest.mark.parametrize(
    ("distribution", "old"), [("jazzy", True), ("kilted", False), ("lyrical", False), (None, True)]
)
def test_each_version_of_fast_dds_finds_its_profile(
    distribution: str | None, old: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version 2 knows the old variable alone; with version 3 every process would warn of it, or ignore it."""
    monkeypatch.delenv("ROS_DISTRO", raising=False)
    if distribution:
        monkeypatch.setenv("ROS_DISTRO", distribution)
    monkeypatch.delenv("FASTRTPS_DEFAULT_PROFILES_FILE", raising=False)
    profile = settings(stays_here=True)["FASTDDS_DEFAULT_PROFILES_FILE"]
    assert Path(profile).name == LOOPBACK_PROFILE
    assert environment(stays_here=True).get("FASTRTPS_DEFAULT_PROFILES_FILE") == (profile if old else None)


def test_the_arguments_of_ros2_launch_are_no_remap_rules_of_who_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    import rclpy

    taken: list[object] = []

    def init(args: list[str] | None = None, context: object = None) -> None:
        taken.append(args)
        raise InterruptedError

    monkeypatch.setattr(rclpy, "init", init)
    with pytest.raises(InterruptedError):
        heard_graph("")
    assert taken == [[]], "None would stand for sys.argv"
