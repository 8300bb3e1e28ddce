"""Values in a robot file, the order of the steps, and the answers of an operator."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml

from fosp_bringup.commissioning_record import STEPS, StepRecord, read_record, write_record
from fosp_bringup.commissioning_stack import commissioning_stack
from fosp_bringup.paths import share
from fosp_cli.commissioning.dialogue import AbortedError, Agreeing, Terminal
from fosp_cli.commissioning.moving import look_time_s
from fosp_cli.commissioning.robot_file import with_values, write_values
from fosp_cli.commissioning.session import EXPLAINED, NEEDS, SLOWEST, Commissioning, begun_record, slow_robot
from fosp_core.errors import UserError
from fosp_core.robot.config import read_robot

ROBOTS = sorted(path for path in (share() / "config" / "robots").glob("*.yaml") if "." not in path.stem)
VALUES = {"dead_time_s": 0.042, "response_s": 0.113}


@pytest.mark.parametrize("path", ROBOTS, ids=lambda path: path.stem)
def test_measured_values_leave_every_other_line_of_a_robot_file_alone(path: Path) -> None:
    before = path.read_text()
    after = with_values(before, VALUES, "measured", "robot.yaml")
    assert yaml.safe_load(after) == {**yaml.safe_load(before), **VALUES}
    kept = [line for line in after.splitlines() if not line.endswith("# measured")]
    assert kept == [line for line in before.splitlines() if not line.startswith(tuple(VALUES))]
    again = with_values(after, {"dead_time_s": 0.05, "response_s": 0.1}, "again", "robot.yaml")
    assert len(again.splitlines()) == len(after.splitlines())
    assert yaml.safe_load(again)["dead_time_s"] == 0.05


def test_a_value_that_is_not_allowed_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "robot.yaml"
    path.write_text(ROBOTS[0].read_text())
    with pytest.raises(UserError, match=r"robot.yaml: response_s: Input should be less than or equal to"):
        write_values(path, {"response_s": 7.0}, "measured")
    assert path.read_text() == ROBOTS[0].read_text()
    assert [file.name for file in tmp_path.iterdir()] == ["robot.yaml"]
    assert write_values(path, VALUES, "measured").response_s == 0.113


def test_a_file_in_a_layout_that_cannot_be_edited_is_refused_with_the_values() -> None:
    flow = yaml.safe_dump(yaml.safe_load(ROBOTS[0].read_text()), default_flow_style=True)
    with pytest.raises(UserError, match=r"write by hand: dead_time_s: 0.042, response_s: 0.113"):
        with_values(flow, VALUES, "measured", "robot.yaml")


def test_before_its_response_is_known_a_variant_of_a_robot_is_watched_as_the_slowest(tmp_path: Path) -> None:
    path = tmp_path / "cell" / "mine.yaml"
    path.parent.mkdir()
    path.write_text("extends: ur5e\nname: mine\nurdf: mine.urdf\n")
    guarded = read_robot(slow_robot(path, tmp_path / "out"))
    assert (guarded.response_s, guarded.dead_time_s) == (SLOWEST["response_s"], SLOWEST["dead_time_s"])
    same = {"response_s", "dead_time_s", "urdf"}
    assert guarded.model_dump(exclude=same) == read_robot(path).model_dump(exclude=same)


@pytest.mark.parametrize(("rate_hz", "seconds"), [(1000.0, 0.06), (100.0, 0.06), (20.0, 0.175)])
def test_a_robot_is_seen_at_rest_by_as_many_poses_as_it_tells(rate_hz: float, seconds: float) -> None:
    assert look_time_s(np.arange(20) / rate_hz) == pytest.approx(seconds)
    assert look_time_s(np.zeros(0)) == 0.06


def test_a_linked_robot_file_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
    real.write_text(ROBOTS[0].read_text())
    link.symlink_to(real)
    write_values(link, VALUES, "measured")
    assert link.is_symlink()
    assert read_robot(real).dead_time_s == 0.042


def test_every_step_is_explained_and_nothing_moves_fast_before_its_direction_was_checked() -> None:
    assert tuple(EXPLAINED) == STEPS
    assert set(NEEDS) == set(STEPS)
    for step in ("response", "stopping", "watchdog", "estops", "workspace"):
        assert "direction" in NEEDS[step]
    for step in STEPS:
        assert all(STEPS.index(needed) < STEPS.index(step) for needed in NEEDS[step])


def session_on(robot_file: Path, simulated: bool, *steps: str) -> Commissioning:
    stack = partial(commissioning_stack, robot_file)
    return Commissioning(
        robot_file, stack, Agreeing(), "Ada", robot_file.parent, "0.1.0", steps=steps, simulated=simulated
    )


def test_practice_never_replaces_the_record_of_a_real_robot(tmp_path: Path) -> None:
    path = tmp_path / "cell_3.yaml"
    path.write_text(ROBOTS[0].read_text())
    robot = read_robot(path)
    real = begun_record(session_on(path, simulated=False), robot)
    write_record(path, real)
    with pytest.raises(UserError, match=r"cell_3.commissioning.yaml is of the real robot: practise with a copy"):
        begun_record(session_on(path, simulated=True), robot)
    assert read_record(path) == real
    write_record(path, real.model_copy(update={"simulated": True}))
    assert not begun_record(session_on(path, simulated=False), robot).simulated


def test_results_of_another_robot_file_are_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "cell_3.yaml"
    path.write_text(ROBOTS[0].read_text())
    passed = {name: StepRecord(result="passed", date="2026-11-29") for name in STEPS}
    record = begun_record(session_on(path, simulated=False), read_robot(path)).model_copy(update={"steps": passed})
    write_record(path, record)
    assert begun_record(session_on(path, False, "stopping"), read_robot(path)) == record, "a single step is repeated"
    assert begun_record(session_on(path, False), read_robot(path)).steps == {}, "all of them begin anew"
    write_values(path, VALUES, "by hand")
    assert begun_record(session_on(path, False, "stopping"), read_robot(path)).steps == {}


# -- the operator ------------------------------------------------------------------------------------
def answering(*lines: str) -> Terminal:
    answers: Iterator[str] = iter(lines)

    def read(text: str) -> str:
        try:
            return next(answers)
        except StopIteration:
            raise EOFError from None

    return Terminal(read)


def test_enter_goes_on_and_a_wrong_answer_is_asked_again() -> None:
    answering("").confirm("go?")
    answering("what", " Y ").confirm("go?")
    assert answering("maybe", "yes").ask("right?")
    assert not answering("n").ask("right?")


@pytest.mark.parametrize("lines", [("abort",), ("n",), ()])
def test_no_and_abort_and_silence_end_it_before_a_motion(lines: tuple[str, ...]) -> None:
    with pytest.raises(AbortedError):
        answering(*lines).confirm("go?")


@pytest.mark.parametrize("lines", [("abort",), ("",), ()])
def test_a_question_is_never_answered_by_nothing(lines: tuple[str, ...]) -> None:
    with pytest.raises(AbortedError):
        answering(*lines).ask("right?")


def test_what_stands_for_an_operator_agrees() -> None:
    assert Agreeing().ask("right?")
