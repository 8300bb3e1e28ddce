"""A new robot file: the questions that describe a robot, and the text that their answers make.

The text has a comment with the unit beside each value, and passes the checks of every robot file before it is written.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fosp_bringup.commissioning_record import record_path, replace_file
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import TWIST_COMPONENTS, parse_spec, parse_yaml
from fosp_core.topics import COLOR_IMAGE, topic_name

Answers = Mapping[str, Any]

_COLUMN = 38
"""Column at which the comments of the file begin."""


@dataclass(frozen=True)
class Question:
    """One fact about the robot. `key` is also the name of the command's option, with `-` for `_`."""

    key: str
    text: str
    """The question in words, with the unit."""
    read: Callable[[str], Any]
    """Return the value of an answer; raise ValueError with what is wrong about it."""
    default: Callable[[Answers], str | None] = lambda answers: None
    """The answer that an empty one means; None where there is no sensible one."""
    asked: Callable[[Answers], bool] = lambda answers: True
    """Return False where earlier answers make this one meaningless."""

    @property
    def option(self) -> str:
        return "NAME" if self.key == "name" else "--" + self.key.replace("_", "-")


def _one_of(*allowed: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return text

    return read


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", text):
        raise ValueError("must be letters, digits and '_', and begin with a letter")
    return text


def _frame(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_/.-]*", text):
        raise ValueError("is no name of a TF frame")
    return text


def _positive(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or value <= 0.0:
        raise ValueError("must be a number above 0")
    return value


def _axes(text: str) -> tuple[str, ...]:
    axes = tuple(part for part in re.split(r"[,\s]+", text.strip()) if part)
    unknown = [axis for axis in axes if axis not in TWIST_COMPONENTS]
    if unknown or not axes or len(set(axes)) != len(axes):
        raise ValueError(f"must be some of {', '.join(TWIST_COMPONENTS)}, each once, separated by commas")
    return axes


def _box(text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in re.split(r"[,\s]+", text.strip()))
    except ValueError:
        values = ()
    if len(values) != 6 or not all(map(math.isfinite, values)):
        raise ValueError("must be six numbers: x, y, z of the lower corner, then x, y, z of the upper one")
    if any(low >= high for low, high in zip(values[:3], values[3:], strict=True)):
        raise ValueError("must have its lower corner below the upper one on every axis")
    return values


def _topics(text: str) -> tuple[str, ...]:
    if text == "none":
        return ()
    return tuple(topic_name(part) for part in re.split(r"[,\s]+", text.strip()) if part)


def _camera(text: str) -> tuple[str, str]:
    kind, _, identity = text.partition(":")
    if kind not in ("realsense", "opencv", "driver") or (kind != "realsense" and not identity):
        raise ValueError("must be realsense, realsense:SERIAL, opencv:DEVICE, or driver:TOPIC")
    return kind, topic_name(identity) if kind == "driver" else identity


def _is_arm(answers: Answers) -> bool:
    return bool(answers["kind"] == "arm")


def _for_kind(arm: str | None, base: str | None) -> Callable[[Answers], str | None]:
    return lambda answers: arm if _is_arm(answers) else base


def _has(part: str) -> Callable[[Answers], bool]:
    return lambda answers: any(axis.startswith(part) for axis in answers["axes"])


def _share(key: str, factor: float) -> Callable[[Answers], str]:
    return lambda answers: f"{factor * answers[key]:.3g}"


QUESTIONS: tuple[Question, ...] = (
    Question("name", "Name of the robot", _name),
    Question("kind", "Is it an arm or a mobile base? (arm, base)", _one_of("arm", "base")),
    Question(
        "axes",
        "Twist components that the policy commands, in their order",
        _axes,
        _for_kind("linear.x,linear.y,linear.z", "linear.x,angular.z"),
    ),
    Question("frame", "TF frame in which the twist is expressed", _frame, lambda answers: "base_link"),
    Question(
        "linear_scale",
        "Linear speed at action 1, m/s",
        _positive,
        _for_kind("0.15", "0.2"),
        _has("linear"),
    ),
    Question("linear_speed", "Limit of the linear speed, m/s", _positive, _share("linear_scale", 1.25), _has("linear")),
    Question(
        "linear_acceleration",
        "Limit of the linear acceleration, m/s^2",
        _positive,
        _for_kind("1.2", "0.8"),
        _has("linear"),
    ),
    Question(
        "linear_deceleration",
        "Deceleration when stopping, m/s^2, which the robot really reaches",
        _positive,
        _share("linear_acceleration", 2.0),
        _has("linear"),
    ),
    Question("angular_scale", "Angular speed at action 1, rad/s", _positive, _for_kind("0.4", "1.0"), _has("angular")),
    Question(
        "angular_speed", "Limit of the angular speed, rad/s", _positive, _share("angular_scale", 1.25), _has("angular")
    ),
    Question(
        "angular_acceleration",
        "Limit of the angular acceleration, rad/s^2",
        _positive,
        _for_kind("3.0", "4.0"),
        _has("angular"),
    ),
    Question(
        "angular_deceleration",
        "Angular deceleration when stopping, rad/s^2",
        _positive,
        _share("angular_acceleration", 1.5),
        _has("angular"),
    ),
    Question(
        "workspace",
        "Workspace box of the tool, m, in that frame (x,y,z of the lower corner, x,y,z of the upper one)",
        _box,
        asked=_is_arm,
    ),
    Question("command_topic", "Topic of the commands", topic_name, _for_kind(None, "cmd_vel")),
    Question(
        "command_type",
        "Their type (TwistStamped, Twist, PoseStamped)",
        _one_of("TwistStamped", "Twist", "PoseStamped"),
        lambda answers: "TwistStamped",
    ),
    Question(
        "target_lead",
        "How far the target pose may run ahead of the measured one, m",
        _positive,
        lambda answers: "0.1",
        lambda answers: answers["command_type"] == "PoseStamped",
    ),
    Question("command_rate_hz", "Rate of the commands, Hz", _positive, _for_kind("100", "50")),
    Question(
        "command_timeout_s",
        "After how long without a command does the robot stop by itself, s",
        _positive,
        lambda answers: f"{max(0.1, 5.0 / answers['command_rate_hz']):.3g}",
    ),
    Question("state_topic", "Topic of the robot's state", topic_name, _for_kind("joint_states", "odom")),
    Question(
        "state_type",
        "Its type (JointState, Odometry)",
        _one_of("JointState", "Odometry"),
        _for_kind("JointState", "Odometry"),
    ),
    Question("pose_topic", "Topic of the measured tool pose (PoseStamped) in that frame", topic_name, asked=_is_arm),
    Question(
        "estops",
        "Topics of its emergency stops (std_msgs/Bool, true: pressed), separated by commas, or 'none'",
        _topics,
    ),
    Question(
        "camera",
        "Its camera (realsense, realsense:SERIAL, opencv:DEVICE, driver:TOPIC)",
        _camera,
        lambda answers: "realsense",
    ),
    Question("camera_rate_hz", "Rate of the camera's images, Hz", _positive, lambda answers: "30"),
)
"""Every fact that a robot file needs, in the order in which a person is asked. An answer may decide what follows."""


def answered(given: Mapping[str, str], ask: Callable[[str, str | None], str] | None) -> dict[str, Any]:
    """Return the value of every question that applies.

    `given` holds the answers of the command line by key; `ask` takes a question and its default, and returns what a
    person says, empty for the default. Without `ask`, what is not given is its default. Raise UserError for an answer
    of the command line that is wrong or does not apply, and for missing ones, all of which are named.
    """
    answers: dict[str, Any] = {}
    missing: list[str] = []
    for question in QUESTIONS:
        try:
            applies, default = question.asked(answers), question.default(answers)
        except KeyError:  # what decides it is missing itself
            continue
        if not applies:
            if question.key in given:
                raise UserError(f"{question.option} does not apply to this robot")
        elif question.key in given:
            answers[question.key] = _read(question, given[question.key])
        elif ask is not None:
            answers[question.key] = _asked(question, default, ask)
        elif default is not None:
            answers[question.key] = _read(question, default)
        else:
            missing.append(question.option)
    if missing:
        raise UserError(f"nobody is asked here: give {', '.join(missing)}")
    return answers


def _read(question: Question, text: str) -> Any:
    try:
        return question.read(text)
    except ValueError as error:
        raise UserError(f"{question.option} {text}: {_told(error)}") from None


def _asked(question: Question, default: str | None, ask: Callable[[str, str | None], str]) -> Any:
    """Return the first answer that is right."""
    text = question.text
    while True:
        said = ask(text, default).strip() or default or ""
        try:
            return question.read(said)
        except ValueError as error:
            text = f"'{said}' {_told(error)}.\n{question.text}" if said else question.text


def _told(error: ValueError) -> str:
    text = str(error)
    return "must be a number" if text.startswith("could not convert") else text


def robot_text(answers: Answers) -> str:
    """Return the content of the robot file. Raise UserError with the first fault that the answers have together."""
    scale = {"linear": answers.get("linear_scale"), "angular": answers.get("angular_scale")}
    parts = {axis: axis.partition(".")[0] for axis in answers["axes"]}
    units = {"linear": "m/s", "angular": "rad/s"}
    lines = [
        "# Written by fosp robot new. Measure limits, workspace and lags on the robot: fosp commission --robot FILE",
        f"name: {answers['name']}",
        f"kind: {answers['kind']}",
        "action:",
        f"  frame_id: {answers['frame']}",
        "  axes:",
        *(
            _line(f"    - {{name: {axis}, scale: {scale[part]:g}}}", f"{units[part]} at action 1")
            for axis, part in parts.items()
        ),
        _line("limits:", "hard limits: m/s, m/s^2 (linear), rad/s, rad/s^2 (angular)"),
        *(f"  {axis}: {{{_limits(answers, part)}}}" for axis, part in parts.items()),
    ]
    if "workspace" in answers:
        corners = [", ".join(f"{value:g}" for value in answers["workspace"][i : i + 3]) for i in (0, 3)]
        lines += [
            _line("workspace:", f"m, in {answers['frame']}, of the point of pose_topic"),
            f"  lower: [{corners[0]}]",
            f"  upper: [{corners[1]}]",
            _home_example(answers["workspace"]),
        ]
    lines += [f"command_topic: {answers['command_topic']}", f"command_type: {answers['command_type']}"]
    if "target_lead" in answers:
        lead = answers["target_lead"]
        lines.append(_line(f"target_lead: {{distance: {lead:g}, angle: {min(1.5, 4 * lead):g}}}", "m, rad"))
    lines += [
        _line(f"command_rate_hz: {answers['command_rate_hz']:g}", "Hz"),
        _line(f"command_timeout_s: {answers['command_timeout_s']:g}", "s, of the robot's own watchdog"),
        _line("response_s: 0.1", "s, a guess; fosp commission measures it"),
        _line("dead_time_s: 0.05", "s, a guess; fosp commission measures it"),
        f"state_topic: {answers['state_topic']}",
        f"state_type: {answers['state_type']}",
        *([f"pose_topic: {answers['pose_topic']}"] if "pose_topic" in answers else []),
        _line(f"estop_topics: [{', '.join(answers['estops'])}]", "std_msgs/Bool, true or silent: pressed; []: none"),
        "# enabling: {topic: joy, type: Joy, button: 4}   # a button that a person holds while it moves",
        "# ready: [{kind: bool, topic: my_driver/healthy, timeout_s: 0.5}]   # what the driver says of itself",
        *_camera_lines(answers["camera"], answers["camera_rate_hz"]),
    ]
    text = "\n".join(lines) + "\n"
    parse_spec(RobotConfig, parse_yaml(text, "the robot"), "the robot")
    return text


def _home_example(box: tuple[float, ...]) -> str:
    """Return a comment with a home pose in the upper half of the workspace."""
    x, y, z = ((low + high) / 2 for low, high in zip(box[:3], box[3:], strict=True))
    return (
        f"# home: {{position: [{x:g}, {y:g}, {(z + box[5]) / 2:g}], speed: 0.2}}   # m, share of the speed: fosp home"
    )


def _line(value: str, comment: str) -> str:
    return f"{value.ljust(_COLUMN - 1)} # {comment}"


def _limits(answers: Answers, part: str) -> str:
    names = ("speed", "acceleration", "deceleration")
    return ", ".join(f"{name}: {answers[f'{part}_{name}']:g}" for name in names)


def _camera_lines(camera: tuple[str, str], rate_hz: float) -> list[str]:
    kind, identity = camera
    rate = _line(f"camera_frame_rate_hz: {rate_hz:g}", "Hz")
    if kind == "driver":
        return [rate, _line("camera_topics:", "topic of a bundle: topic of the driver"), f"  {COLOR_IMAGE}: {identity}"]
    named = {
        "realsense": f", serial: {json.dumps(identity)}" if identity else "",
        "opencv": f", device: {json.dumps(identity)}",
    }[kind]
    settings = f"name: camera, source: {kind}{named}, width: 640, height: 480"
    return [rate, "cameras:", f"  - {{{settings}}}"]


def check_new_file(path: Path, overwrite: bool) -> None:
    """Raise UserError for a file that may not be written, before anything is asked."""
    if path.suffix not in (".yaml", ".yml") or "." in path.stem:
        raise UserError(f"{path}: a robot file is NAME.yaml, without another dot in its name")
    if path.is_dir():
        raise UserError(f"{path}: is a folder")
    if path.exists() and not overwrite:
        raise UserError(f"{path}: exists already; --overwrite replaces it")
    if not path.absolute().parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.absolute().parent}")


def write_new_file(path: Path, text: str, overwrite: bool) -> str:
    """Write the robot file, as a whole or not at all. Return a remark on a record that no longer holds, or "".

    Raise UserError when it cannot be written, or has come into being meanwhile.
    """
    check_new_file(path, overwrite)
    replace_file(path, text)
    record = record_path(path)
    return f"{record} is of the file before; commission the robot anew" if record.exists() else ""
