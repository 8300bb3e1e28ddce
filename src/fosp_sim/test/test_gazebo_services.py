"""Changes of Gazebo's world count once they are carried out; what cannot be done is told in one line; its speed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fosp_core.errors import UserError
from fosp_sim.gazebo import services as gazebo_services
from fosp_sim.gazebo.real_time_factor import FIRST_S, WINDOW_S, RealTimeFactor, require_fast_enough, too_slow_because
from fosp_sim.gazebo.services import (
    WorldServices,
    call,
    create_command,
    missing_because,
    named_positions,
    place_command,
    remove_command,
)

POSES = """header {
  stamp {
    sec: 12
    nsec: 345000000
  }
}
pose {
  name: "robot"
  id: 9
  position {
    x: 0.25
    z: 0.05
  }
  orientation {
    w: 1
  }
}
pose {
  name: "scene_3"
  id: 41
  position {
  }
  orientation {
    w: 1
  }
}
pose {
  name: "robot"
  id: 10
  position {
    x: 1
    y: -2e-05
  }
}
"""

SERVER = """#!/bin/sh
echo "$*" >> {folder}/asked
case "$1 $2" in
"service -l") cat {folder}/services ;;
"topic -e") n=$(cat {folder}/n); n=$((n + 1)); echo $n > {folder}/n
  cat {folder}/poses$n 2>/dev/null || cat {folder}/poses ;;
"service -s") echo "data: true" ;;
esac
"""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that a `gz` answers from: `services`, `poses` and, for the first calls, `poses1`, `poses2`..."""
    (tmp_path / "n").write_text("0")
    (tmp_path / "asked").touch()
    (tmp_path / "services").write_text("/world/w/create\n/world/w/remove\n")
    (tmp_path / "poses").write_text(POSES)
    tool = tmp_path / "gz"
    tool.write_text(SERVER.format(folder=tmp_path))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def asked(folder: Path) -> list[str]:
    return (folder / "asked").read_text().splitlines()


def test_a_model_s_text_reaches_gazebo_as_one_argument() -> None:
    command = create_command("w", '<sdf a="\\">')
    assert command[-1] == 'sdf: "<sdf a=\\"\\\\\\">"'
    assert command[:4] == ["gz", "service", "-s", "/world/w/create"]
    assert create_command("w", "", blocking=True)[3] == "/world/w/create/blocking"
    assert remove_command("w", "scene_1")[-1] == 'name: "scene_1" type: MODEL'
    assert "x: 1 y: 2 z: 0.05" in place_command("w", "robot", (1.0, 2.0, 0.05), 0.0)[-1]


@pytest.mark.parametrize(
    ("script", "said"),
    [("exit 3", "exit code 3"), ("echo 'data: false'", "refused /world/w/remove"), ("echo timeout", "timeout")],
)
def test_what_gazebo_refuses_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, script: str, said: str
) -> None:
    tool = tmp_path / "gz"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(UserError, match=said):
        call(remove_command("w", "scene_1"))
    tool.write_text("#!/bin/sh\necho 'data: true'\n")
    call(remove_command("w", "scene_1"))


def test_gazebo_that_is_not_installed_or_hangs_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="apt install ros-jazzy-ros-gz"):
        call(remove_command("w", "scene_1"))
    tool = tmp_path / "gz"
    tool.write_text("#!/bin/sh\nexec /bin/sleep 10\n")
    tool.chmod(0o755)
    monkeypatch.setattr(gazebo_services, "TIMEOUT_MS", 30)
    with pytest.raises(UserError, match="did not answer"):
        call(remove_command("w", "scene_1"))


def test_a_new_server_is_asked_by_the_services_that_answer_when_the_change_is_done(server: Path) -> None:
    (server / "services").write_text("/world/w/create\n/world/w/create/blocking\n")
    services = WorldServices("w")
    services.create("<sdf/>", "scene_4")
    services.remove("scene_3")
    services.place("robot", (1.0, 2.0, 0.05), 0.0)
    listed, *changes = asked(server)
    assert listed == "service -l"
    assert [line.split()[2] for line in changes] == [
        f"/world/w/{name}/blocking" for name in ("create", "remove", "set_pose")
    ]


