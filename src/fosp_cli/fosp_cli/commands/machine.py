"""`fosp bench`: latency, jitter and throughput, each against what it is to be compared with, in one run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer


def bench(
    bundle: Annotated[Path | None, typer.Option(help="Bundle; by default the shipped one.", metavar="DIR")] = None,
    out: Annotated[Path, typer.Option(help="Folder for bench.json.", metavar="DIR")] = Path("runs/bench"),
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of the samples: a smoke test, no figures.")] = False,
    stream: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=1440.0,
            help="Only the command stream, for so many minutes, beside a learner and a process that just computes.",
            metavar="MINUTES",
        ),
    ] = None,
) -> int:
    """Measure this machine: prints a table, writes OUT/bench.json. Medians; compare within one run only."""
    from fosp_bringup.stack import default_bundle
    from fosp_cli.bench import benchmarks
    from fosp_cli.evaluation.episode_driver import RunFailed

    bundle = bundle or default_bundle("safe_reach")
    if stream is not None:
        return _stream(bundle, out, stream)
    share = 0.1 if quick else 1.0
    figures: dict[str, Any] = {"machine": benchmarks.machine()}
    try:
        for name, measure in benchmarks.parts(bundle, out, share).items():
            print(f"measuring {name} ...", flush=True)
            figures.update(measure())
    except RunFailed as error:
        print(f"fosp: {error}", file=sys.stderr)
        return 1
    out.mkdir(parents=True, exist_ok=True)
    (out / "bench.json").write_text(json.dumps(figures, indent=2) + "\n")
    _table(figures)
    print(f"written to {out / 'bench.json'}")
    return 0


def _stream(bundle: Path, out: Path, minutes: float) -> int:
    """Exit code 1 also when the safety monitor reported fewer late ticks than were seen."""
    from fosp_cli.bench.benchmarks import machine
    from fosp_cli.bench.stream_endurance import stream_under_load
    from fosp_cli.evaluation.episode_driver import RunFailed

    print(f"watching the command stream for {minutes:g} minutes ...", flush=True)
    try:
        figures = {"machine": machine(), **stream_under_load(bundle, out, minutes)}
    except RunFailed as error:
        print(f"fosp: {error}", file=sys.stderr)
        return 1
    (out / "stream.json").write_text(json.dumps(figures, indent=2) + "\n")
    _table(figures)
    print(f"written to {out / 'stream.json'}")
    if figures["late_unreported"]:
        print(f"fosp: {figures['late_unreported']} late command ticks were not reported", file=sys.stderr)
        return 1
    return 0


def _table(figures: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("figure", "value", title=", ".join(f"{k} {v}" for k, v in figures["machine"].items()))
    for name, value in figures.items():
        if name != "machine":
            table.add_row(name, _text(value))
    Console().print(table)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{key} {_text(item)}" for key, item in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
