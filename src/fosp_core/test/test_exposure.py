"""When an exposure counts as settled."""

from __future__ import annotations

import numpy as np

from fosp_core.exposure import FRAMES, ExposureSettling


def told_of(brightness: list[float]) -> ExposureSettling:
    settling = ExposureSettling()
    for value in brightness:
        settling.add(np.full((48, 64, 3), value, np.uint8))
    return settling


def test_frames_of_one_brightness_have_settled_but_not_before_there_are_enough() -> None:
    assert told_of([90.0] * FRAMES).settled
    assert not told_of([90.0] * (FRAMES - 1)).settled


def test_a_ramp_has_not_settled_and_has_after_it_ended() -> None:
    ramp = [20.0 + 10 * i for i in range(10)]
    assert not told_of(ramp).settled
    assert told_of(ramp + [110.0] * FRAMES).settled
