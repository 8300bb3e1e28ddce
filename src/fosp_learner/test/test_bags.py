from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fosp_core.bag_types import typestore
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig, TargetLead
from fosp_core.specs import CameraSpec, ObservationSpec
from fosp_learner.data.bags import check_bags, find_bags, read_episodes

PERIOD_S = 0.05
SMALL = ObservationSpec(cameras=(CameraSpec(height=16, width=16),))
WriteBag = Callable[..., Path]
Message = tuple[str, str, int, Any]


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


def test_check_reports_good_and_bad_bags_side_by_side(write_bag: WriteBag, robot: RobotConfig, tmp_path: Path):
    write_bag("a", frames=9, terminal_at=8, last_at=8)
    write_bag("b", topics=("image", "command"))
    good, bad = check_bags([tmp_path], SMALL, robot, PERIOD_S)
    assert (good.bag, good.steps, good.success, good.problem) == ("a", 4, True, "")
    assert bad.bag == "b"
    assert "fosp/feedback is missing" in bad.problem


def test_check_says_how_many_messages_of_each_stream_were_used(write_bag: WriteBag, robot: RobotConfig, tmp_path: Path):
    write_bag(frames=17, lost=tuple(range(5, 10)))
    (report,) = check_bags([tmp_path], SMALL, robot, PERIOD_S)
    assert (report.episodes, report.steps, report.format, report.images) == (2, 5, "mcap", ("32x24",))
    assert (str(report.frames), str(report.feedback)) == ("7/12", "12/17")
    assert report.notes == ("2 episodes", "split at 0.25 s: gap of 0.150 s")


@pytest.mark.parametrize(("reward", "cost"), [(float("nan"), 0.0), (0.0, float("inf")), (0.0, -1.0)])
def test_feedback_that_is_no_number_is_one_line_with_its_time(
    write_bag: WriteBag, rewrite_bag: WriteBag, robot: RobotConfig, reward: float, cost: float
):
    def spoil(message: Message) -> list[Message]:
        if message[0] == "/fosp/feedback" and message[3].header.stamp.nanosec == 75_000_000:
            message[3].reward, message[3].cost = reward, cost
        return [message]

    bag = rewrite_bag(write_bag(), spoil)
    with pytest.raises(UserError, match=r"feedback at 1000\.075 s holds reward") as caught:
        read_episodes(bag, SMALL, robot, PERIOD_S)
    assert str(caught.value).startswith(f"{bag}: ")
    assert "\n" not in str(caught.value)


def changed(write_bag: WriteBag, rewrite_bag: WriteBag, topic: str, change: Callable[[Any, int], object]) -> Path:
    """A bag in which `change(message, number)` was done to the messages of a topic."""
    numbers = iter(range(10**6))

    def apply(message: Message) -> list[Message]:
        if message[0].endswith(topic):
            change(message[3], next(numbers))
        return [message]

    return rewrite_bag(write_bag(), apply)


