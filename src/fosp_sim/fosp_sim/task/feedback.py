"""What an episode says of itself with every camera frame."""

from __future__ import annotations

from dataclasses import dataclass

from fosp_sim.task.world import Happening


@dataclass(frozen=True)
class Feedback:
    """fosp_msgs/StepFeedback without stamp and episode number."""

    is_first: bool
    reward: float
    """Summed since the frame before."""
    cost: float
    """Worst since the frame before: 1 in violation, else 0."""
    terminal: bool
    is_last: bool
    success: bool
    distance: float
    """m to the goal."""


def feedback(happening: Happening, is_first: bool, may_end: bool, out_of_time: bool) -> Feedback:
    """Of one frame. `may_end`: it closes a whole decision period; a success in between is told with the next such."""
    success = happening.success and may_end
    return Feedback(
        is_first=is_first,
        reward=happening.reward,
        cost=happening.cost,
        terminal=success,
        is_last=success or (may_end and out_of_time),
        success=success,
        distance=happening.distance,
    )
