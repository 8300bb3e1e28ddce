"""No update of risk without positives: episodes without a violation do not teach the critic that all is safe.

While the safety monitor is at work, an episode without a violation says that the robot was stopped in time, or that
nothing was near. A source of such episodes alone would only press Q_h down.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from fosp_learner.data.dataset import EpisodeIndex

RISK = frozenset({"q_h", "v_h"})
"""Names of the risk's networks in the critics, and of their losses."""


def tells_risk(episodes: Iterable[EpisodeIndex]) -> bool:
    """Return True if one of the episodes holds a violation."""
    return any(episode.violates for episode in episodes)


def hold_risk(critics: nn.Module, held: bool) -> None:
    """Let the risk's networks, but for the targets, stand still, or learn again."""
    for name, parameter in critics.named_parameters():
        parts = name.split(".")
        if RISK.intersection(parts) and "q_target" not in parts:
            parameter.requires_grad_(not held)