def refusal(bag: Path, robot: RobotConfig, observation: ObservationSpec = SMALL) -> str:
    with pytest.raises(UserError) as caught:
        read_episodes(bag, observation, robot, PERIOD_S)
    assert str(caught.value).startswith(f"{bag}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_images_that_change_their_size_are_refused(write_bag: WriteBag, rewrite_bag: WriteBag, robot: RobotConfig):
    def shrink(image: Any, number: int) -> None:
        if number >= 5:
            image.height, image.data = 20, image.data[: 20 * image.step]

    line = refusal(changed(write_bag, rewrite_bag, "image_raw", shrink), robot)
    assert "images of camera/color/image_raw change from 32x24 to 32x20" in line


def test_images_smaller_than_the_models_are_refused(write_bag: WriteBag, robot: RobotConfig):
    assert "32x24, smaller than the model's 64x64" in refusal(write_bag(), robot, ObservationSpec())


def test_streams_by_different_clocks_are_refused(write_bag: WriteBag, rewrite_bag: WriteBag, robot: RobotConfig):
    def since_start(command: Any, number: int) -> None:
        command.header.stamp.sec -= 1000

    assert "no time in common" in refusal(changed(write_bag, rewrite_bag, robot.command_topic, since_start), robot)


def test_messages_that_nobody_stamped_are_refused(write_bag: WriteBag, rewrite_bag: WriteBag, robot: RobotConfig):
    def unstamped(image: Any, number: int) -> None:
        image.header.stamp.sec = image.header.stamp.nanosec = 0

    assert "carry one stamp" in refusal(changed(write_bag, rewrite_bag, "image_raw", unstamped), robot)


def test_a_command_that_is_not_finite_is_refused(write_bag: WriteBag, rewrite_bag: WriteBag, robot: RobotConfig):
    def spoil(command: Any, number: int) -> None:
        command.twist.linear.x = float("inf") if number == 3 else 0.1

    assert "is not finite" in refusal(changed(write_bag, rewrite_bag, robot.command_topic, spoil), robot)


def test_commands_that_are_target_poses_give_the_actions_of_the_twists_they_were_integrated_from(
    write_bag: WriteBag, rewrite_bag: WriteBag, robot: RobotConfig
):
    twists, start_ns = write_bag(), None
    lead = TargetLead(distance=0.5, angle=1.5)
    takes_poses = robot.model_copy(update={"command_type": "PoseStamped", "target_lead": lead})
    kind = "geometry_msgs/msg/PoseStamped"

    def integrated(message: Any) -> list[Any]:
        nonlocal start_ns
        topic, found, when, content = message
        if not found.endswith("TwistStamped"):
            return [message]
        start_ns = when if start_ns is None else start_ns
        types = typestore().types
        position = types["geometry_msgs/msg/Point"](content.twist.linear.x * (when - start_ns) * 1e-9, 0.0, 0.0)
        upright = types["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0)
        return [(topic, kind, when, types[kind](content.header, types["geometry_msgs/msg/Pose"](position, upright)))]

    poses = rewrite_bag(twists, integrated)
    (expected,) = read_episodes(twists, SMALL, robot, PERIOD_S)
    (found,) = read_episodes(poses, SMALL, takes_poses, PERIOD_S)
    assert found.action[1:] == pytest.approx(expected.action[1:], abs=1e-5)
    assert np.abs(expected.action[1:-1]).max() > 0.1
    assert "expected geometry_msgs/msg/TwistStamped" in refusal(poses, robot)


def test_topics_in_one_namespace_are_found_and_two_robots_in_one_bag_are_refused(
    write_bag: WriteBag, rewrite_bag: WriteBag, robot: RobotConfig
):
    def below(*names: str) -> Callable[[Message], list[Message]]:
        return lambda message: [(f"/{name}{message[0]}", *message[1:]) for name in names]

    bag = write_bag()
    (episode,) = read_episodes(rewrite_bag(bag, below("left"), name="one"), SMALL, robot, PERIOD_S)
    assert len(episode.reward) == 5
    line = refusal(rewrite_bag(bag, below("left", "right"), name="two"), robot)
    assert "several topics could be camera/color/image_raw: /left/camera/color/image_raw, /right/" in line


def test_several_cameras_are_stacked_in_the_order_of_the_observation(
    write_bag: WriteBag, rewrite_bag: WriteBag, robot: RobotConfig
):
    def second_camera(message: Message) -> list[Message]:
        topic, kind, when, content = message
        return [message, ("/camera/side/image_raw", kind, when, content)] if "image_raw" in topic else [message]

    cameras = (
        CameraSpec(height=16, width=16),
        CameraSpec(name="side", topic="camera/side/image_raw", height=16, width=16),
    )
    both = ObservationSpec(cameras=cameras)
    bag = rewrite_bag(write_bag(frames=9), second_camera)
    (episode,) = read_episodes(bag, both, robot, PERIOD_S)
    assert episode.images.shape == (5, 2, 16, 16, 3)
    np.testing.assert_array_equal(episode.images[:, 0], episode.images[:, 1])
    assert "topic camera/side/image_raw is missing" in refusal(write_bag("single"), robot, both)


@pytest.mark.slow
def test_bags_are_checked_in_order_and_alike_in_several_processes(
    write_bag: WriteBag, robot: RobotConfig, tmp_path: Path
):
    for i in range(5):
        write_bag(
            f"episode_{i}",
            frames=7 + 2 * i,
            topics=("image", "command") if i == 3 else ("image", "feedback", "command"),
        )
    alone = check_bags([tmp_path], SMALL, robot, PERIOD_S, workers=1)
    assert check_bags([tmp_path], SMALL, robot, PERIOD_S, workers=2) == alone
    assert [report.bag for report in alone] == [f"episode_{i}" for i in range(5)]
