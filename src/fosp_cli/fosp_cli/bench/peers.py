"""The full training step against those of public DreamerV3 implementations: `make bench-peers`.

Each implementation makes its steps in a process of its own (scripts/peers), the peers in an environment of their own.
All processes stay alive and take turns, one step each per round, so that a busy machine slows all of them down alike.
Processor time is what counts: neighbours lengthen it less than wall time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

from fosp_cli.bench.benchmarks import machine
from fosp_cli.bench.training import step_config
from fosp_core.errors import UserError
from fosp_learner.config import ImaginationConfig, Size

SIZES: tuple[Size, ...] = ("nano", "small")
GOAL = 2.0
"""Least ratio of the fastest peer's step to that of fosp."""
OURS = "fosp, as trained"
WARM_UP = 2
"""Rounds that are not counted: kernels are chosen, memory is mapped."""
CHECKOUT = "DREAMERV3_TORCH"
"""Environment variable with the path of a checkout of dreamerv3-torch, which no package index has."""
_HEAD_LAYERS = 1
"""Hidden layers of the heads for reward and continuation (WorldModel)."""
_ROOT = Path.cwd()


@dataclass(frozen=True)
class StepRow:
    """All times of one step in the order of the rounds."""

    name: str
    """The implementation, what its step does, and its precision: "sheeprl (fp32)"."""
    cpu_s: tuple[float, ...]
    """Processor time of all threads, s."""
    wall_s: tuple[float, ...]
    """Wall time, s."""

    @property
    def ours(self) -> bool:
        return self.name.startswith("fosp")

    @property
    def precision(self) -> str:
        """The text in brackets at the end of the name."""
        return self.name.rsplit("(", 1)[-1].rstrip(")")

    def ratio_to(self, other: StepRow) -> float:
        """Return the median over the rounds of this processor time divided by that of `other` in the same round."""
        return median(a / b for a, b in zip(self.cpu_s, other.cpu_s, strict=True))


def fastest(rows: Sequence[StepRow]) -> StepRow:
    """Return the row with the least median of processor time."""
    return min(rows, key=lambda row: median(row.cpu_s))


def as_trained(rows: Sequence[StepRow], precision: str | None = None) -> StepRow:
    """Return our step in `precision`, or in the faster of both, which is what the trainer takes."""
    found = [row for row in rows if row.name.startswith(OURS) and precision in (None, row.precision)]
    return fastest(found)


def ratios(rows: Sequence[StepRow]) -> dict[str, float]:
    """Return how many times as long as ours the fastest peer's step takes: in each precision, and all told.

    In the last, each side has its faster precision.
    """
    peers = [row for row in rows if not row.ours]
    found = {}
    for precision in sorted({row.precision for row in peers}, reverse=True):
        peer = fastest([row for row in peers if row.precision == precision])
        found[f"{peer.name} / {OURS} ({precision})"] = peer.ratio_to(as_trained(rows, precision))
    best, ours = fastest(peers), as_trained(rows)
    found[f"fastest: {best.name} / {ours.name}"] = best.ratio_to(ours)
    return found


