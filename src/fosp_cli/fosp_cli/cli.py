"""The `fosp` command line.

Exit codes: 0 the command succeeded, 1 the run failed, 2 the usage or an input is wrong (one line on stderr says why).
"""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from fosp_cli.commands import (
    bags,
    bundle,
    console,
    demo,
    evaluate,
    experiment,
    help_texts,
    lerobot,
    machine,
    record,
    simulation,
    training,
    up,
)
from fosp_cli.commands.robot import cameras, commission, files, home, run_bag
from fosp_cli.doctor.requirements import pip_install
from fosp_core.errors import UserError
from fosp_core.processes import end_process

COMMANDS: dict[str, Callable[..., Any] | typer.Typer] = {
    "demo": demo.demo,
    "up": up.up,
    "engage": up.engage,
    "disengage": up.disengage,
    "reset": up.reset,
    "home": home.home,
    "console": console.console,
    "robot": files.app,
    "cameras": cameras.cameras,
    "keyboard": record.keyboard,
    "commission": commission.commission,
    "record": record.record,
    "replay": bags.replay,
    "run": run_bag.run,
    "bags": bags.app,
    "pretrain": training.pretrain,
    "report": training.report,
    "finetune": training.finetune,
    "eval": evaluate.evaluate,
    "bundle": bundle.app,
    "security": up.security,
    "experiment": experiment.app,
    "doctor": machine.doctor,
    "env": machine.env,
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
    **dict.fromkeys(("aiohttp", "PIL"), "console"),
    **dict.fromkeys(("pyarrow", "av"), "lerobot"),
}
"""Packages that a robot can do without, each with the list in requirements/ that installs it."""

app = typer.Typer(
    name="fosp",
    cls=help_texts.DocumentedGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=help_texts.HELP_NAMES,
    help="Record, train, run and evaluate a learned, camera-only, safe policy on a robot.",
    epilog=help_texts.examples(""),
)


@app.callback()
def _at_the_top(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=help_texts.show_version),
    ] = False,
) -> None:
    """Hold the options that precede a command."""


def _document(group: typer.Typer, words: str) -> None:
    """Give every command of a group its class, its examples, and its docstring, of which a paragraph is one line."""
    for registered in group.registered_commands:
        paragraphs = (inspect.getdoc(registered.callback) or "").split("\n\n")
        registered.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
        name = registered.name or registered.callback.__name__.replace("_", "-")  # type: ignore[union-attr]
        registered.cls = help_texts.DocumentedCommand
        registered.epilog = help_texts.examples(f"{words} {name}".strip())


for _name, _command in COMMANDS.items():
    if isinstance(_command, typer.Typer):
        app.add_typer(_command, name=_name, cls=help_texts.DocumentedGroup, epilog=help_texts.examples(_name))
        _document(_command, _name)
    else:
        app.command(_name)(_command)
for _name, _group in {"import": lerobot.import_app, "export": lerobot.export_app}.items():
    bags.app.add_typer(_group, name=_name, cls=help_texts.DocumentedGroup, epilog=help_texts.examples(f"bags {_name}"))
    _document(_group, f"bags {_name}")
_document(app, "")


def run(arguments: Sequence[str] | None = None, install: Callable[[], None] = lambda: None) -> int:
    """Run one command and return its exit code. A user's mistake is one line on stderr, never a traceback.

    `install` is called when a package is missing that only some commands need; it may install it and not return.
    """
    try:
        result = app(args=arguments, prog_name="fosp", standalone_mode=False)
    except UserError as error:
        print(f"fosp: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _REQUIREMENTS:
            raise
        install()
        remedy = pip_install(_REQUIREMENTS[package])
        print(f"fosp: this command needs {package}, which is not installed: {remedy}", file=sys.stderr)
        return 2
    except TyperException as error:
        message = " ".join(error.format_message().split()).replace("Value error, ", "")
        context = getattr(error, "ctx", None)  # that of the command which was used wrongly
        if message:
            print(f"fosp: {message}{f' See {context.command_path} --help.' if context else ''}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except typer.Abort:
        return 1
    return result if isinstance(result, int) else 0


def _install_the_rest() -> None:
    """Install the other parts of a checkout that sets itself up, and run the same command again."""
    script = Path(__file__).resolve().parents[3] / "scripts" / "set_up.sh"
    own = os.environ.get("VIRTUAL_ENV", "") == str(script.parents[1] / ".venv")
    if not own or not script.is_file() or os.environ.get(_INSTALLED):
        return
    if subprocess.run([str(script), "all"], stdout=sys.stderr, check=False).returncode == 0:
        os.environ[_INSTALLED] = "1"
        os.execv(sys.executable, [sys.executable, "-m", "fosp_cli.cli", *sys.argv[1:]])


_INSTALLED = "FOSP_PARTS_INSTALLED"
"""Environment variable of a command that was started again after its parts were installed."""


def main() -> None:
    if sys.argv[1:2] and sys.argv[1] in _TRAINS:
        from fosp_learner.process import restart_with_allocator_settings

        restart_with_allocator_settings()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a service manager's stop ends a command as Ctrl-C does
    code = run(install=_install_the_rest)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        # torchrun ends all processes when one aborts, so none may abort on its way out while another writes the bundle.
        end_process(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
