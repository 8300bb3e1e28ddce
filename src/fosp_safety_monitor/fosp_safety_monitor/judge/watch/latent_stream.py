"""The latents as a sequence: the pace of the decisions, and latents that do not change. No ROS."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.judge.inputs import LatentInput
from fosp_safety_monitor.judge.thresholds import Thresholds
from fosp_safety_monitor.judge.verdict import Finding
from fosp_safety_monitor.judge.watch.motion import SEEN_MOTION, FrozenImage

INTERVALS = 20
"""Number of decision periods over which the pace is measured."""
LONGEST_SHARE = 1.25
"""Mean interval between decisions, as a multiple of the model's period, that is still taken for the model's pace."""
GAP_SHARE = 4.0
"""A pause of this many periods is none of the camera's: the pace is measured anew after it."""


@dataclass(frozen=True, eq=False)
class LatentStream:
    """The frames of the last latents, and for how long the latent itself stayed the same."""

    last: LatentInput | None = None
    intervals_s: tuple[float, ...] = ()
    """Times between the frames of the last latents, newest last."""
    frozen: FrozenImage = field(default_factory=FrozenImage)
    """The motion that was commanded while the latent stayed the same to the last bit."""

    def after(self, latent: LatentInput, command: tuple[float, ...], thresholds: Thresholds) -> LatentStream:
        """Return the value after one more well-formed `latent`, under `command` (n,), m/s and rad/s."""
        if self.last is None:
            return LatentStream(latent)
        interval_s = latent.frame.stamp_s - self.last.frame.stamp_s
        pause = not 0.0 < interval_s <= GAP_SHARE * thresholds.decision_period_s
        intervals_s = () if pause else (*self.intervals_s, interval_s)[-INTERVALS:]
        if not _same(latent, self.last):
            return LatentStream(latent, intervals_s, _MOVING)
        return LatentStream(latent, intervals_s, self.frozen.after(command, thresholds.action_scale))


_MOVING = FrozenImage()


def _same(one: LatentInput, other: LatentInput) -> bool:
    """Return True when two well-formed latents are the same; those of a moving robot differ in the first number."""
    if one.deter.shape != other.deter.shape or one.deter[0] != other.deter[0]:
        return False
    return np.array_equal(one.deter, other.deter) and np.array_equal(one.stoch, other.stoch)


def check_pace(stream: LatentStream, thresholds: Thresholds) -> Finding | None:
    """STOP when decisions come more slowly than the model was trained for, as under a slow camera."""
    if len(stream.intervals_s) < INTERVALS:
        return None
    mean_s = sum(stream.intervals_s) / len(stream.intervals_s)
    if mean_s <= LONGEST_SHARE * thresholds.decision_period_s:
        return None
    return Finding(
        Decision.STOP,
        Reason.DEADLINE,
        f"decisions come at {1.0 / mean_s:.1f} Hz, but the model decides at {1.0 / thresholds.decision_period_s:.1f} "
        "Hz: the camera is too slow for it, or the computer",
    )


def check_latent_changes(stream: LatentStream, thresholds: Thresholds) -> Finding | None:
    """LATCH when the latent does not change while the robot moves: an encoder that repeats itself looks alive."""
    limit = thresholds.parameters.frozen_image_steps
    crept = max(map(abs, stream.frozen.crept), default=0.0)
    if stream.frozen.steps < limit and crept < SEEN_MOTION * limit:
        return None
    text = f"the latent is frozen: it stayed the same to the last bit for {stream.frozen.steps} decisions of fast"
    return Finding(Decision.LATCH, Reason.STALE_LATENT, f"{text} motion, under new steps; the encoder repeats itself")
