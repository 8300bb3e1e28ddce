"""Checks of a machine with an NVIDIA GPU, and one table of what they found: `scripts/gpu_check.sh`.

    tests        those that need a GPU
    losses       300 full updates of the size `paper` in float32, against the same updates on the CPU
    step times   as trained, in bfloat16 and in float32, and written plainly in eager float32
    networks     one step of encoder, actors and critics by each execution provider of ONNX Runtime

Random numbers are drawn on the CPU, so both devices train on the same batches with the same noise.
"""

from __future__ import annotations

import copy
import io
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np
import onnxruntime as ort
import torch

from fosp_cli.bench.training import make_plain, random_data, step_config
from fosp_core.errors import UserError
from fosp_learner.bundling.export import export_networks
from fosp_learner.config import ImaginationConfig, LearnerConfig, Size
from fosp_learner.training.trainer import Trainer

UPDATES = 300
"""Updates of the comparison on the GPU."""
CPU_BUDGET_S = 150.0
"""Time after which the CPU stops; at least LEAST updates are compared."""
LEAST = 3
FIRST_TOLERANCE, MEAN_TOLERANCE = 0.01, 0.05
"""Largest relative differences between the losses of GPU and CPU: at the first update, and of the means."""
NETWORK_TOLERANCE = 1e-2
"""Largest difference from the outputs on the CPU, relative for values above 1: a GPU multiplies in TF32."""
TESTS_S = 200
_CPU = "CPUExecutionProvider"
PROVIDERS = {"CUDA": "CUDAExecutionProvider", "TensorRT": "TensorrtExecutionProvider"}
SIZES: tuple[Size, ...] = ("nano", "small", "paper")


@dataclass(frozen=True)
class GpuFinding:
    """One row of the table."""

    check: str
    figure: str
    goal: str = ""
    passed: bool | None = None
    """None where there is nothing to pass."""

    def row(self) -> str:
        """Return it as a row of a Markdown table."""
        outcome = {True: "passed", False: "FAILED", None: ""}[self.passed]
        return f"| {self.check} | {self.figure} | {self.goal} | {outcome} |"


def table(findings: Sequence[GpuFinding]) -> str:
    """Return all findings as one Markdown table."""
    return "\n".join(["| check | figure | goal | |", "|---|---|---|---|", *(finding.row() for finding in findings)])


def require_gpu() -> torch.device:
    """Return the GPU; UserError, one line, when torch sees none."""
    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    raise UserError(f"there is no NVIDIA GPU that torch can use (torch {torch.__version__}, {built}): nothing checked")


