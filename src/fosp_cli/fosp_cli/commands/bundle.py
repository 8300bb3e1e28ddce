"""`fosp bundle`: inspect, verify and sign a model bundle, and announce it to the running graph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fosp_cli.commands.options import Namespace, RobotOfBundle, RobotToCheck

if TYPE_CHECKING:
    from fosp_core.specs import CameraCalibration

app = typer.Typer(no_args_is_help=True, help="Verify, sign, show and announce model bundles.")
Directory = Annotated[Path, typer.Argument(help="Bundle folder.", metavar="DIR")]


@app.command()
def verify(
    directory: Directory,
    robot: RobotToCheck = "",
    key: Annotated[
        list[str] | None,
        typer.Option(
            help="Public key that is trusted to sign the bundle. Repeat the option for more keys.", metavar="KEY"
        ),
    ] = None,
) -> None:
    """Verify a bundle: hashes, id, networks, golden outputs, and the signature if --key or the robot requires one.

    The exit code is 2, with one line on stderr, if anything is wrong.
    """
    from fosp_bringup.paths import robot_path
    from fosp_core.bundle.bundle import load_bundle
    from fosp_core.bundle.signature import require_signature
    from fosp_core.robot.config import read_robot

    config = read_robot(robot_path(robot)) if robot else None
    bundle = load_bundle(directory, config)
    manifest = bundle.manifest
    trusted = [*(key or ()), *(config.bundle_keys if config else ())]
    signer = f", signed with {require_signature(directory, manifest.id, trusted)}" if trusted else ""
    print(f"{directory}: ok, {manifest.task} for {manifest.robot}, id {manifest.id}{signer}, runs on {bundle.provider}")


@app.command()
def keygen(
    out: Annotated[Path, typer.Option(help="File to write the private key to, readable by you alone.", metavar="FILE")],
) -> None:
    """Generate a key to sign bundles with, and print the line that makes a robot trust it."""
    from fosp_core.bundle.signature import generate_key

    public = generate_key(out)
    print(f"private key: {out} (keep it where bundles are made, never on a robot that only runs them)")
    print("add this line to config/robots/NAME.yaml of each robot that is to load only bundles signed with this key:")
    print(f'bundle_keys: ["{public}"]')


@app.command()
def sign(
    directory: Directory,
    key: Annotated[Path, typer.Option(help="Private key from `fosp bundle keygen`.", metavar="FILE")],
) -> None:
    """Verify a bundle and write your signature into its folder."""
    from fosp_core.bundle.bundle import sign_bundle

    print(f"{directory}: signed with {sign_bundle(directory, key)}")


@app.command()
def announce(directory: Directory, namespace: Namespace = "") -> int:
    """Swap the running graph to this bundle without a stop, and report its progress until its trial is over.

    Run the command on the robot's computer. The exit code is 1 if the graph refuses the bundle or returns to the
    previous one.
    """
    from fosp_cli.operator_client import OperatorClient

    with OperatorClient(namespace) as client:
        return int(not client.offer(directory, lambda line: print(line, flush=True)))


@app.command()
def calibrate(
    directory: Directory,
    out: Annotated[Path, typer.Option(help="Folder of the new bundle.", metavar="DIR")],
    data: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of recorded episodes that the bundle was not trained on. Repeat for more.", metavar="BAGS"
        ),
    ] = None,
    policy: Annotated[
        str,
        typer.Option(
            help="In place of --data: scenario in which the bundle's policy drives alone, without any filter.",
            metavar="SCENARIO",
        ),
    ] = "",
    episodes: Annotated[int, typer.Option(min=1, help="With --policy: number of episodes.")] = 500,
    seed: Annotated[
        int, typer.Option(help="With --policy: seed of the scenes, which no evaluation uses.")
    ] = 60_000_000,
    robot: RobotToCheck = "",
    alpha: Annotated[
        float | None,
        typer.Option(help="Promised share of onsets that pass at their last chance; the bundle's by default."),
    ] = None,
    allow_larger: Annotated[
        bool,
        typer.Option(
            "--allow-larger", help="With --data: take a larger eps, too, if more onsets than before support it."
        ),
    ] = False,
) -> None:
    """Calibrate a bundle anew, without training: for the time that a robot needs to stop, or for other scenes.

    The networks stay as they are. Without --robot the file of the bundle's robot is used.
    """
    from fosp_cli.experiments.calibrations import calibrate_on_policy, calibrate_on_recordings
    from fosp_core.errors import UserError

    if bool(data) == bool(policy):
        raise UserError("give --data BAGS, recorded episodes, or --policy SCENARIO, to let the policy drive alone")
    if policy and allow_larger:
        raise UserError("--allow-larger goes with --data: a policy meets few violations of the demonstrators' kind")
    found = (
        calibrate_on_policy(directory, policy, episodes, seed, robot, out, alpha)
        if policy
        else calibrate_on_recordings(directory, data or [], robot, out, alpha, allow_larger)
    )
    print(
        f"{out}: eps {found.eps:.4f} for risks within {found.horizon_steps} steps, "
        f"miss rate at most {found.miss_rate_bound:.3f}, false vetoes {found.false_veto_rate:.3f} of safe steps, "
        f"on {found.episodes} episodes, of which {found.violating_episodes} violate"
    )


@app.command()
def show(directory: Directory, robot: RobotToCheck = "") -> None:
    """Print the manifest: task, robot, specifications, calibration, metrics and provenance.

    With --robot the command also tells whether the calibration looks as far ahead as that robot needs to stop.
    """
    from rich.table import Table

    from fosp_bringup.paths import robot_path
    from fosp_cli.live_line import show_table
    from fosp_core.bundle.acceptance import unsupported_because
    from fosp_core.bundle.bundle import verify_bundle
    from fosp_core.bundle.probes import described, read_probes
    from fosp_core.robot.config import read_robot
    from fosp_core.robot.horizon import needed_horizon_s, needed_horizon_steps

    config = read_robot(robot_path(robot)) if robot else None
    manifest = verify_bundle(directory, config)
    period_s = manifest.decision_period_s
    needs = (
        f"; {config.name} needs {needed_horizon_steps(config, period_s)} steps "
        f"({needed_horizon_s(config, period_s):.2f} s) from a picture to its rest"
        if config
        else ""
    )
    table = Table(show_header=False, title=str(directory))
    calibration = manifest.calibration
    doubt = unsupported_because(calibration)
    support = f" (UNSUPPORTED: {doubt})" if doubt else ", supported"
    probes = read_probes(directory, manifest)
    rows: dict[str, object] = {
        "id": manifest.id,
        "parent": manifest.parent_id or "none (trained offline)",
        "task, robot, size": f"{manifest.task}, {manifest.robot}, {manifest.size}",
        "observation": ", ".join(f"{c.topic} {c.width}x{c.height}" for c in manifest.observation.cameras),
        "action": ", ".join(f"{a.name} +-{a.scale:g} {a.unit}" for a in manifest.action.axes)
        + f" in {manifest.action.frame_id}",
        "decision period": f"{manifest.decision_period_s * 1e3:g} ms",
        "eps": f"{calibration.eps:.4f}{support}",
        "miss rate": f"at most {calibration.miss_rate_bound:.3f} (alpha {calibration.alpha:g}), calibrated on "
        f"{calibration.episodes} episodes, of which {calibration.violating_episodes} violate",
        "horizon": f"{calibration.horizon_steps} steps ({calibration.horizon_steps * period_s:g} s){needs}",
        "false veto rate": f"{calibration.false_veto_rate:.3f} of safe steps",
        "probes": described(probes) if probes else "none: a graph that runs this bundle cannot swap to another one",
        "camera": _camera_row(calibration.camera),
        "surprise limit": f"{calibration.surprise_limit:.2f} nats",
        **{f"metric {name}": f"{value:.4g}" for name, value in sorted(manifest.metrics.items())},
    }
    trained = dict(sorted(manifest.training.items(), key=lambda item: (item[0] == "config", item[0])))
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for name, value in (*rows.items(), *nested_rows(trained, "training ")):
        table.add_row(name, str(value))
    show_table(table)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="Bundle folder.", metavar="A")],
    second: Annotated[Path, typer.Argument(help="Bundle folder to compare it with.", metavar="B")],
    out: Annotated[Path, typer.Option(help="HTML file to write.", metavar="FILE")] = Path("runs/compare.html"),
    runs: Annotated[Path, typer.Option(help="Folder with the reports of training runs.", metavar="DIR")] = Path("runs"),
) -> None:
    """Compare two bundles: print what differs, and write a page with that and with both training reports.

    It compares specification, training data and settings, figures on held-out episodes, and calibration. How they drive
    is compared by `fosp eval --bundle A --compare B`.
    """
    from rich.table import Table

    from fosp_cli.evaluation.bundle_comparison import compared, comparison_page, differences_of, write_page
    from fosp_cli.live_line import show_table
    from fosp_core.bundle.bundle import verify_bundle
    from fosp_core.errors import UserError

    bundles = [compared(folder, verify_bundle(folder, needs_reference=False), runs) for folder in (first, second)]
    if bundles[0].manifest.id == bundles[1].manifest.id:
        raise UserError(f"{second} is the same bundle as {first}: nothing to compare")
    groups = differences_of(bundles[0].manifest, bundles[1].manifest)
    write_page(out, comparison_page(bundles[0], bundles[1], groups))
    for group in groups:
        table = Table(title=f"{group.title} ({group.equal} values are the same)")
        for column in ("", str(first), str(second), "second - first"):
            table.add_column(column, overflow="fold")
        for row in group.differences:
            table.add_row(row.name, row.first, row.second, row.change)
        if group.differences:
            show_table(table)
    without = [str(bundle.folder) for bundle in bundles if not bundle.report]
    print(f"page: {out}" + (f" (no report of {' and of '.join(without)} in {runs})" if without else ""))


def nested_rows(value: object, name: str = "") -> list[tuple[str, str]]:
    """Return a row for each value of nested settings: its path with dots, and the value in words."""
    if isinstance(value, dict):
        separator = "" if name.endswith(" ") else "."
        return [row for key, inner in value.items() for row in nested_rows(inner, f"{name}{separator}{key}")]
    if isinstance(value, list | tuple) and any(isinstance(one, dict) for one in value):
        return [row for index, one in enumerate(value) for row in nested_rows(one, f"{name}[{index}]")]
    if isinstance(value, list | tuple):
        value = ", ".join(map(str, value)) or "none"
    return [(name, f"{value:g}" if isinstance(value, float) else str(value))]


def _camera_row(camera: CameraCalibration | None) -> str:
    """Return the row on the limits of the cameras."""
    if camera is None:
        return "no reference: no frame can be judged"
    few = "" if camera.supported else " (too few episodes)"
    return (
        f"novelty limit {camera.novelty_limit:.2f}, inconsistency limit {camera.inconsistency_limit:.2f}; false alarms "
        f"in at most {camera.false_alarm_bound:.2%} of healthy episodes{few}, calibrated on {camera.episodes}"
    )


@app.command()
def reference(
    bundle: Annotated[Path, typer.Option(help="Bundle that gets a reference of its cameras.", metavar="DIR")],
    data: Annotated[
        list[Path],
        typer.Option(
            help="Folder with bags of the kind that the bundle was trained on. Repeat the option for more.",
            metavar="EPISODES",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the new bundle.", metavar="DIR")],
    held_out: Annotated[
        float, typer.Option(min=0.05, max=0.95, help="Share of the episodes that calibrates the limits.")
    ] = 0.5,
    runs: Annotated[Path, typer.Option(help="Folder with the cache of bags that were read.", metavar="DIR")] = Path(
        "runs"
    ),
) -> None:
    """Fit what the frames of a bundle's cameras look like, on recorded episodes, and write a bundle that carries it.

    The networks stay as they are, bit by bit; the new bundle names the old one as its parent. With fewer than 599
    held-out episodes without a violation the bound on false alarms is not reached, and the manifest says so.
    """
    from rich.progress import Progress

    from fosp_cli.experiments.calibrations import robot_and_episodes
    from fosp_learner.bundling.reference import add_reference

    command = f"fosp bundle reference --bundle {bundle} {' '.join(f'--data {folder}' for folder in data)} --out {out}"
    with Progress(transient=True) as bar:
        reading, fitting = bar.add_task("reading bags", total=None), bar.add_task("fitting", total=None)
        _, dataset = robot_and_episodes(
            bundle, data, "", runs / "cache", lambda done, total: bar.update(reading, completed=done, total=total)
        )
        written = add_reference(
            bundle,
            dataset,
            out,
            held_out,
            f"{command} --held-out {held_out:g}",
            lambda done, total: bar.update(fitting, completed=done, total=total),
        )
    print(f"{out}: id {written.id}, {_camera_row(written.calibration.camera)}")


@app.command()
def probes(
    bundle: Annotated[Path, typer.Option(help="Bundle to add probes to.", metavar="DIR")],
    data: Annotated[
        list[Path],
        typer.Option(
            help="Folders of bags: those that the bundle was trained on, of which its validation episodes are probed, "
            "or others of the same task. Repeat the option for more folders.",
            metavar="DIR",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Bundle folder to write.", metavar="BUNDLE")],
    judge: Annotated[
        list[Path] | None,
        typer.Option(
            help="Another bundle for the same task that is known to be fit, such as a fine-tuned one: as much "
            "disagreement as it shows is tolerated. Repeat the option for more bundles.",
            metavar="DIR",
        ),
    ] = None,
    robot: RobotOfBundle = "",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the choice of episodes and actions.")] = 0,
    cache: Annotated[Path, typer.Option(help="Folder of decoded bags.", metavar="DIR")] = Path("runs/cache"),
) -> None:
    """Add probes to a bundle: moments on which another judge is held against its own before a swap.

    The new bundle is the same one otherwise, under another id and unsigned. `fosp pretrain` makes probes by itself.
    """
    from fosp_bringup.paths import robot_path
    from fosp_core.bundle.bundle import verify_bundle
    from fosp_core.robot.config import read_robot
    from fosp_learner.bundling.adding_probes import add_probes

    config = read_robot(robot_path(robot or verify_bundle(bundle).robot))
    manifest, lines = add_probes(bundle, data, out, config, cache, tuple(judge or ()), seed)
    print(f"{out}: id {manifest.id}")
    for line in lines:
        print(line)


@app.command()
def log(
    run: Annotated[Path, typer.Argument(help="Folder of one fine-tuning run or of several.", metavar="RUN")] = Path(
        "runs/finetune"
    ),
) -> None:
    """Print the lineage of fine-tuned bundles: parent, data, figures, and the outcome of gate and trial."""
    from rich.console import Console
    from rich.table import Table

    from fosp_core.errors import UserError
    from fosp_learner.finetuning.lineage import LINEAGE, Lineage, rows

    folders = sorted(path.parent for path in run.rglob(LINEAGE)) if run.is_dir() else []
    if not folders:
        raise UserError(f"{run}: holds no fine-tuning run (no {LINEAGE}); `fosp finetune` makes one")
    for folder in folders:
        table = Table(title=str(folder))
        for name in ("time (UTC)", "bundle", "parent", "update", "experience", "figures", "outcome"):
            table.add_column(name, no_wrap=name in ("bundle", "parent", "update"))
        for row in rows(Lineage(folder).events()):
            table.add_row(*row)
        Console().print(table)