def test_what_an_old_server_only_queued_is_awaited_on_the_topic_of_poses(server: Path) -> None:
    (server / "poses3").write_text(POSES.replace("scene_3", "scene_4"))
    WorldServices("w").create("<sdf/>", "scene_4")
    assert asked(server)[1].startswith("service -s /world/w/create --")
    assert asked(server)[2:] == ["topic -e -n 1 -t /world/w/pose/info"] * 3, "not in the first two"


def test_a_base_of_an_old_server_is_awaited_at_its_new_place(server: Path) -> None:
    (server / "poses2").write_text(POSES.replace("x: 0.25", "x: 0.5\n    y: -0.5"))
    WorldServices("w").place("robot", (0.5, -0.5, 0.05), 1.0)
    assert len(asked(server)) == 4


def test_what_an_old_server_queued_and_never_did_is_refused(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gazebo_services, "CONFIRM_S", 0.2)
    services = WorldServices("w")
    for change, said in (
        (lambda: services.create("<sdf/>", "scene_4"), "to create scene_4"),
        (lambda: services.remove("scene_3"), "to remove scene_3"),
        (lambda: services.place("robot", (5.0, 0.0, 0.05), 0.0), "to place robot"),
    ):
        with pytest.raises(UserError, match=f"Gazebo agreed {said}, and has not done so"):
            change()


def test_a_server_that_is_not_up_yet_is_asked_again(server: Path) -> None:
    services = WorldServices("another")
    with pytest.raises(UserError, match="serves no world another"):
        services.remove("scene_3")
    (server / "services").write_text("/world/another/create\n/world/another/create/blocking\n")
    services.remove("scene_3")


def test_the_topic_of_poses_is_read_as_the_tool_prints_it() -> None:
    assert named_positions(POSES) == {"robot": (0.25, 0.0, 0.05), "scene_3": (0.0, 0.0, 0.0)}
    assert named_positions("") == {}


def test_packages_that_a_checkout_hides_are_told_from_missing_ones(tmp_path: Path) -> None:
    assert "apt install ros-jazzy-ros-gz" in missing_because(tmp_path)
    (tmp_path / "share" / "ros_gz_bridge").mkdir(parents=True)
    assert "hides it" in missing_because(tmp_path)


def heard(factor: float, seconds: float) -> RealTimeFactor:
    clock = RealTimeFactor()
    for tick in range(round(seconds / 0.01) + 1):
        clock.clock(5.0 + factor * tick * 0.01, 100.0 + tick * 0.01)
    return clock


@pytest.mark.parametrize("factor", [0.3, 0.5, 1.0])
def test_the_real_time_factor_is_that_of_the_clock(factor: float) -> None:
    assert heard(factor, 10.0).value(110.0) == pytest.approx(factor, rel=0.01)
    assert heard(factor, 0.9 * FIRST_S).value(100.0 + 0.9 * FIRST_S) is None


def test_a_clock_that_stops_or_slows_down_is_noticed_within_the_window() -> None:
    clock = heard(1.0, 10.0)
    assert (clock.value(110.0 + WINDOW_S) or 0.0) < 0.1
    clock = heard(1.0, 10.0)
    for tick in range(1, 301):
        clock.clock(15.0 + 0.4 * tick * 0.01, 110.0 + tick * 0.01)
    assert clock.value(113.0) == pytest.approx(0.4, abs=0.02)


def test_a_clock_that_goes_back_is_measured_anew() -> None:
    clock = heard(1.0, 10.0)
    clock.clock(0.0, 110.1)
    assert clock.value(110.2) is None
    clock.clock(1.2, 111.3)
    assert clock.value(111.3) == pytest.approx(1.0, rel=0.01)


def test_a_world_that_is_too_slow_for_the_monitor_is_refused_with_its_factor() -> None:
    assert too_slow_because(0.5) == ""
    with pytest.raises(UserError, match=r"runs at 0\.41 of real time.* at least 0\.5"):
        require_fast_enough(0.412)
    with pytest.raises(UserError, match="not known"):
        require_fast_enough(None)
