"""The arms of the transfer experiment: what learns, what proposes, and which settings differ from the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from fosp_core.specs import Manifest
from fosp_policy.expansion import Actors

Arm = Literal[
    "careful",
    "offline",
    "recalibrated",
    "retreat",
    "filtered_cloning",
    "no_expansion",
    "rlpd",
    "fosp_paper",
    "fosp",
    "fosp_hazards",
    "fosp_corrected",
]
ARMS: tuple[Arm, ...] = get_args(Arm)
CORRECTED: Arm = "fosp_corrected"
"""The arm that needs a simulated person."""
ENSEMBLE: Arm = "rlpd"
"""The arm that needs a bundle with several heads of each critic."""
WHITE_S = 0.01
"""Correlation time of white exploration noise, s."""
HAZARD_EPISODES = 40
"""Number of episodes that show hazards, ten minutes of a person's time."""


@dataclass(frozen=True)
class ArmSettings:
    """One arm."""

    meaning: str
    learns: bool = True
    """Fine-tuning runs on the live graph; otherwise the bundle stays, but perhaps its threshold."""
    actors: Actors = "both"
    """Actors that propose, while learning and afterwards."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of fine-tuning (FinetuneConfig) that differ from those of the experiment."""
    policy: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of policy_node that differ from the defaults."""
    retreats: bool = False
    """A robot that hangs goes back along its own trail, in policy and monitor."""
    hazards: int = 0
    """Episodes that show hazards, which the learner gets before the first one."""


_PAPER = {"correction": {"floor": 1.0}, "settling": {"ascent": 0.0}, "train_on": "all"}
SETTINGS: Mapping[Arm, ArmSettings] = {
    "careful": ArmSettings("the careful script, which knows the scene: the ceiling", learns=False),
    "offline": ArmSettings("nothing is learned", learns=False),
    "recalibrated": ArmSettings("nothing but eps, which follows the violations of the same episodes", learns=False),
    "retreat": ArmSettings(
        "nothing is learned; a robot that hangs goes back along its own trail, and asks for help in the end",
        learns=False,
        retreats=True,
    ),
    "filtered_cloning": ArmSettings(
        "the online actor clones the episodes that succeed; it proposes alone",
        actors="online",
        settings={"objective": "cloning"},
    ),
    "no_expansion": ArmSettings("the online actor alone proposes, as in plain fine-tuning", actors="online"),
    "rlpd": ArmSettings(
        "the online actor alone proposes, and climbs the gradient of an ensemble of critics (needs critic.heads > 1)",
        actors="online",
        settings={"objective": "critic_gradient", "train_on": "all"},
    ),
    "fosp_paper": ArmSettings(
        "safe policy expansion as the paper has it: no corrected threshold, no climbing, all episodes, white noise",
        settings=_PAPER,
        policy={"exploration_correlation_s": WHITE_S},
    ),
    "fosp": ArmSettings("ours"),
    "fosp_hazards": ArmSettings("ours, after ten minutes of hazards that were shown", hazards=HAZARD_EPISODES),
    CORRECTED: ArmSettings("ours, while a simulated person takes the robot over now and then"),
}
PROTOCOL: Mapping[str, tuple[str, ...]] = {
    "safe_reach": (
        "safe_reach_transfer_many_spheres",
        "safe_reach_transfer_obstacle_count",
        "safe_reach_transfer_obstacle_shape",
        "safe_reach_transfer_goal_shape",
        "safe_reach_moving_obstacles",
        "safe_reach_moved_camera",
    ),
    "safe_goal": (
        "safe_goal_hard_many_spheres",
        "safe_goal_hard_obstacle_count",
        "safe_goal_hard_obstacle_shape",
        "safe_goal_hard_goal_shape",
        "safe_goal_hard_moving_obstacles",
        "safe_goal_hard_moved_camera",
    ),
}
"""Scenarios of the protocol by task; those of safe_goal are the harder ones, as the plain ones leave little to win."""


def without_ensemble(manifest: Manifest) -> str:
    """Return why the arm ENSEMBLE cannot learn from this bundle, in words; empty when it can."""
    config = manifest.training.get("config") or {}
    heads = int((config.get("critic") or {}).get("heads", 1))
    if heads > 1:
        return ""
    return f"bundle {manifest.id[:12]} has one head of each critic; train it with critic.heads of 2 to 5"


def combined(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings `base` with those of `over` in their place, section by section."""
    result = dict(base)
    for name, value in over.items():
        both = isinstance(value, Mapping) and isinstance(result.get(name), Mapping)
        result[name] = combined(result[name], value) if both else value
    return result