def gpu_tests() -> GpuFinding:
    """Run the tests that are marked `gpu`; a run without any fails, too."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "--timeout", str(TESTS_S), "src", "tests"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=2 * TESTS_S)
    last = (done.stdout.strip().splitlines() or ["no output"])[-1].strip("= ")
    return GpuFinding("tests that need a GPU", last, "all pass", done.returncode == 0 and "skipped" not in last)


def losses(size: Size, device: torch.device, updates: int, budget_s: float = float("inf")) -> list[float]:
    """Return the sum of the world model's losses at each update in float32, as many as `budget_s` allows.

    LEAST updates are made in any case. Raises TrainingDiverged when one is not finite.
    """
    trainer = Trainer(step_config(size, False, ImaginationConfig()), random_data(), device)
    found: list[float] = []
    started = time.perf_counter()
    while len(found) < updates and (len(found) < LEAST or time.perf_counter() - started < budget_s):
        figures = trainer.train_step()
        found.append(sum(value for name, value in figures.items() if name.startswith("world_model/")))
    return found


def compared(here: Sequence[float], cpu: Sequence[float], name: str) -> list[GpuFinding]:
    """Compare losses on a GPU with those of the CPU, which may be fewer, and with themselves later on."""
    count = len(cpu)
    first = abs(here[0] - cpu[0]) / abs(cpu[0])
    means = abs(fmean(here[:count]) - fmean(cpu)) / abs(fmean(cpu))
    part = max(1, len(here) // 10)
    begin, end = fmean(here[:part]), fmean(here[-part:])
    return [
        GpuFinding(
            f"{name}: first loss against the CPU", f"{first:.2%} off", f"{FIRST_TOLERANCE:.0%}", first < FIRST_TOLERANCE
        ),
        GpuFinding(
            f"{name}: mean loss of {count} updates against the CPU",
            f"{means:.2%} off",
            f"{MEAN_TOLERANCE:.0%}",
            means < MEAN_TOLERANCE,
        ),
        GpuFinding(f"{name}: loss over {len(here)} updates", f"{begin:.1f} -> {end:.1f}", "falls", end < begin),
    ]


def step_times(size: Size, device: torch.device, steps: int = 20) -> list[GpuFinding]:
    """Time a full update in bfloat16 and float32 as trained, and in eager float32 as written plainly."""
    data = random_data()
    variants = {
        name: Trainer(step_config(size, bf16, ImaginationConfig()), data, device)
        for name, bf16 in (("bf16", True), ("fp32", False), ("plain eager fp32", False))
    }
    make_plain(variants["plain eager fp32"])
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(steps + 3):
        for name, trainer in variants.items():
            _wait(device)
            started = time.perf_counter()
            trainer.train_step()
            _wait(device)
            times[name].append(1e3 * (time.perf_counter() - started))
    ms = {name: median(values[3:]) for name, values in times.items()}
    best = min(ms["bf16"], ms["fp32"])
    return [
        GpuFinding(f"{size}: full update, {', '.join(ms)}", f"{', '.join(f'{value:.1f}' for value in ms.values())} ms"),
        GpuFinding(
            f"{size}: plain eager fp32 over the faster",
            f"{ms['plain eager fp32'] / best:.2f} times",
            "above 1",
            ms["plain eager fp32"] > best,
        ),
    ]


def networks(size: Size, label: str, provider: str, steps: int = 300) -> GpuFinding:
    """Run encoder, actors and critics by an execution provider, and compare with what torch gave on the CPU."""
    name = f"{size}: one step by {label}"
    if provider not in ort.get_available_providers():
        return GpuFinding(name, "this ONNX Runtime does not offer it (onnxruntime-gpu does)")
    trainer = Trainer(LearnerConfig(size=size), random_data())
    actor = trainer.behaviour.actor
    files = export_networks(trainer.world_model, actor, copy.deepcopy(actor), trainer.behaviour.critics)
    golden = np.load(io.BytesIO(files["golden.npz"]))
    sessions = {}
    for network in ("encoder", "policy", "critic"):
        session = ort.InferenceSession(files[f"{network}.onnx"], providers=list(dict.fromkeys([provider, _CPU])))
        if session.get_providers()[0] != provider:
            return GpuFinding(name, f"fell back to {session.get_providers()[0]}", label, False)
        given = {key.split(".in.")[1]: golden[key] for key in golden.files if key.startswith(f"{network}.in.")}
        sessions[network] = (session, given)
    worst = 0.0
    for network, (session, given) in sessions.items():
        outputs = [output.name for output in session.get_outputs()]
        for output, found in zip(outputs, session.run(outputs, given), strict=True):
            wanted = golden[f"{network}.out.{output}"]
            difference = np.abs(found - wanted) / np.maximum(1.0, np.abs(wanted))
            worst = max(worst, float(np.max(difference))) if np.isfinite(difference).all() else float("inf")
    times = []
    for _ in range(steps + 20):
        started = time.perf_counter()
        for session, given in sessions.values():
            session.run(None, given)
        times.append(1e3 * (time.perf_counter() - started))
    p50, p99 = np.percentile(times[20:], [50, 99])
    figure = f"p50 {p50:.2f}, p99 {p99:.2f} ms; {worst:.1e} from torch on the CPU"
    return GpuFinding(name, figure, f"{NETWORK_TOLERANCE:g}", worst < NETWORK_TOLERANCE)


def check(device: torch.device) -> list[GpuFinding]:
    """Make all checks on a GPU and return what they found."""
    findings = [gpu_tests()]
    exact = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False  # the comparison is of float32
    try:
        cpu = losses("paper", torch.device("cpu"), UPDATES, CPU_BUDGET_S)
        findings += compared(losses("paper", device, UPDATES), cpu, "paper")
    finally:
        torch.backends.cudnn.allow_tf32 = exact
    for size in SIZES:
        findings += step_times(size, device)
    findings += [networks(size, label, provider) for size in SIZES for label, provider in PROVIDERS.items()]
    return findings


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> int:
    """Print the table; return 0 when all passed, 1 when a check failed, and 2 without a GPU."""
    try:
        device = require_gpu()
    except UserError as error:
        print(f"fosp: {error}", file=sys.stderr)
        return 2
    started = time.monotonic()
    findings = check(device)
    print(f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}, ONNX Runtime {ort.__version__}")
    print(f"{time.monotonic() - started:.0f} s\n\n{table(findings)}")
    return int(any(finding.passed is False for finding in findings))


if __name__ == "__main__":
    sys.exit(main())
