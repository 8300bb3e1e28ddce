"""`fosp robot new`: what it asks, what it writes, and what it refuses."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fosp_cli.cli import run
from fosp_cli.commissioning.new_robot import QUESTIONS, answered, robot_text
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.specs import parse_spec, parse_yaml

ARM = {
    "name": "my_arm",
    "kind": "arm",
    "workspace": "0.3,-0.3,0.05, 0.6,0.3,0.4",
    "command_topic": "arm/command",
    "pose_topic": "tool_pose",
    "estops": "estop/door,estop/desk",
}
BASE = {"name": "my_base", "kind": "base", "estops": "none"}


def robot_of(given: dict[str, str]) -> RobotConfig:
    return parse_spec(RobotConfig, parse_yaml(robot_text(answered(given, None)), "test"), "test")


def test_an_arm_and_a_base_need_only_what_has_no_default() -> None:
    arm = robot_of(ARM)
    assert (arm.kind, arm.pose_topic, arm.estop_topics) == ("arm", "tool_pose", ("estop/door", "estop/desk"))
    assert arm.workspace is not None
    assert arm.workspace.upper == (0.6, 0.3, 0.4)
    base = robot_of(BASE)
    assert [axis.name for axis in base.action.axes] == ["linear.x", "angular.z"]
    assert (base.command_topic, base.state_type, base.estop_topics) == ("cmd_vel", "Odometry", ())


def test_every_answer_reaches_the_file() -> None:
    arm = robot_of(
        {
            **ARM,
            "axes": "linear.x,linear.y,angular.z",
            "frame": "fr3_link0",
            "linear_scale": "0.1",
            "linear_speed": "0.2",
            "linear_acceleration": "1",
            "linear_deceleration": "3",
            "angular_scale": "0.3",
            "angular_speed": "0.4",
            "angular_acceleration": "2",
            "angular_deceleration": "5",
            "command_type": "PoseStamped",
            "target_lead": "0.3",
            "command_rate_hz": "250",
            "command_timeout_s": "0.2",
            "state_topic": "fr3/joint_states",
            "state_type": "JointState",
            "camera": "opencv:/dev/v4l/by-id/usb-a:b",
            "camera_rate_hz": "60",
        }
    )
    assert (arm.action.frame_id, arm.action.scale) == ("fr3_link0", (0.1, 0.1, 0.3))
    assert arm.limits["linear.y"].model_dump(exclude_none=True) == {"speed": 0.2, "acceleration": 1, "deceleration": 3}
    assert arm.limits["angular.z"].deceleration == 5
    assert (arm.command_type, arm.command_rate_hz, arm.command_timeout_s) == ("PoseStamped", 250, 0.2)
    assert (arm.state_topic, arm.camera_frame_rate_hz) == ("fr3/joint_states", 60)
    assert (arm.cameras[0].source, arm.cameras[0].device) == ("opencv", "/dev/v4l/by-id/usb-a:b")


@pytest.mark.parametrize(
    ("camera", "serial", "topics"),
    [("realsense", "", {}), ("realsense:0123", "0123", {}), ("driver:/zed/image", "", {"camera": "/zed/image"})],
)
def test_a_camera_is_opened_here_or_comes_from_its_driver(camera: str, serial: str, topics: dict[str, str]) -> None:
    robot = robot_of({**BASE, "camera": camera})
    assert robot.cameras[0].serial == serial
    assert list(robot.camera_topics.values()) == list(topics.values())


def test_every_value_has_a_comment_with_its_unit() -> None:
    text = robot_text(answered(ARM, None))
    for key, unit in (("scale", "m/s"), ("workspace:", "m,"), ("command_rate_hz", "Hz"), ("command_timeout_s", "s,")):
        line = next(line for line in text.splitlines() if key in line and "#" in line and not line.startswith("#"))
        assert unit in line.partition("#")[2]


def test_what_is_missing_is_named_all_at_once() -> None:
    with pytest.raises(UserError, match="give --workspace, --command-topic, --pose-topic, --estops"):
        answered({"name": "a", "kind": "arm"}, None)
    with pytest.raises(UserError, match="give --kind, --estops"):
        answered({"name": "a"}, None)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"name": "1st"}, "NAME 1st"),
        ({"kind": "boat"}, "one of arm, base"),
        ({"axes": "linear.x,linear.x"}, "each once"),
        ({"axes": "up"}, "linear.x"),
        ({"linear_scale": "0"}, "above 0"),
        ({"linear_scale": "nan"}, "above 0"),
        ({"linear_scale": "fast"}, "must be a number"),
        ({"workspace": "0,0,0"}, "six numbers"),
        ({"workspace": "0,0,0,1,1,-1"}, "below the upper"),
        ({"command_topic": "a b"}, "a space"),
        ({"estops": "a//b"}, "//"),
        ({"camera": "opencv"}, "opencv:DEVICE"),
        ({"frame": "a b"}, "TF frame"),
        ({"angular_scale": "1"}, "does not apply"),
        ({"target_lead": "0.1"}, "does not apply"),
        ({"linear_speed": "0.01"}, "below its action scale"),
        ({"command_timeout_s": "0.01"}, "3 periods"),
        ({"pose_topic": "arm/command"}, "must not be the command_topic"),
    ],
)
def test_a_wrong_answer_is_refused_with_what_is_wrong(changed: dict[str, str], says: str) -> None:
    with pytest.raises(UserError) as error:
        robot_text(answered({**ARM, **changed}, None))
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_person_is_asked_again_until_the_answer_is_right() -> None:
    said: Iterator[str] = iter(["boat", "base"])
    asked: list[str] = []

    def ask(text: str, default: str | None) -> str:
        asked.append(text)
        return next(said) if "arm or a mobile base" in text else "" if default is not None else "none"

    answers = answered({"name": "mine"}, ask)
    assert answers["kind"] == "base"
    assert any("'boat' must be one of arm, base" in text for text in asked)
    assert not any("Workspace" in text for text in asked), "a base is not asked for an arm's"


def test_the_file_is_written_checked_and_never_replaced_unasked(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    new = ["robot", "new", "my_base", "--yes", "--kind", "base", "--estops", "none"]
    assert run(new) == 0
    assert read_robot(tmp_path / "my_base.yaml").name == "my_base"
    assert "fosp commission --robot my_base.yaml" in capsys.readouterr().out
    (tmp_path / "my_base.yaml").write_text("mine")
    (tmp_path / "my_base.commissioning.yaml").write_text("record")
    assert run([*new, "--linear-scale", "0.3"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "my_base.yaml").read_text() == "mine"
    assert run([*new, "--linear-scale", "0.3", "--overwrite"]) == 0
    assert read_robot(tmp_path / "my_base.yaml").action.scale[0] == 0.3
    assert "commission the robot anew" in capsys.readouterr().out
    assert run([*new, "--out", "no/where.yaml"]) == 2
    assert run([*new, "--out", "my_base.txt"]) == 2
    assert run([*new, "--out", "other.yaml", "--linear-scale", "5"]) == 0
    assert run([*new, "--out", "wrong.yaml", "--linear-scale", "5", "--linear-speed", "1"]) == 2
    assert not (tmp_path / "wrong.yaml").exists()


def test_at_a_terminal_it_asks(tmp_path: Path) -> None:
    lead, follow = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "fosp_cli.cli", "robot", "new", "my_base", "--kind", "base"],
        cwd=tmp_path, stdin=follow, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    os.write(lead, b"\n" * (len(QUESTIONS) - 4) + b"none\n\n\n\n\n")
    said, _ = process.communicate(timeout=60)
    os.close(lead)
    os.close(follow)
    assert process.returncode == 0, said
    assert "Limit of the linear speed, m/s [0.25]" in said
    assert read_robot(tmp_path / "my_base.yaml").limits["linear.x"].speed == 0.25
