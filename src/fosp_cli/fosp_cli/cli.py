"""The `fosp` command line. Exit codes: 0 done, 1 the run failed, 2 wrong usage or input (one line on stderr)."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

import typer
from typer.exceptions import TyperException

from fosp_cli.commands import (
    bags,
    bench,
    bundle,
    demo,
    doctor,
    evaluate,
    experiment,
    finetune,
    pretrain,
    record,
    replay,
    report,
    reset,
    security,
    up,
    world,
)
from fosp_core.errors import UserError

app = typer.Typer(
    name="fosp",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A learned, camera-only, safe policy on a robot: record, train, run, evaluate.",
)
app.command("demo")(demo.demo)
app.command("up")(up.up)
app.command("reset")(reset.reset)
app.command("record")(record.record)
app.command("replay")(replay.replay)
app.add_typer(bags.app, name="bags")
app.command("pretrain")(pretrain.pretrain)
app.command("report")(report.report)
app.command("finetune")(finetune.finetune)
app.command("eval")(evaluate.evaluate)
app.add_typer(bundle.app, name="bundle")
app.add_typer(security.app, name="security")
app.add_typer(experiment.app, name="experiment")
app.command("doctor")(doctor.doctor)
app.command("world")(world.world)
app.command("bench")(bench.bench)


_REQUIREMENTS = {
    **dict.fromkeys(("torch", "onnx", "onnxscript", "safetensors", "tensorboard"), "learner"),
    **dict.fromkeys(("mujoco", "scipy"), "sim"),
    "pyrealsense2": "realsense",
}
"""Packages that a robot can do without, and the list in requirements/ that brings them."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; a person's mistake is one line on stderr, never a traceback."""
    try:
        result = app(args=arguments, prog_name="fosp", standalone_mode=False)
    except UserError as error:
        print(f"fosp: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _REQUIREMENTS:
            raise
        lists = f"-r requirements/{_REQUIREMENTS[package]}.txt -c requirements/constraints.txt"
        print(f"fosp: this command needs {package}, which is not installed: pip install {lists}", file=sys.stderr)
        return 2
    except TyperException as error:
        message = " ".join(error.format_message().split())
        if message:
            print(f"fosp: {message}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except typer.Abort:
        return 1
    return result if isinstance(result, int) else 0


def main() -> None:
    if sys.argv[1:2] in (["pretrain"], ["finetune"], ["bench"]):
        from fosp_learner.process import restart_with_allocator_settings

        restart_with_allocator_settings()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a service manager's stop ends a command as Ctrl-C does
    sys.exit(run())


if __name__ == "__main__":
    main()
