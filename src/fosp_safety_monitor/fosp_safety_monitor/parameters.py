"""Parameters of the safety monitor, each with its type, default, unit, range and meaning.

No value disables a check: every range keeps its check alive.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from fosp_core.clock import HEARTBEAT_GAP_BOUNDS_S, HEARTBEAT_GAP_S
from fosp_core.errors import UserError
from fosp_core.robot.limits import LEAST_SPEED_CAP

SHADOW_PHRASE = "i_accept_that_nothing_is_gated"
"""Value that `shadow` must have, so that nobody switches the gate off by a slip."""
SPEED_CAP = "speed_cap"
"""Name of the setting that lowers the speed of a robot that was not commissioned."""

UNSUPPORTED_PHRASE = "i_accept_an_unsupported_calibration"
"""Value that `unsupported` must have for a bundle whose calibration does not support the miss rate that it promises."""
ENGAGE = ("operator", "by_itself")
"""Values of the setting `engage`, the strict one first."""
EPISODES = ("required", "not_used")
"""Values of the setting `episodes`, the strict one first."""


@dataclass(frozen=True)
class Setting:
    """A parameter that is given at the start and cannot be changed."""

    name: str
    default: str | int | bool | float
    meaning: str
    lower: float | None = None
    upper: float | None = None
    choices: tuple[str, ...] = ()


SETTINGS = (
    Setting("bundle", "", "Folder of the model bundle whose critic judges the proposals."),
    Setting("robot", "", "File of the robot's configuration, which holds the hard limits."),
    Setting("provider", "auto", "Device that runs the critic: auto, cuda or cpu.", choices=("auto", "cuda", "cpu")),
    Setting("shadow", "", f"`{SHADOW_PHRASE}` switches shadow mode on: proposals are judged, but not gated."),
    Setting(
        "unsupported",
        "",
        f"`{UNSUPPORTED_PHRASE}` lets bundles judge whose calibration does not support the miss rate that it promises "
        "(`supported: false`), at the start and at a swap.",
    ),
    Setting(
        "engage",
        "operator",
        "`operator`: nothing moves before ~/engage. `by_itself`: for simulated robots.",
        choices=ENGAGE,
    ),
    Setting(
        "episodes",
        "required",
        "`required`: the robot moves only while an episode runs on fosp/feedback. `not_used`.",
        choices=EPISODES,
    ),
    Setting("take_over", False, "A person may take the robot over by fosp/operator (`teleop` beside a bundle)."),
    Setting("gate_operator", False, "The critic gates a person who has taken over, too. It tells their risk anyway."),
    Setting(
        "retreat",
        False,
        "A robot that hangs where no candidate is feasible goes back along its own trail, and after some tries asks "
        "for help.",
    ),
    Setting(
        "command_cpu",
        -1,
        "Core that the command stream is pinned to. With -1 the operating system chooses.",
        lower=-1,
        upper=4095,
    ),
    Setting(
        SPEED_CAP,
        1.0,
        "Share of the robot's speed limits that is allowed. A real robot without a commissioning record gets 0.1, and "
        "one with which a person shows hazards at most 0.25.",
        lower=LEAST_SPEED_CAP,
        upper=1.0,
    ),
)


@dataclass(frozen=True)
class Description:
    """The description of one parameter, as `ros2 param describe` shows it."""

    name: str
    kind: type[int] | type[float]
    default: float
    lower: float
    upper: float
    unit: str
    meaning: str
    stricter: Literal["smaller", "larger"]
    """Direction in which the monitor stops the robot sooner, the only one allowed while it is active."""

    @property
    def range(self) -> str:
        return f"[{self.lower:g}, {self.upper:g}]{' ' + self.unit if self.unit else ''}"


def _parameter(
    default: float,
    lower: float,
    upper: float,
    unit: str,
    meaning: str,
    stricter: Literal["smaller", "larger"] = "smaller",
) -> Any:
    metadata = {"lower": lower, "upper": upper, "unit": unit, "meaning": meaning, "stricter": stricter}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class MonitorParameters:
    """Values of all parameters; UserError, with the range, when one is out of it."""

    proposal_timeout_s: float = _parameter(
        0.1, 0.02, 1.0, "s", "STOP when no new proposal was judged for this time. The default is two decision periods."
    )
    latent_timeout_s: float = _parameter(
        0.15, 0.02, 1.0, "s", "STOP when the latent of the proposal was received longer ago than this."
    )
    image_timeout_s: float = _parameter(
        0.2, 0.02, 1.0, "s", "STOP when the camera frame of the proposal was stamped longer ago than this."
    )
    robot_state_timeout_s: float = _parameter(
        0.1, 0.01, 1.0, "s", "STOP when joint states, odometry or the pose of the commanded point are older than this."
    )
    stale_latch_s: float = _parameter(
        5.0, 0.1, 60.0, "s", "LATCH when a stale input or missing proposals have stopped the robot for this time."
    )
    surprise_window: int = _parameter(20, 2, 1000, "steps", "Number of steps over which surprise is counted.", "larger")
    surprise_recover_count: int = _parameter(
        6, 1, 1000, "steps", "RECOVER when this many steps of the window surprised the world model."
    )
    surprise_stop_count: int = _parameter(
        12, 1, 1000, "steps", "STOP when this many steps of the window surprised the world model."
    )
    veto_latch_count: int = _parameter(
        100, 2, 1000, "steps", "LATCH when this many proposals in a row were vetoed for their risk."
    )
    slow_down_share: float = _parameter(
        0.8,
        0.05,
        1.0,
        "",
        "Fraction of eps above which the speed is reduced, linearly down to recover_scale at eps.",
    )
    recover_scale: float = _parameter(
        0.3, 0.01, 1.0, "", "Factor of the speed at a risk of eps, and greatest factor in RECOVER."
    )
    recover_scale_least: float = _parameter(
        0.01,
        0.001,
        1.0,
        "",
        "Factor of the speed in RECOVER at a risk of 1.",
    )
    release_s: float = _parameter(
        0.2, 0.01, 10.0, "s", "A STOP ends when every check has held for this time. It begins at once.", "larger"
    )
    estop_timeout_s: float = _parameter(
        0.2, 0.01, 2.0, "s", "LATCH when a configured emergency stop is silent for this time."
    )
    clock_jump_s: float = _parameter(
        0.05, 0.005, 1.0, "s", "STOP when the ROS clock moves by this much against the monotonic one between two ticks."
    )
    frozen_image_steps: int = _parameter(
        10, 2, 200, "steps", "LATCH when this many images in a row were the same to the pixel while the robot moved."
    )
    frozen_pose_s: float = _parameter(
        0.2, 0.05, 2.0, "s", "LATCH when the pose stays the same to the last bit for this time while the robot moves."
    )
    motion_tolerance_s: float = _parameter(
        0.05,
        0.01,
        0.2,
        "s",
        "LATCH when the measured motion differs from the commanded one by more than the way of this time at the speed "
        "limit (at least 10 mm and 0.05 rad) and motion_tolerance_share.",
    )
    motion_tolerance_share: float = _parameter(
        0.35, 0.05, 0.6, "", "Share of the commanded distance by which the measured motion may differ on top of it."
    )
    workspace_margin_m: float = _parameter(
        0.02, 0.002, 0.1, "m", "LATCH when the measured pose is outside of the workspace by more than this."
    )
    least_contrast: float = _parameter(
        0.01,
        1e-4,
        0.2,
        "",
        "STOP when the standard deviation of the pixel values, on a scale of 0 to 1, is smaller (covered lens).",
        "larger",
    )
    known_frames: int = _parameter(
        3,
        1,
        200,
        "frames",
        "The robot moves only after so many frames in a row that the model knows, at the start and after an alarm.",
        "larger",
    )
    heartbeat_gap_s: float = _parameter(
        HEARTBEAT_GAP_S,
        *HEARTBEAT_GAP_BOUNDS_S,
        "s",
        "LATCH when a node of the graph comes back after a silence of this length.",
    )
    feedback_timeout_s: float = _parameter(
        0.3, 0.05, 2.0, "s", "STOP when the feedback of the running episode is older than this."
    )
    operator_watch_timeout_s: float = _parameter(
        0.5, 0.2, 2.0, "s", "STOP when the console at which an operator engaged has been silent for this time."
    )
    operator_timeout_s: float = _parameter(
        0.15, 0.05, 1.0, "s", "STOP when the device of a person who has taken over has been silent for this time."
    )
    ramp_in_s: float = _parameter(
        1.0,
        0.1,
        10.0,
        "s",
        "Time in which the policy's speed grows from a fifth after an operator has engaged or handed back.",
        "larger",
    )
    robot_pause_s: float = _parameter(
        1.0, 0.02, 10.0, "s", "An operator has to engage anew when the robot's state was missing for this time."
    )
    frozen_force_s: float = _parameter(
        1.0, 0.1, 10.0, "s", "STOP when the wrench stays the same to the last bit for this time."
    )
    hang_window_s: float = _parameter(
        0.6,
        0.3,
        5.0,
        "s",
        "Time in which a robot that is to move has to get further than a sixth of what it could go at full speed. With "
        "`retreat` it goes back along its own trail otherwise.",
    )
    trail_age_s: float = _parameter(
        3.0, 0.5, 10.0, "s", "The robot goes back only to where it was within this time: later, things may have moved."
    )
    retreat_length_s: float = _parameter(
        0.3, 0.05, 2.0, "s", "Length of the first way back, as a time at full speed; the second is twice as long."
    )
    retreat_risk_rise: float = _parameter(
        0.1, 0.01, 1.0, "", "A way back ends when the risk of the state rises by more than this on it."
    )
    retreat_tries: int = _parameter(
        2, 1, 20, "", "With `retreat`, LATCH when the robot hangs in the same place more often than this in a row."
    )

    def __post_init__(self) -> None:
        for description in DESCRIPTIONS:
            _check(description, getattr(self, description.name))
        if not self.surprise_recover_count <= self.surprise_stop_count <= self.surprise_window:
            raise UserError(
                "parameters must keep surprise_recover_count <= surprise_stop_count <= surprise_window, got "
                f"{self.surprise_recover_count}, {self.surprise_stop_count}, {self.surprise_window}"
            )
        if self.recover_scale_least > self.recover_scale:
            raise UserError(
                "parameters must keep recover_scale_least <= recover_scale, got "
                f"{self.recover_scale_least:g}, {self.recover_scale:g}"
            )

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> MonitorParameters:
        """Return the parameters of these values, and defaults for the others; UserError for an unknown name."""
        known = {description.name for description in DESCRIPTIONS}
        for name in values:
            if name not in known:
                raise UserError(f"unknown parameter '{name}'; allowed: {', '.join(sorted(known))}")
        return cls(**values)


_USUAL_PERIOD_S = 0.05
"""Decision period that the defaults of the timeouts are for."""
_PACED = ("proposal_timeout_s", "latent_timeout_s", "image_timeout_s")


def paced(period_s: float) -> dict[str, float]:
    """Return the timeouts of a bundle that decides every `period_s` s, if that is longer than 0.05 s, by name.

    They are as many periods as the defaults are of 0.05 s: between two decisions a proposal, its latent and its image
    grow that old. Simulations take them. On a robot somebody has to say that it may go on for so long.
    """
    if period_s <= _USUAL_PERIOD_S:
        return {}
    known = {description.name: description for description in DESCRIPTIONS}
    periods = {name: float(known[name].default) / _USUAL_PERIOD_S for name in _PACED}
    return {name: round(min(count * period_s, known[name].upper), 6) for name, count in periods.items()}


def loosened(before: MonitorParameters, after: MonitorParameters) -> list[str]:
    """Return the names of the parameters by which `after` would stop the robot later, or less often, than `before`."""
    names = []
    for description in DESCRIPTIONS:
        old, new = getattr(before, description.name), getattr(after, description.name)
        if (new > old) if description.stricter == "smaller" else (new < old):
            names.append(description.name)
    return names


def _check(description: Description, value: object) -> None:
    """Raise UserError unless `value` is a number of the right kind within the range."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if description.kind is int:
        number = number and isinstance(value, int)
    if not number or not math.isfinite(value) or not description.lower <= value <= description.upper:  # type: ignore[arg-type, operator]
        whole = "a whole number " if description.kind is int else ""
        raise UserError(f"parameter '{description.name}' must be {whole}in {description.range}, got {value}")


DESCRIPTIONS: tuple[Description, ...] = tuple(
    Description(
        item.name,
        int if item.type == "int" else float,
        item.default,  # type: ignore[arg-type]
        **item.metadata,
    )
    for item in fields(MonitorParameters)
)
