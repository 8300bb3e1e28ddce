"""Options of a stack: what a launch file or `fosp up` may ask for, and which values are refused."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fosp_bringup.parameter_file import sections
from fosp_core.bag.notes import HAZARDS
from fosp_core.cameras import DEVICES
from fosp_core.errors import UserError
from fosp_core.specs import read_yaml
from fosp_core.topics import checked_namespace
from fosp_safety_monitor.parameters import EPISODES, SHADOW_PHRASE, SPEED_CAP, UNSUPPORTED_PHRASE

CAMERAS = ("simulated", "file", *DEVICES)
SIMULATORS = ("mujoco", "gazebo")
LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")
HAZARD_SPEED = 0.25
"""Greatest share of the robot's speed limits while a person shows hazards."""
NOTHING = "none"
"""Text of a launch argument that is not given; `ros2 launch` takes no empty text."""

_FLAGS = (
    "use_sim_time",
    "autostart",
    "use_respawn",
    "auto_reset",
    "exploring",
    "network",
    "camera_loop",
    "take_over",
    "gate_operator",
    "console",
    "gui",
    "hazards",
    "retreat",
)
_PATHS = ("bundle", "camera_path", "recorder", "params_file", "black_box", "learner", "learner_config")


@dataclass(frozen=True)
class StackOptions:
    """Options of one stack; None means that an option is not given.

    UserError when an option has none of its allowed values. What an option names (a robot, a bundle, ...) is looked up
    by `stack`.
    """

    robot: str | None = None
    """Name in config/robots or path of a YAML file; by default the robot of the scenario."""
    bundle: Path | None = None
    """Folder of a model bundle; by default the one that is shipped for the scenario's task."""
    simulator: str | None = None
    """One of SIMULATORS; None for a real robot."""
    scenario: str | None = None
    """Name in config/scenarios or path of a YAML file; a simulator needs one."""
    camera: str | None = None
    """One of CAMERAS: the simulator's, a recording at `camera_path`, or a camera_node for each camera of the robot
    file. None for a camera whose driver runs already."""
    camera_path: Path | None = None
    """Bag, folder of images or RealSense recording that camera_node plays."""
    camera_loop: bool = False
    """Begin the recording at `camera_path` again at its end."""
    feedback: str | None = None
    """Rules of fosp/feedback: name in config/feedback or path. None where a simulator or another node publishes it."""
    teleop: str | None = None
    """Device by which a person drives: name in config/teleop or path."""
    take_over: bool = False
    """With `teleop`: a bundle's policy drives, and the person takes over from it. Otherwise the person drives alone."""
    gate_operator: bool = False
    """With `take_over`: the critic gates the person, too."""
    recorder: Path | None = None
    """Folder that gets one bag per episode."""
    hazards: bool = False
    """A person shows hazards: slow approaches that end where a violation begins; the bags say so."""
    retreat: bool = False
    """A robot that hangs goes back along its own trail, and after some tries asks for help."""
    scene: str = ""
    """Kind of scenes, in the words of the person who records; it is noted in each bag."""
    namespace: str = ""
    """ROS namespace of the stack; empty for the root."""
    use_sim_time: bool = False
    """Read the time from /clock; the simulator publishes it."""
    params_file: Path | None = None
    """ROS parameter file; its values win over those of the stack."""
    autostart: bool = True
    """Bring the nodes up at once, without waiting for the service lifecycle_manager/startup."""
    use_respawn: bool = False
    """Start a node anew when its process dies; never the safety monitor."""
    log_level: str = "info"
    """One of LOG_LEVELS."""
    auto_reset: bool = True
    """The simulator begins episodes by itself."""
    network: bool = False
    """The graph of a simulated robot is heard in the network, too; by default it stays on this machine."""
    gui: bool = False
    """Gazebo shows its window."""
    shadow: str | None = None
    """The phrase SHADOW_PHRASE: the safety monitor judges without gating."""
    episodes: str = "required"
    """One of EPISODES: whether the robot moves only while an episode runs on fosp/feedback."""
    unsupported: str | None = None
    """The phrase UNSUPPORTED_PHRASE: a bundle may judge whose calibration does not support the miss rate that it
    promises. In simulation the stack says it by itself."""
    black_box: Path | None = None
    """Folder for what happened before every stop."""
    exploring: bool = False
    """The policy samples its actions; the parameter policy_node/exploring changes it at any time."""
    learner: Path | None = None
    """Folder of a fine-tuning run."""
    learner_config: Path | None = None
    """YAML of FinetuneConfig."""
    offline: tuple[Path, ...] = ()
    """Folders of the bags that the bundle was trained on."""
    console: bool = False
    """Serve the operator's console to a browser on this computer."""

    @property
    def notes(self) -> dict[str, str]:
        """Return what a recorder notes in each bag, as its parameters."""
        return {**({"scene": self.scene} if self.scene else {}), **({"shows": HAZARDS} if self.hazards else {})}

    def going_back(self) -> dict[str, bool]:
        """Return the parameter of policy and monitor by which a robot that hangs goes back along its trail."""
        return {"retreat": True} if self.retreat else {}

    def guarded(self, monitor: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters of the monitor: while hazards are shown the robot is slow, and moves in episodes."""
        if not self.hazards:
            return dict(monitor)
        return {**monitor, SPEED_CAP: min(monitor.get(SPEED_CAP, 1.0), HAZARD_SPEED), "in_episodes": True}

    def __post_init__(self) -> None:
        for name, allowed in (
            ("simulator", (*SIMULATORS, None)),
            ("camera", (*CAMERAS, None)),
            ("log_level", LOG_LEVELS),
            ("episodes", EPISODES),
        ):
            value = getattr(self, name)
            if value not in allowed:
                choices = ", ".join(choice or NOTHING for choice in allowed)
                raise UserError(f"{name} must be one of {choices}, got '{value}'")
        checked_namespace(self.namespace)
        if self.gui and self.simulator != "gazebo":
            raise UserError("gui shows the window of Gazebo: it goes with simulator gazebo only")
        if self.camera == "file" and self.camera_path is None:
            raise UserError("camera 'file' needs camera_path: a bag, a folder of images, or a RealSense recording")
        if self.gate_operator and not (self.take_over and self.teleop):
            raise UserError("gate_operator is for a person who takes over: it goes with teleop beside a bundle")
        if self.hazards and (self.recorder is None or not self.teleop or self.take_over):
            raise UserError("hazards are shown by a person who drives alone and records: give teleop and no bundle")
        if self.hazards and (self.simulator is not None or not self.feedback):
            raise UserError("hazards are shown on a robot whose feedback rules tell a violation: give feedback")
        if self.shadow not in (None, SHADOW_PHRASE):
            raise UserError(f"shadow switches the safety monitor's gate off: to mean it, say '{SHADOW_PHRASE}'")
        if self.unsupported not in (None, UNSUPPORTED_PHRASE):
            raise UserError(f"unsupported lets a doubtful bundle judge: to mean it, say '{UNSUPPORTED_PHRASE}'")


def parse_options(arguments: Mapping[str, str]) -> StackOptions:
    """Return the options that launch arguments describe: option -> text.

    Empty text leaves an option out, and so does NOTHING, which is the name of a namespace only. Folders of `offline`
    are separated by ':'. UserError when a text describes no value of its option.
    """
    values: dict[str, Any] = {}
    for name, text in arguments.items():
        if name in _FLAGS:
            values[name] = _flag(name, text)
        elif not text or (name != "namespace" and optional(text) is None):
            continue
        elif name == "offline":
            values[name] = split_folders(text)
        else:
            values[name] = Path(text).expanduser() if name in _PATHS else text
    return StackOptions(**values)


def undeclared_arguments(
    given: Iterable[str], declared: Iterable[str], renamed: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """Return what to say of launch arguments that no launch file declares: mistakes, and the others.

    `ros2 launch` takes any name silently. A mistake is one that is nearly the name of another, or that of the option of
    `fosp up`, which `renamed` gives by the name of the launch argument.
    """
    names = sorted(declared)
    mistakes, others = [], []
    for name in sorted(set(given) - set(names)):
        said = f"launch argument {name}:= is not declared and has no effect"
        meant = [ours for ours, option in renamed.items() if option == name and ours in names]
        sure, near = difflib.get_close_matches(name, names, 1, 0.8), difflib.get_close_matches(name, names, 1)
        if meant or sure:
            mistakes.append(f"{said}: did you mean {[*meant, *sure][0]}:=?")
        else:
            others.append(f"{said}; the nearest is {near[0]}:=" if near else f"{said}; there are {', '.join(names)}")
    return mistakes, others


def optional(text: str) -> str | None:
    """Return `text`, or None where it says that an option is not given: when it is empty, or NOTHING."""
    return None if text in ("", NOTHING) else text


def split_folders(text: str) -> tuple[Path, ...]:
    """Return the folders of a text that separates them by ':'."""
    return tuple(Path(folder).expanduser() for folder in text.split(":") if folder)


def _flag(name: str, text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise UserError(f"{name} must be true or false, got '{text}'")
    return text.lower() == "true"


def require_distinct(nodes: Iterable[str]) -> None:
    """Raise UserError when two nodes would have one name, as one of a camera may have that of another node."""
    twice = [name for name, count in Counter(nodes).items() if count > 1]
    if twice:
        raise UserError(f"two nodes would be called {twice[0]}: give the camera of the robot file another name")


def check_parameter_file(
    path: Path, monitor: str, shadow: str | None, simulated: bool, unsupported: str | None = None
) -> None:
    """Raise UserError when `path` is no YAML, or sets what the file must not set for the node `monitor`.

    It may not say the phrases of `shadow` and `unsupported` where their options are not given: the file wins over the
    options, so in a start whose command line does not say so the gate could be off, or a doubtful bundle judge. An
    empty value, as in a dump of all parameters, sets nothing. It may not set `speed_cap` at all, which follows from the
    commissioning record, and on a robot that is not `simulated` it may not let the monitor engage by itself.
    """
    phrases = (
        ("shadow", shadow, SHADOW_PHRASE, "would switch the safety monitor's gate off"),
        ("unsupported", unsupported, UNSUPPORTED_PHRASE, "would let a doubtful bundle judge"),
    )
    for node, parameters in sections(read_yaml(path)):
        if _may_be(node, monitor) and SPEED_CAP in parameters:
            raise UserError(f"{path}: {SPEED_CAP} under '{node}' is not for a file to set: run fosp commission instead")
        for name, said, phrase, effect in phrases:
            if _may_be(node, monitor) and parameters.get(name) not in ("", None) and said is None:
                raise UserError(
                    f"{path}: {name} under '{node}' {effect}; to mean it, say {name}:={phrase} at the start as well"
                )
        if _may_be(node, monitor) and parameters.get("engage") not in ("", None, "operator") and not simulated:
            raise UserError(
                f"{path}: engage under '{node}' would let a robot move without an operator's consent: take it out, and "
                "call ~/engage of the safety monitor (fosp engage)"
            )


def _may_be(node: str, monitor: str) -> bool:
    """Return whether the last part of `node` is the monitor, or a pattern, which may stand for it."""
    last = node.rpartition("/")[2]
    return last == monitor or "*" in last
