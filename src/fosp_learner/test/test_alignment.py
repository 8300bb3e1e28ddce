"""Alignment on stamps, on streams made up of frame numbers: 40 frames per second, decisions at 20 Hz."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from fosp_core.specs import ActionAxis, ActionSpec
from fosp_learner.data.alignment import Tolerances, build_episode, find_rows, steps_without_command
from fosp_learner.data.bag_messages import RecordedFeedback
from fosp_learner.data.bag_streams import BagStreams

FRAME_S = 0.025
TOLERANCES = Tolerances.of(0.05, FRAME_S)
ACTION = ActionSpec(axes=(ActionAxis(name="linear.x", scale=0.5),), frame_id="base_link")
QUIET = RecordedFeedback(reward=1.0, cost=0.0, is_first=False, is_last=False, terminal=False, success=False)
FIRST, LAST = QUIET._replace(is_first=True), QUIET._replace(is_last=True)


def at(frames: Iterable[float]) -> np.ndarray:
    return np.array([round((100 + frame * FRAME_S) * 1e9) for frame in frames], np.int64)


def streams(
    frames: Sequence[float],
    feedback: Mapping[float, RecordedFeedback],
    commands: Sequence[float] = (0,),
    second: Sequence[float] = (),
) -> BagStreams:
    """Streams stamped with numbers of frames; the pixels of a frame are its place in its stream."""
    cameras = [frames, second] if second else [frames]
    return BagStreams(
        cameras=("front", "side")[: len(cameras)],
        frame_ns=[at(camera) for camera in cameras],
        frames=[[np.full((1, 1, 3), i, np.uint8) for i in range(len(camera))] for camera in cameras],
        sizes=((1, 1),) * len(cameras),
        command_ns=at(commands),
        commands=np.full((len(commands), 1), 0.25),
        feedback_ns=at(feedback),
        feedback=list(feedback.values()),
        format="mcap",
    )


def test_rows_follow_each_other_by_a_period_and_the_last_frame_is_one():
    told = {0: FIRST} | dict.fromkeys(range(1, 7), QUIET) | {7: LAST}
    rows = find_rows(streams(range(10), told), TOLERANCES)
    assert rows.parts == [([0, 2, 4, 6, 7], True)]
    assert (rows.between, rows.outside, rows.splits) == (3, 2, [])


@pytest.mark.parametrize(("late", "row"), [(1.4, 4), (1.6, 3)])
def test_half_a_frame_of_jitter_is_allowed(late: float, row: int):
    """Rows 0 and 2; the third frame is due 1.5 frames after frame 2."""
    told = {float(i): QUIET for i in range(8)}
    rows = find_rows(streams([0, 1, 2, 2 + late, 5, 6], told), TOLERANCES)
    assert rows.parts[0][0][:3] == [0, 2, row]


@pytest.mark.parametrize(("pause", "parts"), [(4.4, 1), (4.6, 2)])
def test_more_than_two_periods_and_half_a_frame_are_a_gap(pause: float, parts: int):
    told = {i / 2: QUIET for i in range(30)}
    rows = find_rows(streams([0, 2, 2 + pause, 4 + pause], told), TOLERANCES)
    assert len(rows.parts) == parts
    assert len(rows.splits) == parts - 1


def test_an_interval_without_feedback_splits_and_says_where():
    rows = find_rows(streams(range(7), {0: FIRST, 1: QUIET, 2: QUIET, 5: QUIET, 6: QUIET}), TOLERANCES)
    assert rows.parts == [([0, 2], False), ([4, 6], False)]
    assert rows.splits == ["0.10 s: no feedback for 0.050 s"]


def test_a_row_that_is_alone_is_counted():
    rows = find_rows(streams(range(3), {0: FIRST, 2.5: QUIET}), TOLERANCES)
    assert (rows.parts, rows.single) == ([], 2)


def test_another_camera_gives_its_newest_frame_that_is_at_most_half_a_period_old():
    told = {0: FIRST} | dict.fromkeys(range(1, 7), QUIET)
    two = streams(range(7), told, second=[-0.5, 0.6, 1.2, 2.4, 4, 4.1])
    rows = find_rows(two, TOLERANCES)
    assert rows.parts == [([0, 2, 4], False)]
    assert rows.unaligned == {"side": 1}
    episode = build_episode("e", [0, 2, 4], False, two, ACTION, hold_s=0.1)
    assert episode.images[:, :, 0, 0, 0].tolist() == [[0, 0], [2, 2], [4, 4]]


def test_an_end_without_a_frame_of_another_camera_is_no_reported_end():
    told = {0: FIRST, 1: QUIET, 2: QUIET, 3: QUIET, 4: LAST._replace(terminal=True)}
    two = streams(range(5), told, second=[0, 1, 2])
    ((rows, ends),) = find_rows(two, TOLERANCES).parts
    assert (rows, ends) == ([0, 2], False)


def test_a_command_holds_until_the_next_but_no_longer_than_the_timeout():
    told = dict.fromkeys(range(7), QUIET)
    moving = streams(range(7), told, commands=[0, 1])
    episode = build_episode("e", [0, 2, 4, 6], False, moving, ACTION, hold_s=2 * FRAME_S)
    np.testing.assert_allclose(episode.action[:, 0], [0.5, 0.25, 0, 0], atol=1e-6)
    assert steps_without_command(moving, [0, 2, 4, 6], 2 * FRAME_S) == 1


def test_the_worst_cost_and_the_sum_of_rewards_arrive_with_the_row_that_ends_the_interval():
    told = {0: FIRST, 1: QUIET._replace(cost=2.0), 2: QUIET, 2.2: QUIET._replace(cost=1.0), 4: QUIET}
    episode = build_episode("e", [0, 2, 4], False, streams(range(5), told), ACTION, hold_s=0.1)
    assert episode.reward.tolist() == [0, 2, 2]
    assert episode.cost.tolist() == [0, 2, 1]


def test_terminal_counts_only_when_the_end_was_reported():
    told = {0: FIRST, 1: QUIET, 2: QUIET._replace(terminal=True)}
    pair = streams(range(3), told)
    assert build_episode("e", [0, 2], True, pair, ACTION, 0.1).is_terminal.tolist() == [False, True]
    assert not build_episode("e", [0, 2], False, replace(pair), ACTION, 0.1).is_terminal.any()
