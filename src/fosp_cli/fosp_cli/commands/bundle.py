"""`fosp bundle`: look at a model bundle, check it, sign it, have the running graph take it over."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from fosp_cli.commands.options import Namespace, RobotToCheck

app = typer.Typer(no_args_is_help=True, help="Verify, sign, show or announce a model bundle.")
Directory = Annotated[Path, typer.Argument(help="Bundle folder.", metavar="DIR")]


@app.command()
def verify(
    directory: Directory,
    robot: RobotToCheck = "",
    key: Annotated[
        list[str] | None, typer.Option(help="Public key that must have signed it; may be given several times.")
    ] = None,
) -> None:
    """Check hashes, id, networks, golden outputs, and the signature if `--key` or the robot asks for it.

    Exit 2 with one line if anything is wrong.
    """
    from fosp_bringup.paths import robot_path
    from fosp_core.bundle.bundle import load_bundle
    from fosp_core.bundle.signature import require_signature
    from fosp_core.specs import read_robot

    config = read_robot(robot_path(robot)) if robot else None
    bundle = load_bundle(directory, config)
    manifest = bundle.manifest
    trusted = [*(key or ()), *(config.bundle_keys if config else ())]
    signer = f", signed with {require_signature(directory, manifest.id, trusted)}" if trusted else ""
    print(f"{directory}: ok, {manifest.task} for {manifest.robot}, id {manifest.id}{signer}, runs on {bundle.provider}")


@app.command()
def keygen(
    out: Annotated[Path, typer.Option(help="File for the private key; only you can read it.", metavar="FILE")],
) -> None:
    """Make a key to sign bundles with, and print the line for the configuration of the robots that are to trust it."""
    from fosp_core.bundle.signature import generate_key

    public = generate_key(out)
    print(f"private key: {out} (keep it where bundles are made, never on a robot that only runs them)")
    print("in config/robots/NAME.yaml of each robot that is to load only bundles signed with it:")
    print(f'bundle_keys: ["{public}"]')


@app.command()
def sign(
    directory: Directory, key: Annotated[Path, typer.Option(help="Private key of keygen.", metavar="FILE")]
) -> None:
    """Verify a bundle and put your signature into its folder."""
    from fosp_core.bundle.bundle import sign_bundle

    print(f"{directory}: signed with {sign_bundle(directory, key)}")


@app.command()
def announce(directory: Directory, namespace: Namespace = "") -> int:
    """Have the running graph take the bundle over, without a stop, and tell how it does until its trial is over.

    Run it on the robot's computer. Exit 1 when the graph refuses the bundle or goes back to the one before.
    """
    from fosp_bringup.stack import environment
    from fosp_cli.operator_client import OperatorClient

    os.environ.update(environment())
    with OperatorClient(namespace) as client:
        return int(not client.offer(directory, lambda line: print(line, flush=True)))


@app.command()
def show(directory: Directory) -> None:
    """Print what the manifest says: task, robot, specs, calibration, figures, provenance."""
    from rich.console import Console
    from rich.table import Table

    from fosp_core.bundle.bundle import verify_bundle

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


@app.command()
def log(
    run: Annotated[
        Path, typer.Argument(help="Folder of a fine-tuning run, or of several; by default all.", metavar="[RUN]")
    ] = Path("runs/finetune"),
) -> None:
    """Lineage of fine-tuned bundles: parent, data, figures, and what the gate and the robot said of each."""
    from rich.console import Console
    from rich.table import Table

    from fosp_core.errors import UserError
    from fosp_learner.finetuning.lineage import LINEAGE, Lineage, rows

    folders = sorted(path.parent for path in run.rglob(LINEAGE)) if run.is_dir() else []
    if not folders:
        raise UserError(f"{run}: no fine-tuning run here (no {LINEAGE}); see fosp finetune")
    for folder in folders:
        table = Table(title=str(folder))
        for name in ("time (UTC)", "bundle", "parent", "update", "experience", "figures", "outcome"):
            table.add_column(name, no_wrap=name in ("bundle", "parent", "update"))
        for row in rows(Lineage(folder).events()):
            table.add_row(*row)
        Console().print(table)
