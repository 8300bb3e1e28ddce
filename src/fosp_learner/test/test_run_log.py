import io
from pathlib import Path

import pytest
from rich.console import Console

from fosp_learner.training.run_log import RunClock, RunLog, duration

PHASES = (("cloning", 10), ("full updates", 10), ("refinement", 0))


def test_time_left_goes_by_the_pace_of_each_phase():
    clock = RunClock(PHASES, 0, 0.0)
    assert clock.left_s() is None
    for step in range(1, 11):
        clock.tick(step, float(step))
    assert clock.left_s() == pytest.approx(10.0), "an unknown phase counts like the present one"
    clock.tick(11, 14.0)
    assert clock.phase == "full updates"
    assert clock.left_s() == pytest.approx(9 * 4.0)
    assert clock.summary() == "0.25/s, 0:36 left"


def test_a_resumed_run_counts_what_is_left_of_it():
    clock = RunClock(PHASES, 15, 100.0)
    clock.tick(16, 102.0)
    assert clock.left_s() == pytest.approx(4 * 2.0)
    assert clock.elapsed_s == pytest.approx(2.0)
    for step in range(17, 21):
        clock.tick(step, 102.0 + 2 * (step - 16))
    assert clock.left_s() == pytest.approx(0.0)


def test_durations_read_like_a_clock():
    assert [duration(s) for s in (7, 127, 3909)] == ["0:07", "2:07", "1:05:09"]


def log_of(tmp_path: Path, terminal: bool, done: int = 0) -> tuple[str, RunLog]:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120, legacy_windows=False)
    log = RunLog(tmp_path, PHASES, done, every=2, console=console)
    with log:
        log.note("what the data are")
        for step in range(done + 1, 21):
            log.step(step, {"behaviour/cloning": 20.0 - step, "behaviour/q_h": 0.5} if step > 4 else {"other": 1.0})
    return out.getvalue(), log


def test_a_terminal_shows_a_table_with_the_time_left(tmp_path: Path):
    shown, _ = log_of(tmp_path, terminal=True)
    assert "what the data are" in shown
    assert "full updates" in shown
    assert "0:00 left" in shown
    row = next(line for line in reversed(shown.splitlines()) if "cloning" in line and "executed" in line)
    assert row.split()[1:4] == ["14.5", "0.5", "0.5"], "first, now and least, each a mean over two steps"


def test_elsewhere_plain_lines_tell_of_it(tmp_path: Path):
    shown, _ = log_of(tmp_path, terminal=False)
    assert "\x1b" not in shown
    lines = shown.splitlines()
    assert lines[0] == "what the data are"
    assert lines[-1].startswith("step 20/20")
    assert "left  cloning 0.5  Q_h 0.5" in lines[-1]


def test_what_is_shown_is_kept_and_a_new_run_starts_its_file_anew(tmp_path: Path):
    for _ in range(2):
        log_of(tmp_path, terminal=False)
        rows = (tmp_path / "losses.csv").read_text().splitlines()
        assert rows[0] == "step,figure,value"
        assert rows.count("20,behaviour/cloning,0.5") == 1
    log_of(tmp_path, terminal=False, done=18)
    assert len((tmp_path / "losses.csv").read_text().splitlines()) == len(rows) + 2
