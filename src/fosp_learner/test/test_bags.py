from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fosp_core.errors import UserError
from fosp_core.specs import CameraSpec, ObservationSpec, RobotConfig
from fosp_learner.bags import check_bags, find_bags, read_episodes

PERIOD_S = 0.05
SMALL = ObservationSpec(cameras=(CameraSpec(height=16, width=16),))
WriteBag = Callable[..., Path]


def test_every_second_frame_of_forty_hertz_is_a_row(write_bag: WriteBag, robot: RobotConfig):
    (episode,) = read_episodes(write_bag(frames=9), SMALL, robot, PERIOD_S)
    assert episode.images.shape == (5, 1, 16, 16, 3)
    assert episode.images[:, 0, 0, 0, 0].tolist() == [0, 2, 4, 6, 8]


def test_reward_sums_and_cost_is_the_worst_of_the_interval_that_ends_with_the_row(
    write_bag: WriteBag, robot: RobotConfig
):
    (episode,) = read_episodes(write_bag(frames=7, cost_at=3), SMALL, robot, PERIOD_S)
    assert episode.reward.tolist() == [0, 2, 2, 2]
    assert episode.cost.tolist() == [0, 0, 1, 0]
    assert episode.violates


def test_the_action_of_a_row_is_what_was_executed_after_it(write_bag: WriteBag, robot: RobotConfig):
    (episode,) = read_episodes(write_bag(frames=5), SMALL, robot, PERIOD_S)
    np.testing.assert_allclose(episode.action, [[0.5, 0, 0], [0.5, 0, 0], [0, 0, 0]], atol=1e-6)


def test_the_frame_that_ends_the_episode_is_a_row_even_between_two_decisions(write_bag: WriteBag, robot: RobotConfig):
    (episode,) = read_episodes(write_bag(frames=9, terminal_at=5, last_at=5), SMALL, robot, PERIOD_S)
    assert episode.images[:, 0, 0, 0, 0].tolist() == [0, 2, 4, 5]
    assert episode.is_terminal.tolist() == [False, False, False, True]
    assert episode.success


def test_a_time_limit_is_last_but_not_terminal(write_bag: WriteBag, robot: RobotConfig):
    (episode,) = read_episodes(write_bag(frames=5, last_at=4), SMALL, robot, PERIOD_S)
    assert not episode.is_terminal.any()


def test_a_gap_of_more_than_two_periods_splits_the_episode(write_bag: WriteBag, robot: RobotConfig):
    bag = write_bag(frames=17, lost=tuple(range(5, 10)))
    first, second = read_episodes(bag, SMALL, robot, PERIOD_S)
    assert first.images[:, 0, 0, 0, 0].tolist() == [0, 2, 4]
    assert second.images[:, 0, 0, 0, 0].tolist() == [10, 12, 14, 16]
    assert second.reward[0] == 0


def test_one_lost_decision_frame_does_not_split(write_bag: WriteBag, robot: RobotConfig):
    (episode,) = read_episodes(write_bag(frames=9, lost=(2,)), SMALL, robot, PERIOD_S)
    assert episode.images[:, 0, 0, 0, 0].tolist() == [0, 3, 5, 7]


@pytest.mark.parametrize("missing", ["image", "feedback", "command"])
def test_a_bag_without_a_topic_is_one_line_that_names_bag_and_topic(
    write_bag: WriteBag, robot: RobotConfig, missing: str
):
    topics = tuple(topic for topic in ("image", "feedback", "command") if topic != missing)
    bag = write_bag(topics=topics)
    with pytest.raises(UserError, match=r"topic .* is missing") as caught:
        read_episodes(bag, SMALL, robot, PERIOD_S)
    assert str(caught.value).startswith(str(bag))
    assert "\n" not in str(caught.value)


def test_an_empty_bag_is_one_line(write_bag: WriteBag, robot: RobotConfig):
    with pytest.raises(UserError, match="missing") as caught:
        read_episodes(write_bag(topics=()), SMALL, robot, PERIOD_S)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0.0, 0.4, 0.95])
def test_a_truncated_bag_is_one_line(write_bag: WriteBag, robot: RobotConfig, keep: float):
    bag = write_bag()
    (file,) = bag.glob("*.mcap")
    file.write_bytes(file.read_bytes()[: int(keep * file.stat().st_size)])
    with pytest.raises(UserError, match="damaged or cut off") as caught:
        read_episodes(bag, SMALL, robot, PERIOD_S)
    assert "\n" not in str(caught.value)


def test_commands_in_another_frame_are_refused(write_bag: WriteBag, robot: RobotConfig):
    with pytest.raises(UserError, match="frame 'tool0'"):
        read_episodes(write_bag(frame_id="tool0"), SMALL, robot, PERIOD_S)


def test_a_bag_too_short_for_one_step_is_refused(write_bag: WriteBag, robot: RobotConfig):
    with pytest.raises(UserError, match="no two decision frames"):
        read_episodes(write_bag(frames=2), SMALL, robot, PERIOD_S)


def test_bags_are_found_below_a_folder_and_a_folder_without_any_is_an_error(write_bag: WriteBag, tmp_path: Path):
    bags = [write_bag("episode_000001"), write_bag("episode_000000")]
    assert find_bags([tmp_path]) == sorted(bags)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match="no bag here"):
        find_bags([tmp_path / "nothing"])
    with pytest.raises(UserError, match="no such folder"):
        find_bags([tmp_path / "nowhere"])


def test_a_recording_that_is_still_going_on_is_left_alone(write_bag: WriteBag, tmp_path: Path):
    bag = write_bag("episode_000000")
    running = tmp_path / "bags" / ".partial" / "episode_000001"
    running.mkdir(parents=True)
    (running / "episode_000001.mcap").touch()
    assert find_bags([tmp_path]) == [bag]


def test_a_recording_that_was_cut_off_is_named(write_bag: WriteBag, tmp_path: Path):
    bag = write_bag()
    (bag / "metadata.yaml").unlink()
    with pytest.raises(UserError, match=r"episode_000000: metadata\.yaml is missing"):
        find_bags([tmp_path])


def test_check_reports_good_and_bad_bags_side_by_side(write_bag: WriteBag, robot: RobotConfig, tmp_path: Path):
    write_bag("a", frames=9, terminal_at=8, last_at=8)
    write_bag("b", topics=("image", "command"))
    good, bad = check_bags([tmp_path], SMALL, robot, PERIOD_S)
    assert (good.bag, good.steps, good.success, good.problem) == ("a", 4, True, "")
    assert bad.bag == "b"
    assert "fosp/feedback is missing" in bad.problem
