"""The check of a GPU, as far as it can be tried without one: what it says then, and its parts on the CPU."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from fosp_cli.bench import gpu
from fosp_cli.bench.gpu import GpuFinding, compared, losses, networks, step_times, table
from fosp_learner import config as learner_config
from fosp_learner.config import NetworkConfig

ROOT = Path(__file__).resolve().parents[3]
CPU = torch.device("cpu")
TINY = NetworkConfig(recurrent=8, variables=2, classes=4, cnn_depth=2, units=8)


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_one_line_says_so_and_the_exit_code_is_2():
    environment = {name: value for name, value in os.environ.items() if name != "_ROS_WHEELS_BOOTSTRAP_COMPLETE"}
    done = subprocess.run(
        ["bash", str(ROOT / "scripts/gpu_check.sh")], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("fosp: there is no NVIDIA GPU that torch can use")
    assert done.stderr.count("\n") == 1


def test_losses_alike_pass_and_others_fail():
    cpu = [100.0, 90.0, 80.0]
    here = [100.1, 90.5, 79.0, 70.0, 60.0]
    assert [finding.passed for finding in compared(here, cpu, "paper")] == [True, True, True]
    assert [finding.passed for finding in compared([103.0, *here[1:]], cpu, "paper")] == [False, True, True]
    assert [finding.passed for finding in compared([100.0, 120.0, 110.0], cpu, "paper")] == [True, False, False]


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_passes_nothing(wrong: float):
    assert [finding.passed for finding in compared([wrong] * 4, [100.0, 90.0], "paper")] == [False] * 3


def test_the_table_says_what_failed_and_what_was_not_there():
    text = table(
        [GpuFinding("a", "1 ms", "2 ms", True), GpuFinding("b", "3 ms", "2 ms", False), GpuFinding("c", "no provider")]
    )
    assert [line.rsplit("|", 2)[1].strip() for line in text.splitlines()[2:]] == ["passed", "FAILED", ""]


@pytest.mark.long
def test_the_same_device_gives_the_same_losses(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(learner_config.SIZES, "nano", TINY)
    one, other = (losses("nano", CPU, 4) for _ in range(2))
    assert len(one) == 4
    assert np.allclose(one, other, rtol=1e-4)
    assert all(finding.passed for finding in compared(one, other, "nano")[:2])
    assert len(losses("nano", CPU, 50, budget_s=0.0)) == gpu.LEAST


@pytest.mark.long
def test_steps_are_timed_in_all_variants(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(learner_config.SIZES, "nano", TINY)
    times, ratio = step_times("nano", CPU, steps=2)
    assert times.check == "nano: full update, bf16, fp32, plain eager fp32"
    assert len(times.figure.split(",")) == 3
    assert ratio.figure.endswith(" times")


@pytest.mark.long
def test_networks_are_compared_and_a_provider_that_is_missing_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(learner_config.SIZES, "nano", TINY)
    found = networks("nano", "CPU", "CPUExecutionProvider", steps=5)
    assert found.passed, found
    missing = networks("nano", "TensorRT", "NoSuchExecutionProvider")
    assert missing.passed is None
    assert "does not offer it" in missing.figure
