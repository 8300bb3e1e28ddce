"""The trainer measures bfloat16 against float32 and takes the faster, and a resumed run keeps to what was measured."""

import json

import pytest
import torch

from fosp_learner.training import precision
from fosp_learner.training.precision import BF16, FP32, TRIAL_UPDATES, Precision

CPU = torch.device("cpu")


class Machine:
    """A processor that takes its time, which is told for each precision."""

    def __init__(self, bf16_s: float, fp32_s: float) -> None:
        self.now, self.seconds = 0.0, {BF16: bf16_s, FP32: fp32_s}

    def updates(self, choice: Precision, phase: str, count: int, first: int = 0) -> list[str]:
        """Make updates, the first of the phase in each precision slowly, and return what they were made in."""
        made: list[str] = []
        for number in range(first, first + count):
            with choice.update(phase), choice.autocast():
                made.append(BF16 if torch.is_autocast_enabled("cpu") else FP32)
                self.now += self.seconds[made[-1]] + (5.0 if number < 2 else 0.0)
        return made


def machine(monkeypatch: pytest.MonkeyPatch, bf16_s: float, fp32_s: float) -> Machine:
    slow = Machine(bf16_s, fp32_s)
    monkeypatch.setattr(precision.time, "process_time", lambda: slow.now)
    return slow


@pytest.mark.parametrize(("bf16_s", "fp32_s", "faster"), [(0.4, 0.6, BF16), (0.6, 0.4, FP32)])
def test_after_as_many_updates_in_both_the_faster_goes_on(monkeypatch, bf16_s, fp32_s, faster):
    slow, choice = machine(monkeypatch, bf16_s, fp32_s), Precision(None, CPU)
    made = slow.updates(choice, "full updates", TRIAL_UPDATES)
    assert made.count(BF16) == made.count(FP32)
    assert slow.updates(choice, "full updates", 3, TRIAL_UPDATES) == [faster] * 3
    assert choice.chosen("full updates") == faster
    assert choice.news == [f"full updates: an update takes bf16 {bf16_s} s, fp32 {fp32_s} s; {faster} from here on"]


def test_each_phase_has_its_own_choice(monkeypatch):
    choice = Precision(None, CPU)
    machine(monkeypatch, 0.4, 0.6).updates(choice, "cloning", TRIAL_UPDATES)
    machine(monkeypatch, 0.6, 0.4).updates(choice, "refinement", TRIAL_UPDATES)
    assert (choice.chosen("cloning"), choice.chosen("refinement")) == (BF16, FP32)


@pytest.mark.parametrize(("bf16", "name"), [(True, BF16), (False, FP32)])
def test_a_setting_is_kept_whatever_is_faster(monkeypatch, bf16, name):
    slow, choice = machine(monkeypatch, 0.5, 0.5), Precision(bf16, CPU)
    assert slow.updates(choice, "cloning", TRIAL_UPDATES + 2) == [name] * (TRIAL_UPDATES + 2)
    assert choice.chosen("cloning") == name
    assert choice.news == []


@pytest.mark.parametrize("interrupted_at", [1, 5, TRIAL_UPDATES, TRIAL_UPDATES + 2])
def test_a_resumed_run_computes_as_an_uninterrupted_one(monkeypatch, interrupted_at):
    slow = machine(monkeypatch, 0.6, 0.4)
    straight = slow.updates(Precision(None, CPU), "cloning", TRIAL_UPDATES + 4)
    before, after = Precision(None, CPU), Precision(None, CPU)
    made = slow.updates(before, "cloning", interrupted_at)
    after.state = json.loads(json.dumps(before.state))
    made += slow.updates(after, "cloning", TRIAL_UPDATES + 4 - interrupted_at, interrupted_at)
    assert made == straight


def test_an_update_that_fails_is_not_counted(monkeypatch):
    slow, choice = machine(monkeypatch, 0.6, 0.4), Precision(None, CPU)
    with pytest.raises(ValueError, match="diverged"), choice.update("cloning"):
        raise ValueError("diverged")
    assert choice.state == {"cloning": []}
    assert len(slow.updates(choice, "cloning", 1)) == 1
