"""The help of every command: flags without a value, -h, --version, and examples to copy.

The text of a command is the docstring of its function; the examples stand here, beside one another.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import typer
from typer.core import TyperCommand, TyperGroup

HELP_NAMES = {"help_option_names": ["-h", "--help"]}

EXAMPLES: dict[str, tuple[str, ...]] = {
    "": ("fosp demo", "fosp up sim", "fosp record --help", "fosp --install-completion"),
    "demo": ("fosp demo", "fosp demo --episodes 2 --out runs/short_demo --domain auto"),
    "up": (
        "fosp up sim",
        "fosp up sim --bundle runs/day_one/first --record runs/day_one/driven",
        "fosp up sim --teleop gamepad",
        "fosp up my_robot.yaml --bundle runs/mine --camera realsense --feedback my_rules.yaml",
    ),
    "engage": ("fosp engage", "fosp engage --namespace left"),
    "disengage": ("fosp disengage",),
    "reset": ("fosp reset",),
    "robot": ("fosp robot new my_robot",),
    "robot new": (
        "fosp robot new my_robot",
        "fosp robot new my_base --yes --kind base --estops none --camera driver:/camera/image_raw",
    ),
    "cameras": ("fosp cameras", "fosp cameras --thumbnails runs/cameras", "fosp cameras --json"),
    "home": ("fosp home", "fosp home --namespace left"),
    "run": (
        "fosp run runs/demos/episode_000003 --speed 0.3",
        "fosp run runs/demos/episode_000003 --home",
        "fosp run runs/bags/episode_000000 --simulate --yes",
    ),
    "commission": ("fosp commission --robot my_robot.yaml", "fosp commission --robot sim_arm --simulate --yes"),
    "console": ("fosp console", "fosp console --host 0.0.0.0 --token A_LONG_SECRET"),
    "keyboard": ("fosp keyboard", "fosp keyboard --namespace left"),
    "record": (
        "fosp record --scenario safe_reach_train --episodes 20 --out runs/bags",
        "fosp record --scenario safe_reach_train --teleop keyboard --out runs/by_hand",
        "fosp record --robot ur5e --teleop gamepad --feedback arm_reach --camera realsense --out runs/demos",
    ),
    "replay": ("fosp replay runs/bags/episode_000000", "fosp replay runs/bags/episode_000000 --rate 0.5"),
    "bags": ("fosp bags check runs/bags",),
    "bags check": ("fosp bags check runs/bags", "fosp bags check runs/monday runs/tuesday --robot ur5e"),
    "bags show": ("fosp bags show runs/bags --out runs/bags.png",),
    "bags view": ("fosp bags view runs/bags/episode_000000",),
    "bags clip": (
        "fosp bags clip runs/bags/episode_000000 --from 1 --to 2.5 --out runs/clip.mp4",
        "fosp bags clip runs/bags/episode_000000 -o runs/clip.gif",
    ),
    "bags topics": ("ros2 bag record $(fosp bags topics ur5e)",),
    "bags import": ("fosp bags import lerobot runs/set --robot sim_arm --out runs/bags",),
    "bags import lerobot": (
        "fosp bags import lerobot runs/set --robot sim_arm --out runs/bags",
        "fosp bags import lerobot others --robot ur5e --mapping mapping.yaml --feedback rules.yaml --out runs/bags",
    ),
    "bags export": ("fosp bags export lerobot runs/bags --out runs/set",),
    "bags export lerobot": (
        "fosp bags export lerobot runs/bags --out runs/set",
        "fosp bags export lerobot runs/bags --robot ur5e --mapping my_mapping.yaml --out runs/set",
    ),
    "pretrain": (
        "fosp pretrain runs/bags --out runs/first --steps 200",
        "fosp pretrain runs/bags --out runs/first --resume",
    ),
    "report": ("fosp report runs/pretrain/first",),
    "finetune": ("fosp finetune --bundle runs/first --bags runs/driven --offline runs/bags --out runs/second",),
    "eval": (
        "fosp eval --bundle models/safe_reach --scenario safe_reach --episodes 20",
        "fosp eval --bundle models/safe_reach --compare runs/second --scenario safe_reach --json runs/both.json",
        "fosp eval --bundle models/safe_reach --scenario safe_reach --monitor on --monitor off --plot runs/eval.png",
    ),
    "bundle": ("fosp bundle show models/safe_reach",),
    "bundle verify": ("fosp bundle verify models/safe_reach --robot sim_arm",),
    "bundle keygen": ("fosp bundle keygen --out fosp_key.pem",),
    "bundle sign": ("fosp bundle sign runs/first --key fosp_key.pem",),
    "bundle announce": ("fosp bundle announce runs/second",),
    "bundle calibrate": ("fosp bundle calibrate runs/first --data runs/bags --out runs/calibrated --robot ur5e",),
    "bundle show": ("fosp bundle show models/safe_reach", "fosp bundle show runs/first --robot ur5e"),
    "bundle compare": ("fosp bundle compare models/safe_reach runs/second --out runs/both.html",),
    "bundle reference": ("fosp bundle reference --bundle runs/first --data runs/bags --out runs/with_reference",),
    "bundle probes": ("fosp bundle probes --bundle runs/first --data runs/bags --out runs/with_probes",),
    "bundle log": ("fosp bundle log runs/finetune",),
    "security": ("fosp security policy ur5e",),
    "security policy": ("fosp security policy ur5e --out policy.xml",),
    "doctor": ("fosp doctor", "fosp doctor --robot ur5e --bundle runs/first"),
    "env": ('eval "$(fosp env)"',),
    "world": ("fosp world safe_goal --out world.sdf",),
    "bench": ("fosp bench --quick", "fosp bench --only 'the live graph'"),
}
"""Words of a command -> lines that can be typed as they stand."""


def _without_values(parameters: list[Any]) -> list[Any]:
    """Let the help show no type for flags: `<bool>` reads as if a value had to follow."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False) and parameter.metavar is None:
            parameter.metavar = ""
    return parameters


class DocumentedCommand(TyperCommand):
    """A command whose flags are shown as what they are."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_values(super().get_params(ctx))


class DocumentedGroup(TyperGroup):
    """A group of commands whose flags are shown as what they are."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_values(super().get_params(ctx))


def examples(words: str) -> str:
    """Return the last paragraphs of a command's help; empty where there is no example."""
    lines = EXAMPLES.get(words, ())
    return "\n\n".join([f"Example{'s' if len(lines) > 1 else ''}:", *lines]) if lines else ""


def software_version() -> str:
    """Return the version of fosp: of the installed package, or of the checkout that it runs from."""
    try:
        return version("fosp_cli")
    except PackageNotFoundError:
        package = Path(__file__).resolve().parents[2] / "package.xml"
        return ElementTree.parse(package).findtext("version", "unknown") if package.is_file() else "unknown"


def show_version(asked: bool) -> None:
    """Print the version and end, where --version asks for it."""
    if asked:
        print(f"fosp {software_version()}")
        raise typer.Exit
