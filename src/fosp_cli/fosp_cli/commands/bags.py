"""`fosp bags` and `fosp replay`: look at recorded bags before anything is trained on them, and play one back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fosp_cli.commands.options import Namespace, RobotArgument, RobotOfBags
from fosp_cli.json_file import write_json

if TYPE_CHECKING:
    from rich.table import Table

    from fosp_console.history.timeline import BagHistory
    from fosp_learner.data.bags import BagReport

app = typer.Typer(no_args_is_help=True, help="Check, show, view and describe recorded bags.")
_Folders = Annotated[
    list[Path], typer.Argument(help="Bags, folders of bags, or single .mcap and .db3 files.", metavar="DIR")
]
_Bag = Annotated[Path, typer.Argument(help="A bag: a folder, or a single .mcap or .db3 file.", metavar="BAG")]
_WIDE = 110
"""Columns of a terminal from which on the table has all its columns."""
_SHORT = {"violation": "viol.", "success": "succ.", "commands": "commands"}


@app.command()
def check(
    folders: _Folders,
    robot: RobotOfBags = "",
    config: Annotated[
        Path | None,
        typer.Option(
            help="YAML configuration of fosp pretrain. Its cameras and decision period are used.", metavar="FILE"
        ),
    ] = None,
    json_out: Annotated[
        Path | None,
        typer.Option("--json", help="File to write the report to, with all that was measured, as JSON.", metavar="OUT"),
    ] = None,
) -> int:
    """Report for each bag what training would use, what it would drop, and why.

    The exit code is 2 if any bag cannot be used.
    """
    import sys

    from rich.console import Console

    from fosp_bringup.paths import robot_files, robot_path
    from fosp_core.bag.files import find_bags
    from fosp_core.bundle.bundle import uneven_decisions
    from fosp_core.errors import UserError
    from fosp_core.robot.config import read_robot
    from fosp_core.specs import parse_spec, read_yaml
    from fosp_learner.config import LearnerConfig
    from fosp_learner.data.bag_sets import choose_robot, told_apart, with_period_of
    from fosp_learner.data.bags import check_bags

    bags = find_bags(folders)
    paths = [robot_path(robot)] if robot else robot_files()
    try:
        chosen = choose_robot(bags, [read_robot(path) for path in paths], mixed=True)
    except UserError:
        if json_out is not None:
            write_json(json_out, {"robot": "", "usable": 0, "bags": []})
        raise
    learner = parse_spec(LearnerConfig, read_yaml(config) or {}, str(config)) if config else LearnerConfig()
    learner = with_period_of(learner, bags)
    uneven = uneven_decisions(learner.decision_period_s, chosen.camera_frame_rate_hz)
    if uneven:
        print(f"fosp: {uneven}", file=sys.stderr)
    with progress_of_bags() as progress:
        reports = check_bags(folders, learner.observation, chosen, learner.decision_period_s, progress=progress)
    reports = told_apart(reports, chosen, given=bool(robot))
    console = Console()
    title = f"Bags of robot {chosen.name} (frames, feedback, commands: used/recorded)"
    console.print(_table(reports, title, console.width))
    for report in reports:
        for remark in (report.problem,) if report.problem else report.notes:
            print(f"{report.bag}: {remark}")
    unusable = [report for report in reports if report.problem]
    usable = [report for report in reports if not report.problem]
    print(
        f"{len(usable)} of {len(reports)} bags can be trained on: {sum(r.steps for r in usable)} steps, "
        f"{sum(r.success for r in usable)} successes, {sum(r.violation for r in usable)} violations"
    )
    if json_out is not None:
        write_json(
            json_out,
            {
                "robot": chosen.name,
                "decision_period_s": learner.decision_period_s,
                "usable": len(usable),
                "bags": [_as_json(report) for report in reports],
            },
        )
    if unusable:
        more = f" (and {len(unusable) - 1} more bags cannot be used)" if len(unusable) > 1 else ""
        print(f"fosp: {unusable[0].bag}: {unusable[0].problem}{more}", file=sys.stderr)
        return 2
    return 0


def _as_json(report: BagReport) -> dict[str, Any]:
    """Return a report for a JSON file, without the small pictures by which bags are compared."""
    described = asdict(report)
    described["traits"].pop("looks")
    return described


@app.command()
def show(
    folders: _Folders,
    out: Annotated[Path, typer.Option(help="PNG file to write.", metavar="PNG")] = Path("runs/bags.png"),
) -> int:
    """Draw a contact sheet: one row of frames per episode, its outcome, and where it cost or was marked."""
    import sys

    import numpy as np

    from fosp_cli.pictures import ROWS, draw_contact_sheet, read_row
    from fosp_core.errors import UserError
    from fosp_learner.data.bags import find_bags

    if out.suffix.lower() != ".png":
        raise UserError(f"--out must end in .png, got {out}")
    bags = find_bags(folders)
    chosen = [bags[i] for i in np.unique(np.linspace(0, len(bags) - 1, min(ROWS, len(bags))).astype(int))]
    rows, refused = [], []
    for bag in chosen:
        try:
            rows.append(read_row(bag))
        except UserError as error:
            refused.append(str(error))
    if not rows:
        raise UserError(refused[0])
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        draw_contact_sheet(rows, out)
    except OSError as error:
        raise UserError(f"{out}: cannot write: {error.strerror or error}") from None
    some = f"{len(rows)} of {len(bags)}" if len(rows) < len(bags) else str(len(rows))
    print(f"{some} episodes: {out}")
    for line in refused:
        print(f"fosp: {line}", file=sys.stderr)
    return 2 if refused else 0


@app.command()
def view(
    bag: _Bag,
    port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port; 0 takes a free one.")] = 8421,
) -> int:
    """Go through a bag or a black box in a browser: frames, decisions and why, risk, commands, marks, the operator.

    Open the address that is printed. It can be reached from this computer alone. Ctrl-C ends the command.
    """
    from fosp_console.history.viewer import view as serve

    history = _history(bag)
    for note in history.notes:
        print(f"{bag}: {note}")
    serve(history, port, lambda address: print(f"{bag}: {history.seconds:.1f} s at {address}", flush=True))
    return 0


@app.command()
def clip(
    bag: _Bag,
    out: Annotated[Path, typer.Option("--out", "-o", help="MP4 or GIF file to write.", metavar="FILE")],
    from_s: Annotated[
        float | None, typer.Option("--from", help="Moment at which the clip begins, s. The default is the bag's.")
    ] = None,
    to_s: Annotated[
        float | None, typer.Option("--to", help="Moment at which the clip ends, s. The default is the bag's end.")
    ] = None,
) -> int:
    """Make a film of a part of a bag: its cameras side by side, with the moment and what was decided below.

    Moments count from the first message that `fosp bags view` shows. A GIF has at most 30 s, an MP4 10 minutes.
    """
    from fosp_console.history.clip import SUFFIXES, ClipRange, write_clip
    from fosp_core.errors import UserError

    if out.suffix.lower() not in SUFFIXES:
        raise UserError(f"--out must end in {' or '.join(SUFFIXES)}, got {out}")
    history = _history(bag)
    part = ClipRange.checked(history, out.suffix.lower(), from_s, to_s)
    pictures = write_clip(history, part, out)
    print(f"{out}: {part.to_s - part.from_s:.2f} s of {bag}, {pictures} pictures, {out.stat().st_size / 1e6:.1f} MB")
    return 0


def _history(path: Path) -> BagHistory:
    """Read the one bag at or below a path, and show on a terminal how far it is; UserError for none and for several."""
    from rich.console import Console

    from fosp_console.history.timeline import read_history
    from fosp_core.bag.files import find_bags
    from fosp_core.errors import UserError

    found = find_bags([path])
    if len(found) > 1:
        raise UserError(f"{path}: holds {len(found)} bags; name one of them, such as {found[0]}")
    with Console(stderr=True).status("reading") as status:
        return read_history(found[0], lambda messages: status.update(f"reading {found[0].name}: {messages} messages"))


@app.command()
def topics(
    robot: RobotArgument,
    namespace: Namespace = "",
) -> int:
    """Print on one line the topics that `ros2 bag record` has to record for this robot."""
    from fosp_bringup.paths import robot_path
    from fosp_core.robot.config import read_robot
    from fosp_core.topics import resolve
    from fosp_recording.recorded_topics import episode_topics

    names = episode_topics(read_robot(robot_path(robot)))
    print(" ".join(dict.fromkeys(resolve(name, namespace) for name in names)))
    return 0


def replay(
    bag: Annotated[Path, typer.Argument(help="Bag to play: a folder, or a single .mcap or .db3 file.", metavar="BAG")],
    rate: Annotated[
        float, typer.Option(help="Playback speed as a multiple of the recorded speed, from 0.01 to 100.")
    ] = 1.0,
    stamps: Annotated[
        Literal["now", "recorded"],
        typer.Option(
            help="Header stamps. 'now' moves all of them to the present by one offset; 'recorded' keeps them."
        ),
    ] = "now",
    topics: Annotated[
        list[str] | None,
        typer.Option("--topic", help="Play this topic only. Repeat the option for more topics.", metavar="NAME"),
    ] = None,
) -> int:
    """Publish a bag on its own topics with the original spacing, for a learner, a recorder or a viewer.

    The command refuses to run while a node that could be a robot listens to the bag's command topic, unless --topic
    names that topic.
    """

    from fosp_cli.replay import play
    from fosp_core.errors import UserError

    if not 0.01 <= rate <= 100.0:
        raise UserError(f"--rate must be from 0.01 to 100, got {rate:g}")
    count, late_s = play(bag, rate, stamps == "now", tuple(topics or ()))
    print(f"{bag}: {count} messages played, the latest {late_s * 1e3:.1f} ms late")
    return 0


@contextmanager
def progress_of_bags() -> Iterator[Callable[[int, int], None]]:
    """Give a function that shows how many bags are done: on a terminal, for as long as it takes."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    columns = ("bags", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task("bags", total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)


def _table(reports: Sequence[BagReport], title: str, width: int) -> Table:
    """Return the table of the figures, for a terminal of `width` columns; remarks stand below it, whole."""
    from rich.table import Table

    table = Table(title=title)
    wide = width >= _WIDE
    files = ("format", "images") if wide else ()
    for column in ("bag", *files, "steps", "success", "violation", "frames", "feedback", "commands"):
        left = column in ("bag", "format", "images")
        name = column if wide else _SHORT.get(column, column)
        table.add_column(name, justify="left" if left else "right", overflow="fold")
    for report in reports:
        if report.problem:
            table.add_row(report.bag, "not used", *[""] * (len(table.columns) - 2))
            continue
        done = ["yes" if flag else "no" for flag in (report.success, report.violation)]
        used = [str(stream) for stream in (report.frames, report.feedback, report.commands)]
        about = (report.format, ", ".join(report.images)) if wide else ()
        table.add_row(report.bag, *about, str(report.steps), *done, *used)
    return table
