"""`fosp doctor` and `fosp bench`: what this machine lacks, and how fast it is."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from fosp_cli.commands.options import Bundle, RobotToCheck
from fosp_cli.json_file import write_json


def doctor(
    robot: RobotToCheck = "",
    bundle: Annotated[
        Path | None, typer.Option(help="Bundle to check against this machine and the robot.", metavar="DIR")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> int:
    """Check this machine for what would keep the stack from running well, and say how to mend it.

    The exit code is 1 if something will not work, and 0 if all is well or there are only warnings.
    """
    from fosp_cli.doctor.diagnosis import Level
    from fosp_cli.doctor.probes import diagnose

    findings = diagnose(robot, bundle)
    if as_json:
        print(json.dumps([{**asdict(finding), "level": finding.level.value} for finding in findings], indent=2))
    else:
        width = max(len(finding.check) for finding in findings)
        for finding in findings:
            print(f"{finding.level.value:<8} {finding.check:<{width}}  {finding.says}")
            if finding.remedy:
                print(f"{'':<{width + 11}}-> {finding.remedy}")
    return int(any(finding.level is Level.ERROR for finding in findings))


def env() -> None:
    """Print the environment that a plain terminal needs to listen to the graph: eval "$(./fosp env)".

    It has the stack's DDS settings and the ROS domain, for ros2, RViz, Foxglove's bridge and your own programs. In a
    checkout without ROS from apt it also brings the checkout's packages onto the paths.
    """
    import os
    import shlex

    from fosp_bringup.environment import settings
    from fosp_bringup.paths import share

    script = share() / "scripts" / "env.sh"
    if os.environ.get("VIRTUAL_ENV") == str(share() / ".venv") and script.is_file():
        print(f". {shlex.quote(str(script))}")
    # The number of threads and the like are for the nodes; a terminal may train.
    shown = {name: value for name, value in settings().items() if name.startswith("FAST")}
    for name, value in {**shown, "ROS_DOMAIN_ID": os.environ.get("ROS_DOMAIN_ID", "0")}.items():
        print(f"export {name}={shlex.quote(value)}")


def bench(
    bundle: Bundle = None,
    out: Annotated[Path, typer.Option(help="Folder for bench.json and the logs.", metavar="DIR")] = Path("runs/bench"),
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Take a tenth of the samples. This is a smoke test; do not quote its figures."),
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Measure only this part, such as 'the live graph'. Repeat the option for more.", metavar="PART"
        ),
    ] = None,
    profile: Annotated[
        bool,
        typer.Option("--profile", help="Only sample every node with py-spy, and write a flame graph of each to OUT."),
    ] = False,
    endurance: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=10080.0,
            help="Only run episodes for this many minutes, with recorder, black box and learner, and tell whether any "
            "node grows.",
            metavar="MINUTES",
        ),
    ] = None,
    stream: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=1440.0,
            help="Measure only the command stream, for this many minutes, next to a learner and a process that "
            "keeps one core busy.",
            metavar="MINUTES",
        ),
    ] = None,
) -> int:
    """Measure latency, jitter and throughput on this machine, print a table and write OUT/bench.json.

    Compare figures of one run with each other, not with those of another run.
    """
    from fosp_bringup.stack import default_bundle
    from fosp_cli.bench import benchmarks
    from fosp_cli.evaluation.live_graph import RunFailed
    from fosp_core.errors import UserError

    bundle = bundle or default_bundle("safe_reach")
    figures: dict[str, Any] = {"machine": benchmarks.machine()}
    try:
        if stream is not None:
            print(f"watching the command stream for {stream:g} minutes ...", flush=True)
            from fosp_cli.bench.stream import stream_under_load

            figures.update(stream_under_load(bundle, out, stream))
        elif endurance is not None:
            from fosp_cli.bench import endurance as run_on

            print(f"running for {endurance:g} minutes ...", flush=True)
            figures.update(run_on.endurance(bundle, out, endurance))
        elif profile:
            from fosp_cli.bench.weight import flame_graphs

            print("sampling every node ...", flush=True)
            figures.update(flame_graphs(bundle, out, 3.0 if quick else benchmarks.WEIGHT_S))
        else:
            parts = benchmarks.parts(bundle, out, 0.1 if quick else 1.0)
            for name in only or parts:
                if name not in parts:
                    raise UserError(f"--only must be one of {', '.join(parts)}, got '{name}'")
            for name in [part for part in parts if not only or part in only]:
                print(f"measuring {name} ...", flush=True)
                figures.update(parts[name]())
    except RunFailed as error:
        print(f"fosp: {error}", file=sys.stderr)
        return 1
    kinds = {"stream": stream is not None, "endurance": endurance is not None, "profile": profile}
    written = out / f"{next((kind for kind, asked in kinds.items() if asked), 'bench')}.json"
    write_json(written, figures)
    _table(figures)
    print(f"written to {written}")
    if figures.get("late_unreported"):
        print(f"fosp: the safety monitor did not report {figures['late_unreported']} late commands", file=sys.stderr)
        return 1
    return 0


def _table(figures: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("figure", "value", title=", ".join(f"{k} {v}" for k, v in figures["machine"].items()))
    for name, value in figures.items():
        if name in ("hops_ms", "message_us", "growth"):
            for part, times in value.items():
                table.add_row(f"{name}: {part}", _text(times))
        elif name != "machine":
            table.add_row(name, _text(value))
    Console().print(table)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{key} {_text(item)}" for key, item in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
