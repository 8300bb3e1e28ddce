"""A person's mistakes: each is one line on stderr and exit code 2, and nothing is written or lost."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_bundle import write_tiny_bundle
from typer.main import get_command

from fosp_bringup.environment import settings
from fosp_bringup.paths import robot_path
from fosp_cli.cli import app, run
from fosp_cli.commands.help_texts import EXAMPLES
from fosp_core.robot.config import read_robot
from fosp_sim.demonstration.record import record_episodes
from fosp_sim.task.scenario import Scenario

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with a bundle for the arm and one recorded episode."""
    folder = tmp_path_factory.mktemp("made")
    robot = read_robot(robot_path("sim_arm"))
    write_tiny_bundle(folder / "bundle", robot)
    scenario = Scenario(task="safe_reach", seed=1, max_steps=5)
    list(record_episodes(scenario, robot, "careful", 1, folder / "bags"))
    return folder


@pytest.fixture
def folder(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "work"))


def refused(capsys, *arguments: object) -> str:
    """The one line that the command prints when it refuses."""
    code = run([str(argument) for argument in arguments])
    lines = capsys.readouterr().err.strip().splitlines()
    assert (code, len(lines)) == (2, 1), lines
    return lines[0]


def scenario_file(folder: Path, **content: object) -> Path:
    path = folder / "scenario.yaml"
    path.write_text(yaml.safe_dump({"task": "safe_reach", **content}))
    return path


def test_what_needs_torch_says_so_and_bags_are_checked_without(capsys, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "fosp_learner.pretrain", raising=False)
    line = refused(capsys, "pretrain", folder / "bags", "--out", folder / "new")
    assert line.startswith(
        "fosp: this command needs torch, which is not installed: pip install -r requirements/learner"
    )
    blocked = "import sys; sys.modules['torch'] = None; from fosp_cli.cli import run; sys.exit(run(sys.argv[1:]))"
    command = [sys.executable, "-c", blocked, "bags", "check", str(folder / "bags")]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "1 of 1 bags can be trained on" in checked.stdout, checked.stderr


def test_an_unknown_scenario_key_is_named_with_the_allowed_ones(capsys, folder):
    path = scenario_file(folder, obstacels={"count": 3})
    line = refused(capsys, "eval", "--bundle", folder / "bundle", "--scenario", path)
    assert "obstacels" in line
    assert "obstacles" in line
    path = scenario_file(folder, obstacles={"cuont": 3})
    line = refused(capsys, "record", "--scenario", path, "--out", folder / "new")
    assert "obstacles.cuont" in line
    assert "count, shape" in line
    assert not (folder / "new").exists()


def test_a_value_out_of_range_is_told_with_its_key(capsys, folder):
    path = scenario_file(folder, camera={"brightness": -1})
    assert "camera.brightness" in refused(capsys, "record", "--scenario", path, "--out", folder / "new")


def test_a_missing_file_of_a_bundle_is_named(capsys, folder):
    (folder / "bundle" / "critic.onnx").unlink()
    assert "critic.onnx is missing" in refused(capsys, "bundle", "verify", folder / "bundle")


def test_one_flipped_byte_of_a_bundle_is_found(capsys, folder):
    path = folder / "bundle" / "policy.onnx"
    content = bytearray(path.read_bytes())
    content[100] ^= 0x40
    path.write_bytes(content)
    assert "policy.onnx is damaged" in refused(capsys, "bundle", "verify", folder / "bundle")


def test_a_bundle_for_another_robot_is_refused(capsys, folder):
    line = refused(capsys, "bundle", "verify", folder / "bundle", "--robot", "sim_base")
    assert "bundle is for robot 'sim_arm', not 'sim_base'" in line
    assert "sim_arm" in refused(capsys, "up", "sim_base", "--bundle", folder / "bundle")


