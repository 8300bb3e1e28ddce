"""The `fosp` command line.

Exit codes: 0 the command succeeded, 1 the run failed, 2 the usage or an input is wrong (one line on stderr says why).
"""

from __future__ import annotations

import inspect
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

import typer
from typer.exceptions import TyperException

from fosp_cli.commands import (
    bags,
    bundle,
    commission,
    console,
    evaluate,
    experiment,
    machine,
    record,
    simulation,
    training,
    up,
)
from fosp_core.errors import UserError
from fosp_core.processes import end_process

COMMANDS: dict[str, Callable[..., Any] | typer.Typer] = {
    "demo": simulation.demo,
    "up": up.up,
    "engage": up.engage,
    "disengage": up.disengage,
    "reset": up.reset,
    "console": console.console,
    "commission": commission.commission,
    "record": record.record,
    "replay": bags.replay,
    "bags": bags.app,
    "pretrain": training.pretrain,
    "report": training.report,
    "finetune": training.finetune,
    "eval": evaluate.evaluate,
    "bundle": bundle.app,
    "security": up.security,
    "experiment": experiment.app,
    "doctor": machine.doctor,
    "world": simulation.world,
    "bench": machine.bench,
}
"""Every command in the order of `fosp --help`: a function, or an app with sub-commands. A new command is one line."""

_TRAINS = ("pretrain", "finetune", "bench")
"""Commands that train in this process, for which the memory allocator is set up first."""

_REQUIREMENTS = {
    **dict.fromkeys(("torch", "onnx", "onnxscript", "safetensors", "tensorboard"), "learner"),
    **dict.fromkeys(("mujoco", "scipy"), "sim"),
    "pyrealsense2": "realsense",
    "aiohttp": "console",
}
"""Packages that a robot can do without, each with the list in requirements/ that installs it."""

app = typer.Typer(
    name="fosp",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Record, train, run and evaluate a learned, camera-only, safe policy on a robot.",
)
for _name, _command in COMMANDS.items():
    if isinstance(_command, typer.Typer):
        app.add_typer(_command, name=_name)
    else:
        app.command(_name)(_command)
for _group in (app, *(_command for _command in COMMANDS.values() if isinstance(_command, typer.Typer))):
    for _registered in _group.registered_commands:  # a paragraph of the help is one line, which the terminal wraps
        _paragraphs = (inspect.getdoc(_registered.callback) or "").split("\n\n")
        _registered.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in _paragraphs)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. A user's mistake is one line on stderr, never a traceback."""
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
    if sys.argv[1:2] and sys.argv[1] in _TRAINS:
        from fosp_learner.process import restart_with_allocator_settings

        restart_with_allocator_settings()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a service manager's stop ends a command as Ctrl-C does
    code = run()
    if "TORCHELASTIC_RUN_ID" in os.environ:
        # torchrun ends all processes when one aborts, so none may abort on its way out while another writes the bundle.
        end_process(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
