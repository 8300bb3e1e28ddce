"""The choice of frames to decide upon, with a 40 Hz camera and 20 Hz decisions."""

from __future__ import annotations

import pytest

from fosp_perception.decision_clock import DecisionClock, DecisionPeriod, FrameUse

FRAME, PERIOD, START = 0.025, 0.05, 1_700_000_000.0


@pytest.fixture
def clock() -> DecisionClock:
    return DecisionClock(DecisionPeriod(PERIOD, FRAME))


def use(clock: DecisionClock, stamp: float, late: float = 0.002) -> FrameUse:
    """Offer the frame of `stamp`, and decide upon it if it is to be."""
    result = clock.use(START + stamp, START + stamp + late)
    if result in (FrameUse.STEP, FrameUse.FIRST):
        clock.decided(START + stamp, result)
    return result


def test_every_second_frame_is_decided_upon_and_the_first_one_begins_an_episode(clock: DecisionClock) -> None:
    uses = [use(clock, i * FRAME) for i in range(6)]
    assert uses == [FrameUse.FIRST, FrameUse.SKIP, FrameUse.STEP, FrameUse.SKIP, FrameUse.STEP, FrameUse.SKIP]


@pytest.mark.parametrize("jitter", [-0.009, 0.009])
def test_a_frame_with_jitter_is_still_the_one_to_decide_upon(clock: DecisionClock, jitter: float) -> None:
    use(clock, 0.0)
    assert use(clock, FRAME + jitter) is FrameUse.SKIP
    assert use(clock, 2 * FRAME + jitter) is FrameUse.STEP


def test_a_lost_decision_frame_is_replaced_by_the_next_frame(clock: DecisionClock) -> None:
    use(clock, 0.0)
    assert use(clock, 3 * FRAME) is FrameUse.STEP


def test_a_gap_of_two_periods_goes_on_and_a_longer_one_begins_an_episode(clock: DecisionClock) -> None:
    use(clock, 0.0)
    assert use(clock, 2 * PERIOD) is FrameUse.STEP
    assert use(clock, 2 * PERIOD + 5 * FRAME) is FrameUse.FIRST


def test_frames_that_come_twice_or_out_of_order_are_skipped(clock: DecisionClock) -> None:
    use(clock, 0.0)
    use(clock, PERIOD)
    assert use(clock, PERIOD) is FrameUse.SKIP
    assert use(clock, FRAME) is FrameUse.SKIP


def test_a_clock_that_jumps_back_begins_an_episode(clock: DecisionClock) -> None:
    use(clock, 10.0)
    assert use(clock, 0.0) is FrameUse.FIRST


def test_the_first_frame_of_a_reported_episode_is_decided_upon_at_once(clock: DecisionClock) -> None:
    use(clock, 0.0)
    clock.start_episode(START + FRAME)
    assert use(clock, FRAME) is FrameUse.FIRST
    assert use(clock, 2 * FRAME) is FrameUse.SKIP
    assert use(clock, 3 * FRAME) is FrameUse.STEP


def test_frames_before_the_reported_start_are_still_of_the_old_episode(clock: DecisionClock) -> None:
    use(clock, 0.0)
    clock.start_episode(START + 2 * PERIOD)
    assert use(clock, PERIOD) is FrameUse.STEP
    assert use(clock, 2 * PERIOD) is FrameUse.FIRST


def test_a_start_reported_after_its_frame_was_decided_upon_makes_the_next_decision_a_first_one(
    clock: DecisionClock,
) -> None:
    use(clock, 0.0)
    assert use(clock, PERIOD) is FrameUse.STEP
    clock.start_episode(START + PERIOD)
    assert use(clock, PERIOD + FRAME) is FrameUse.SKIP
    assert use(clock, 2 * PERIOD) is FrameUse.FIRST
    assert use(clock, 3 * PERIOD) is FrameUse.STEP


def test_a_start_reported_after_its_frame_was_a_first_one_changes_nothing(clock: DecisionClock) -> None:
    use(clock, 0.0)
    clock.start_episode(START)
    assert use(clock, PERIOD) is FrameUse.STEP


def test_a_frame_from_the_future_is_refused(clock: DecisionClock) -> None:
    assert use(clock, 0.0, late=-0.05) is FrameUse.REFUSE
    assert use(clock, 0.0, late=-0.005) is FrameUse.FIRST


def test_a_frame_with_a_stamp_that_is_not_a_number_is_refused(clock: DecisionClock) -> None:
    assert use(clock, float("nan")) is FrameUse.REFUSE


def test_frames_that_could_not_be_decided_upon_count_as_missing(clock: DecisionClock) -> None:
    use(clock, 0.0)
    assert clock.use(START + PERIOD, START + PERIOD) is FrameUse.STEP  # and then it could not be encoded
    assert use(clock, PERIOD + FRAME) is FrameUse.STEP
