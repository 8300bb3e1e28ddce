"""`fosp bundle`: look at a model bundle, or check it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Verify or show a model bundle.")
Directory = Annotated[Path, typer.Argument(help="Bundle folder.", metavar="DIR")]
Robot = Annotated[str, typer.Option(help="Robot to check the specs against: a name in config/robots, or a YAML file.")]


@app.command()
def verify(directory: Directory, robot: Robot = "") -> None:
    """Check hashes, id, signatures and the golden outputs; exit 2 with one line if anything is wrong."""
    from fosp_bringup.paths import robot_path
    from fosp_core.bundle import load_bundle
    from fosp_core.specs import read_robot

    bundle = load_bundle(directory, read_robot(robot_path(robot)) if robot else None)
    manifest = bundle.manifest
    print(f"{directory}: ok, {manifest.task} for {manifest.robot}, id {manifest.id}, runs on {bundle.provider}")


@app.command()
def show(directory: Directory) -> None:
    """Print what the manifest says: task, robot, specs, calibration, figures, provenance."""
    from rich.console import Console
    from rich.table import Table

    from fosp_core.bundle import verify_bundle

    manifest = verify_bundle(directory)
    table = Table(show_header=False, title=str(directory))
    calibration = manifest.calibration
    support = "" if calibration.supported else " (too few violating episodes: most conservative observed value)"
    rows: dict[str, object] = {
        "id": manifest.id,
        "parent": manifest.parent_id or "none (offline)",
        "task, robot, size": f"{manifest.task}, {manifest.robot}, {manifest.size}",
        "observation": ", ".join(f"{c.topic} {c.width}x{c.height}" for c in manifest.observation.cameras),
        "action": ", ".join(f"{a.name} +-{a.scale:g} {a.unit}" for a in manifest.action.axes)
        + f" in {manifest.action.frame_id}",
        "decision period": f"{manifest.decision_period_s * 1e3:g} ms",
        "eps": f"{calibration.eps:.4f}{support}",
        "miss rate": f"alpha {calibration.alpha:g}, bound {calibration.miss_rate_bound:.3f}, "
        f"{calibration.violating_episodes} of {calibration.episodes} episodes violate",
        "false vetoes": f"{calibration.false_veto_rate:.3f} of safe steps",
        "surprise limit": f"{calibration.surprise_limit:.2f} nats",
        **{f"metric {name}": f"{value:.4g}" for name, value in sorted(manifest.metrics.items())},
        **{f"training {name}": value for name, value in sorted(manifest.training.items())},
    }
    for name, value in rows.items():
        table.add_row(name, str(value))
    Console().print(table)