def table(size: str, rows: Sequence[StepRow], parameters: Mapping[str, Mapping[str, int]]) -> str:
    """Return the times of one size and the numbers of parameters as Markdown, fastest first."""
    ours = as_trained(rows)
    lines = [
        f"| {size} | processor time: median (least to most) | wall time: median | times as long as {ours.name} |",
        "|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: median(row.cpu_s)):
        spread = f"{median(row.cpu_s):.2f} ({min(row.cpu_s):.2f} to {max(row.cpu_s):.2f}) s"
        lines.append(f"| {row.name} | {spread} | {median(row.wall_s):.2f} s | {row.ratio_to(ours):.2f} |")
    lines += ["", f"| {size}: trained parameters | world model | critics | actor |", "|---|---|---|---|"]
    for name, numbers in parameters.items():
        lines.append(f"| {name} | " + " | ".join(f"{numbers[p]:,}" for p in ("world model", "critics", "actor")) + " |")
    return "\n".join(lines)


def verdict(size: str, rows: Sequence[StepRow]) -> str:
    """Return a line per ratio, and whether the goal is reached."""
    found = ratios(rows)
    reached = list(found.values())[-1] >= GOAL
    lines = [f"{size}: {ratio:.2f} times as long: {name}" for name, ratio in found.items()]
    return "\n".join([*lines, f"{size}: goal of {GOAL:g} {'reached' if reached else 'missed'}"])


def asked(size: Size, threads: int, compiled: bool) -> dict[str, Any]:
    """Return the sizes and the batch that every implementation is set to."""
    config = step_config(size, False, ImaginationConfig())
    net = config.network
    return {
        "threads": threads,
        "compile": compiled,
        "size": size,
        "rows": config.batch_size,
        "length": config.sequence_length,
        "horizon": config.imagination.horizon,
        "action": 3,
        "side": config.observation.shape[1],
        "recurrent": net.recurrent,
        "variables": net.variables,
        "classes": net.classes,
        "cnn_depth": net.cnn_depth,
        "units": net.units,
        "actor_units": config.actor.units or net.units,
        "head_layers": _HEAD_LAYERS,
        "actor_layers": config.actor.layers,
        "critic_layers": config.critic.layers,
    }


class Stepper:
    """A process that makes training steps one by one (scripts/peers/serve.py)."""

    def __init__(self, python: Path, script: str, work: Mapping[str, Any], log: Path, ours: bool) -> None:
        """Start it; UserError, which names the log, when it does not become ready."""
        environment = {**os.environ, "OMP_NUM_THREADS": str(work["threads"])}
        if not ours:
            environment = {name: value for name, value in environment.items() if name not in _OWN}
        self._log = log
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [str(python), str(_ROOT / "scripts/peers" / script), json.dumps(work)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                bufsize=1,
                env=environment,
            )
        facts = self._answer()
        self.name: str = facts["name"]
        self.steps: list[str] = facts["steps"]
        self.parameters: dict[str, int] = facts["parameters"]

    def step(self, name: str) -> dict[str, float]:
        """Make one step; return its `cpu_s` and `wall_s`."""
        assert self._process.stdin is not None
        self._process.stdin.write(name + "\n")
        return self._answer()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            last = (self._log.read_text().strip().splitlines() or ["it says nothing"])[-1]
            raise UserError(f"a training step ended with {self._process.wait()}: {last} (all of it: {self._log})")
        answer: dict[str, Any] = json.loads(line)
        return answer


_OWN = ("PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
"""Variables of scripts/env.sh that an environment of its own must not see."""


def measure(
    size: Size, rounds: int, work: Mapping[str, Any], python: Path, out: Path
) -> tuple[list[StepRow], dict[str, dict[str, int]]]:
    """Return the times of all steps of all implementations, taken by turns, and their numbers of parameters."""
    scripts = [(Path(sys.executable), "fosp_step.py"), (python, "sheeprl_step.py")]
    if os.environ.get(CHECKOUT):
        scripts.append((python, "dreamerv3_torch_step.py"))
    with ExitStack() as stack:
        steppers = []
        for number, (interpreter, script) in enumerate(scripts):
            log = out / f"{Path(script).stem}_{size}.log"
            stepper = Stepper(interpreter, script, work, log, ours=number == 0)
            stack.callback(stepper.close)
            steppers.append(stepper)
        times: dict[str, list[dict[str, float]]] = {name: [] for stepper in steppers for name in stepper.steps}
        for number in range(WARM_UP + rounds):
            for stepper in steppers:
                for name in stepper.steps:
                    spent = stepper.step(name)
                    if number >= WARM_UP:
                        times[name].append(spent)
            print(f"{size}: round {number + 1} of {WARM_UP + rounds}", file=sys.stderr)
        rows = [
            StepRow(name, *(tuple(spent[key] for spent in taken) for key in ("cpu_s", "wall_s")))
            for name, taken in times.items()
        ]
        return rows, {stepper.name: stepper.parameters for stepper in steppers}


def main(
    out: Annotated[Path, typer.Option(help="Folder of the figures, peers.json, and of the logs.")] = Path("runs/peers"),
    python: Annotated[Path, typer.Option(help="Python of the peers' own environment.")] = Path(
        "runs/peers/venv/bin/python"
    ),
    rounds: Annotated[int, typer.Option(min=1, help="Steps of each kind that count.")] = 9,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each process.")] = 1,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Let sheeprl compile its losses (algo.compile); takes minutes.")
    ] = False,
    only: Annotated[str, typer.Option(help="One size alone: nano or small.")] = "",
) -> None:
    """Measure a full training step of fosp and of its peers, by turns; print a table and write peers.json."""
    out.mkdir(parents=True, exist_ok=True)
    checkout = os.environ.get(CHECKOUT, "")
    if checkout and not (Path(checkout) / "models.py").is_file():
        raise UserError(f"{CHECKOUT}={checkout} is no checkout of dreamerv3-torch: there is no models.py")
    if only and only not in SIZES:
        raise UserError(f"--only {only}: nano or small")
    if not checkout:
        print(f"dreamerv3-torch is left out: {CHECKOUT} names no checkout of it", file=sys.stderr)
    results: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "threads": threads,
        "compile": compiled,
    }
    for size in (size for size in SIZES if only in ("", size)):
        work = asked(size, threads, compiled)
        rows, parameters = measure(size, rounds, work, python.absolute(), out)
        print(table(size, rows, parameters), verdict(size, rows), sep="\n\n", end="\n\n")
        results[size] = {
            "asked": work,
            "steps": [asdict(row) for row in rows],
            "parameters": parameters,
            "ratios": ratios(rows),
        }
        (out / "peers.json").write_text(json.dumps(results, indent=1))
    print(f"figures: {out / 'peers.json'}")


if __name__ == "__main__":
    try:
        typer.run(main)
    except UserError as error:
        print(f"fosp: {error}", file=sys.stderr)
        sys.exit(2)
