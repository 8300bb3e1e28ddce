"""`fosp doctor`: what on this machine would keep the stack from running well, and what to do about it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fosp_cli.commands.options import RobotToCheck


def doctor(
    robot: RobotToCheck = "",
    bundle: Annotated[Path | None, typer.Option(help="Bundle that is to run on this robot.", metavar="DIR")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Check this machine; exit 1 if something will not work, 0 if all is well or only worth a warning."""
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
