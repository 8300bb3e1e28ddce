"""A real robot is slow until a passed record fits its robot file; the file's comments and order do not matter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_bundle import write_tiny_bundle

from fosp_bringup.commissioning_record import (
    STEPS,
    CommissioningRecord,
    StepRecord,
    read_record,
    record_path,
    robot_content,
    robot_hash,
    uncommissioned_because,
    write_record,
)
from fosp_bringup.paths import robot_files, robot_path
from fosp_bringup.stack import MONITOR, Stack, stack
from fosp_bringup.stack_options import StackOptions
from fosp_core.errors import UserError
from fosp_core.robot.config import read_robot

PASSED = {name: StepRecord(result="passed", date="2026-11-29T10:00:00+01:00") for name in STEPS}


@pytest.fixture
def robot_file(tmp_path: Path) -> Path:
    path = tmp_path / "cell_3.yaml"
    path.write_text(robot_path("sim_arm").read_text())
    return path


def commissioned(robot_file: Path, **changed: Any) -> CommissioningRecord:
    robot = read_robot(robot_file)
    record = CommissioningRecord(
        robot=robot.name,
        robot_sha256=robot_hash(robot),
        robot_file=robot_content(robot),
        simulated=False,
        operator="Ada",
        date="2026-11-29T10:00:00+01:00",
        software="0.1.0",
        steps=PASSED,
    ).model_copy(update=changed)
    write_record(robot_file, record)
    return record


def because(robot_file: Path) -> str:
    return uncommissioned_because(robot_file, read_robot(robot_file))


def test_a_record_is_read_as_it_was_written_beside_the_robot_file(robot_file: Path) -> None:
    record = commissioned(robot_file)
    assert record_path(robot_file).name == "cell_3.commissioning.yaml"
    assert read_record(robot_file) == record
    assert because(robot_file) == ""


def test_comments_order_and_spelling_of_the_robot_file_do_not_matter(robot_file: Path) -> None:
    commissioned(robot_file)
    content = yaml.safe_load(robot_file.read_text())
    robot_file.write_text("# mine\n" + yaml.safe_dump(dict(reversed(content.items()))))
    assert because(robot_file) == ""
    with robot_file.open("a") as file:
        file.write("command_timeout_s: 0.10  # as the default\nbundle_keys: []\n")
    assert because(robot_file) == ""


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("command_timeout_s: 0.2", "command_timeout_s"),
        ("dead_time_s: 0.04", "dead_time_s"),
        ("state_publishers: 2", "state_publishers"),
    ],
)
def test_a_changed_value_is_named_and_asks_for_a_new_commissioning(robot_file: Path, line: str, key: str) -> None:
    commissioned(robot_file)
    others = [other for other in robot_file.read_text().splitlines() if not other.startswith(f"{key}:")]
    robot_file.write_text("\n".join([*others, line, ""]))
    assert f"was changed since the robot was commissioned on 2026-11-29 ({key}" in because(robot_file)


def test_a_value_deep_in_the_file_is_named_by_its_path(robot_file: Path) -> None:
    commissioned(robot_file)
    robot_file.write_text(robot_file.read_text().replace("upper: [0.76", "upper: [0.79"))
    assert "(workspace.upper)" in because(robot_file)


def test_without_a_record_a_robot_was_never_commissioned(robot_file: Path) -> None:
    assert "was never commissioned: there is no" in because(robot_file)


@pytest.mark.parametrize("text", ["", "robot: cell_3\n", "[", "passed: true\n"])
def test_a_record_that_cannot_be_read_is_none(robot_file: Path, text: str) -> None:
    record_path(robot_file).write_text(text)
    assert "cell_3.commissioning.yaml" in because(robot_file)


def test_a_step_that_failed_or_is_missing_leaves_the_robot_slow(robot_file: Path) -> None:
    failed = StepRecord(result="failed", date="2026-11-29")
    commissioned(robot_file, steps={**PASSED, "watchdog": failed})
    assert because(robot_file) == "the commissioning of robot 'sim_arm' is not complete: watchdog"
    commissioned(robot_file, steps={name: step for name, step in PASSED.items() if name != "estops"})
    assert because(robot_file).endswith("not complete: estops")


def test_a_record_of_a_simulated_robot_says_nothing_about_a_real_one(robot_file: Path) -> None:
    commissioned(robot_file, simulated=True)
    assert because(robot_file).endswith("is of a simulated robot")


def test_a_record_edited_by_hand_does_not_fit_its_own_hash(robot_file: Path) -> None:
    commissioned(robot_file, robot_sha256="0" * 64)
    assert "(the record does not fit its own hash)" in because(robot_file)


def test_a_record_beside_the_robot_files_is_not_taken_for_a_robot(
    tmp_path: Path, robot_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "config" / "robots"
    folder.mkdir(parents=True)
    robot_file = robot_file.rename(folder / "cell_3.yaml")
    commissioned(robot_file)
    monkeypatch.setattr("fosp_bringup.paths.share", lambda: tmp_path)
    assert robot_files() == [robot_file]
    with pytest.raises(UserError, match=r"no robot 'other'; there are: cell_3$"):
        robot_path("other")


# -- the stack ---------------------------------------------------------------------------------------
def monitor_of(described: Stack) -> dict[str, Any]:
    return dict(next(process.parameters for process in described.processes if process.name == MONITOR))


@pytest.fixture
def bundle(tmp_path: Path, robot_file: Path) -> Path:
    write_tiny_bundle(tmp_path / "bundle", read_robot(robot_file))
    return tmp_path / "bundle"


def test_a_real_robot_is_capped_and_warned_of_until_it_was_commissioned(robot_file: Path, bundle: Path) -> None:
    for options in ({"bundle": bundle}, {"teleop": "gamepad"}):
        record_path(robot_file).unlink(missing_ok=True)
        described = stack(StackOptions(robot=str(robot_file), **options))
        assert monitor_of(described)["speed_cap"] == 0.1
        assert "never commissioned" in described.warning
        assert f"fosp commission --robot {robot_file}" in described.warning
        commissioned(robot_file)
        described = stack(StackOptions(robot=str(robot_file), **options))
        assert "speed_cap" not in monitor_of(described)
        assert described.warning == ""


def test_a_simulated_robot_needs_no_record(bundle: Path) -> None:
    described = stack(StackOptions(simulator="mujoco", scenario="safe_reach", bundle=bundle))
    assert "speed_cap" not in monitor_of(described)
    assert described.warning == ""


@pytest.mark.parametrize("node", [MONITOR, "/**", "/*"])
def test_a_parameter_file_cannot_lift_the_cap(robot_file: Path, bundle: Path, node: str, tmp_path: Path) -> None:
    file = tmp_path / "parameters.yaml"
    file.write_text(yaml.safe_dump({node: {"ros__parameters": {"speed_cap": 1.0}}}))
    with pytest.raises(UserError, match=r"speed_cap under .* is not for a file to set"):
        stack(StackOptions(robot=str(robot_file), bundle=bundle, params_file=file))
