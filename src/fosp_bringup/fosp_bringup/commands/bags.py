"""`fosp bags`: what is in recorded bags, before anything is trained on them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Look at recorded bags.")


@app.callback()
def _group() -> None:
    """Keeps `check` a subcommand while it is the only one."""


@app.command()
def check(
    folders: Annotated[list[Path], typer.Argument(help="Bags, or folders of bags.", metavar="DIR...")],
    robot: Annotated[str, typer.Option(help="Robot by name or file; by default the one the bags name.")] = "",
) -> int:
    """Say per bag what can be trained on and what is wrong; exit 2 if any bag cannot be used."""
    import sys

    from rich.console import Console
    from rich.table import Table

    from fosp_bringup.paths import robot_path, share
    from fosp_core.specs import ObservationSpec, read_robot
    from fosp_learner.bags import check_bags, find_bags
    from fosp_learner.config import LearnerConfig
    from fosp_learner.pretrain import choose_robot

    bags = find_bags(folders)
    paths = [robot_path(robot)] if robot else sorted((share() / "config" / "robots").glob("*.yaml"))
    chosen = choose_robot(bags, [read_robot(path) for path in paths])
    rows = check_bags(folders, ObservationSpec(), chosen, LearnerConfig().decision_period_s)
    table = Table("bag", "steps", "seconds", "success", "violation", "remark", title=f"robot {chosen.name}")
    for row in rows:
        done = ["yes" if flag else "no" for flag in (row.success, row.violation)]
        table.add_row(row.bag, str(row.steps), f"{row.seconds:.1f}", *done, row.problem)
    Console().print(table)
    unusable = [row for row in rows if row.episodes == 0]
    print(
        f"{len(rows) - len(unusable)} of {len(rows)} bags can be trained on: {sum(r.steps for r in rows)} steps, "
        f"{sum(r.success for r in rows)} succeed, {sum(r.violation for r in rows)} violate"
    )
    if unusable:
        print(f"fosp: {unusable[0].bag}: {unusable[0].problem}", file=sys.stderr)
        return 2
    return 0
