"""The comparison with peers: ratios, table, and a process that makes steps, without any peer."""

import sys
from pathlib import Path

import pytest

from fosp_cli.bench import peers
from fosp_cli.bench.peers import Stepper, StepRow, as_trained, asked, ratios, table, verdict
from fosp_core.errors import UserError
from fosp_learner.config import SIZES

ROOT = Path(__file__).resolve().parents[3]
ROWS = [
    StepRow("fosp, as trained (fp32)", (1.0, 1.2, 5.0), (1.0, 1.2, 9.0)),
    StepRow("fosp, as trained (bf16)", (0.8, 0.9, 4.0), (0.8, 0.9, 4.0)),
    StepRow("fosp, as DreamerV3 (bf16)", (0.1, 0.1, 0.1), (0.1, 0.1, 0.1)),
    StepRow("one (fp32)", (2.0, 2.4, 10.0), (2.0, 2.4, 10.0)),
    StepRow("other (fp32)", (3.0, 3.0, 9.0), (3.0, 3.0, 9.0)),
    StepRow("one (bf16)", (1.2, 1.35, 6.0), (1.2, 1.35, 6.0)),
]
PARAMETERS = {name: {"world model": 1000, "critics": 20, "actor": 3} for name in ("fosp", "one")}
FAKE = """
import json, sys
print(json.dumps({"name": "fake", "parameters": {}, "steps": ["fake (fp32)"]}), flush=True)
for line in sys.stdin:
    if "(fp32)" not in line:
        sys.exit("no such step")
    print(json.dumps({"cpu_s": 1.0, "wall_s": 2.0}), flush=True)
"""


def test_a_ratio_is_the_median_over_rounds_so_that_a_slow_round_changes_nothing():
    assert ROWS[3].ratio_to(ROWS[0]) == pytest.approx(2.0)
    assert as_trained(ROWS) is ROWS[1]
    assert as_trained(ROWS, "fp32") is ROWS[0]


def test_the_verdict_takes_the_fastest_peer_against_our_step_as_trained():
    found = ratios(ROWS)
    assert list(found) == [
        "one (fp32) / fosp, as trained (fp32)",
        "one (bf16) / fosp, as trained (bf16)",
        "fastest: one (bf16) / fosp, as trained (bf16)",
    ]
    assert list(found.values()) == pytest.approx([2.0, 1.5, 1.5])
    assert verdict("nano", ROWS).splitlines()[-1] == "nano: goal of 2 missed"
    assert verdict("nano", ROWS[:4]).splitlines()[-1] == "nano: goal of 2 reached"


def test_the_table_names_every_step_and_every_number_of_parameters():
    text = table("nano", ROWS, PARAMETERS)
    assert all(f"| {row.name} |" in text for row in ROWS)
    assert "| one (fp32) | 2.40 (2.00 to 10.00) s | 2.40 s | 2.50 |" in text
    assert "| one | 1,000 | 20 | 3 |" in text


def test_the_peers_are_asked_for_the_sizes_and_the_batch_of_our_own_step():
    small = asked("small", 1, False)
    assert (small["rows"], small["length"], small["horizon"], small["side"]) == (16, 32, 15, 64)
    assert (small["recurrent"], small["units"], small["cnn_depth"]) == (256, 256, SIZES["small"].cnn_depth)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "scripts/peers").mkdir(parents=True)
    (tmp_path / "scripts/peers/fake.py").write_text(FAKE)
    monkeypatch.setattr(peers, "_ROOT", tmp_path)
    return tmp_path


def test_a_process_makes_one_step_for_each_that_it_is_asked_for(fake: Path):
    stepper = Stepper(Path(sys.executable), "fake.py", asked("nano", 1, False), fake / "log", ours=False)
    assert stepper.steps == ["fake (fp32)"]
    assert [stepper.step("fake (fp32)")["wall_s"] for _ in range(2)] == [2.0, 2.0]
    stepper.close()


def test_a_process_that_ends_is_one_line_with_its_last_words(fake: Path):
    stepper = Stepper(Path(sys.executable), "fake.py", asked("nano", 1, False), fake / "log", ours=False)
    with pytest.raises(UserError, match=r"ended with 1: no such step \(all of it: .*log\)"):
        stepper.step("another")


@pytest.mark.long
def test_our_own_step_is_served_and_trains_every_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(peers, "_ROOT", ROOT)
    stepper = Stepper(Path(sys.executable), "fosp_step.py", asked("nano", 1, False), tmp_path / "log", ours=True)
    assert stepper.parameters.keys() == {"world model", "critics", "actor"}
    for name in stepper.steps:
        assert stepper.step(name)["cpu_s"] > 0
    stepper.close()