def test_a_bundle_is_signed_and_a_robot_with_keys_takes_no_other(capsys, folder):
    assert run(["bundle", "keygen", "--out", str(folder / "key.pem")]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    robot = folder / "robot.yaml"
    robot.write_text(robot_path("sim_arm").read_text() + line + "\n")
    check = ["bundle", "verify", folder / "bundle", "--robot", robot]
    assert "is not signed" in refused(capsys, *check)
    assert "is not signed" in refused(capsys, "up", robot, "--bundle", folder / "bundle")
    assert run(["bundle", "sign", str(folder / "bundle"), "--key", str(folder / "key.pem")]) == 0
    assert run([str(argument) for argument in check]) == 0
    assert "signed with ed25519:" in capsys.readouterr().out
    assert "exists already" in refused(capsys, "bundle", "keygen", "--out", folder / "key.pem")
    (key,) = yaml.safe_load(line)["bundle_keys"]
    path = folder / "bundle" / "signature.json"
    path.write_text(path.read_text().replace(key[10:14], "AAAA"))
    assert run(["bundle", "verify", str(folder / "bundle"), "--key", key]) == 0, "what it says of its signer is moot"
    path.unlink()
    assert "is not signed" in refused(capsys, "bundle", "verify", folder / "bundle", "--key", key)


def test_the_world_of_a_scenario_is_written_for_gazebo(capsys, tmp_path):
    written = ["--out", str(tmp_path / "new" / "world.sdf"), "--bridge", str(tmp_path / "bridge.yaml")]
    assert run(["world", "safe_goal", *written]) == 0
    assert (tmp_path / "new" / "world.sdf").read_text().startswith("<?xml")
    assert "/cmd_vel" not in (tmp_path / "bridge.yaml").read_text(), "commands go through the robot's own watchdog"
    assert "MuJoCo only" in refused(capsys, "world", "safe_goal_moving_obstacles", "--out", tmp_path / "moving.sdf")
    assert not (tmp_path / "moving.sdf").exists()


def test_without_gazebo_one_line_says_what_to_install_and_nothing_is_started(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "apt install ros-jazzy-ros-gz" in refused(capsys, "up", "sim", "--simulator", "gazebo")


def test_a_bundle_for_another_task_is_refused(capsys, folder):
    path = scenario_file(folder)
    assert "'tiny'" in refused(capsys, "eval", "--bundle", folder / "bundle", "--scenario", path)


def test_an_unknown_robot_or_scenario_is_told_with_those_there_are(capsys, folder):
    assert "sim_arm, sim_base" in refused(capsys, "bundle", "verify", folder / "bundle", "--robot", "sim_arn")
    assert "safe_goal" in refused(capsys, "eval", "--bundle", folder / "bundle", "--scenario", "safe_raech")


def test_an_empty_bag_is_refused(capsys, folder):
    (bag,) = (folder / "bags").iterdir()
    for mcap in bag.glob("*.mcap"):
        mcap.write_bytes(b"")
    assert bag.name in refused(capsys, "pretrain", folder / "bags", "--out", folder / "new")
    assert not (folder / "new").exists()


def test_a_truncated_bag_is_refused(capsys, folder):
    (mcap,) = (folder / "bags").glob("*/*.mcap")
    mcap.write_bytes(mcap.read_bytes()[: mcap.stat().st_size // 2])
    assert mcap.parent.name in refused(capsys, "pretrain", folder / "bags", "--out", folder / "new")
    assert mcap.parent.name in refused(capsys, "bags", "check", folder / "bags")


def test_a_folder_without_bags_is_refused(capsys, tmp_path):
    assert str(tmp_path) in refused(capsys, "pretrain", tmp_path, "--out", tmp_path / "new")


def test_recording_over_an_episode_is_refused_and_leaves_it_alone(capsys, folder):
    before = {path: path.stat().st_mtime_ns for path in (folder / "bags").rglob("*")}
    path = scenario_file(folder, seed=1, max_steps=5)
    assert "exists already" in refused(
        capsys, "record", "--scenario", path, "--episodes", "1", "--out", folder / "bags"
    )
    assert {path: path.stat().st_mtime_ns for path in (folder / "bags").rglob("*")} == before


def test_a_good_bundle_and_a_good_bag_are_shown(capsys, folder):
    assert run(["bundle", "verify", str(folder / "bundle"), "--robot", "sim_arm"]) == 0
    assert run(["bundle", "show", str(folder / "bundle")]) == 0
    assert run(["bags", "check", str(folder / "bags")]) == 0
    assert "1 of 1 bags can be trained on" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--bundel"], ["eval", "--episodes", "0"], ["nonsense"]])
def test_wrong_usage_is_one_line(capsys, arguments):
    refused(capsys, *arguments)


def command_names(command: Any, *words: str) -> list[list[str]]:
    """The words of every command that there is, groups included."""
    return [list(words)] + [
        name for word, sub in getattr(command, "commands", {}).items() for name in command_names(sub, *words, word)
    ]


@pytest.mark.parametrize("command", command_names(get_command(app)), ids=" ".join)
def test_every_command_explains_itself_within_eighty_columns(capsys, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    assert run([*command, "-h"]) == 0
    shown = capsys.readouterr().out
    assert "Usage: fosp" in shown
    assert "<bool>" not in shown, "a flag looks as if it took a value"
    assert command[:1] == ["experiment"] or "Example" in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("line", [line for lines in EXAMPLES.values() for line in lines])
def test_an_example_of_the_help_is_a_command_line(line):
    inner = re.search(r"\$\((fosp [^)]*)\)", line)
    words = shlex.split(inner[1] if inner else line)
    assert words.pop(0) == "fosp"
    command, context = get_command(app), None
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    if set(words) & {"--help", "--install-completion"}:
        return
    context = command.make_context("fosp", words, resilient_parsing=not words)
    assert not context.args


def test_a_plain_terminal_takes_the_environment_of_the_stack(capsys, monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", "17")
    assert run(["env"]) == 0
    lines = capsys.readouterr().out
    shell = f"{lines}\nexec python -c 'import os, rclpy, fosp_msgs.msg; print(sorted(os.environ.items()))'"
    bare = {"PATH": "/usr/bin:/bin", "HOME": os.environ.get("HOME", "/")}
    said = subprocess.run(["bash", "-euc", shell], env=bare, capture_output=True, text=True, timeout=60)
    assert "('ROS_DOMAIN_ID', '17')" in said.stdout, said.stderr
    for name in ("FASTDDS_BUILTIN_TRANSPORTS", "FASTDDS_DEFAULT_PROFILES_FILE"):
        assert f"('{name}', '{settings()[name]}')" in said.stdout
    assert "OMP_NUM_THREADS" not in said.stdout


def test_the_version_is_told_and_the_shell_completes_commands(capsys):
    assert run(["--version"]) == 0
    assert re.fullmatch(r"fosp \d+\.\d+\.\d+\n", capsys.readouterr().out)
    asked = {**os.environ, "_FOSP_COMPLETE": "complete_bash", "COMP_WORDS": "fosp bundle an", "COMP_CWORD": "2"}
    command = [sys.executable, "-m", "fosp_cli.cli"]
    assert subprocess.run(command, env=asked, capture_output=True, text=True, timeout=60).stdout.split() == ["announce"]


def test_the_script_at_the_root_exits_2_for_wrong_input():
    done = subprocess.run(
        [REPOSITORY / "fosp", "bundle", "verify", "/nonexistent"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == ["fosp: /nonexistent: no such bundle folder"]


def test_where_a_built_workspace_is_sourced_the_script_at_the_root_runs_that(tmp_path):
    built = tmp_path / "install/fosp_cli/lib/fosp_cli/fosp"
    built.parent.mkdir(parents=True)
    built.write_text('#!/bin/sh\necho "built: $*"\n')
    built.chmod(0o755)
    sourced = {**os.environ, "AMENT_PREFIX_PATH": f"/opt/ros/jazzy:{tmp_path}/install/fosp_cli"}
    said = subprocess.run([REPOSITORY / "fosp", "up", "sim"], env=sourced, capture_output=True, text=True, timeout=60)
    assert said.stdout == "built: up sim\n"


def test_a_report_needs_a_run_with_a_checkpoint(capsys, folder):
    assert "no such run" in refused(capsys, "report", folder / "nothing")
    assert "no checkpoint" in refused(capsys, "report", folder / "bundle")


@pytest.mark.parametrize(("by_torchrun", "said"), [(False, "destructors"), (True, "")])
def test_a_process_of_torchrun_runs_no_destructors_that_could_abort_it(by_torchrun: bool, said: str) -> None:
    program = "import atexit, sys; atexit.register(print, 'destructors'); from fosp_cli.cli import main; main()"
    variables = {**os.environ, **({"TORCHELASTIC_RUN_ID": "1"} if by_torchrun else {})}
    command = [sys.executable, "-c", program, "bundle", "verify", "/nonexistent"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (2, said)
