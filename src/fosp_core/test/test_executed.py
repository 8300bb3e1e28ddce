import numpy as np
import pytest

from fosp_core.executed import mean_command, normalised_action, rotated, rotation_between, twists_of_poses
from fosp_core.specs import ActionAxis, ActionSpec

HOLD = 0.1


def stream(*pairs: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([p[0] for p in pairs]), np.array([[p[1]] for p in pairs])


def test_a_command_holds_until_the_next_one():
    stamps, commands = stream((0.00, 1.0), (0.03, 3.0))
    assert mean_command(stamps, commands, 0.0, 0.05, HOLD) == pytest.approx([(0.03 * 1 + 0.02 * 3) / 0.05])


def test_the_command_in_force_before_the_interval_counts():
    stamps, commands = stream((0.98, 2.0), (1.04, 4.0))
    assert mean_command(stamps, commands, 1.0, 1.05, HOLD) == pytest.approx([(0.04 * 2 + 0.01 * 4) / 0.05])


def test_a_command_at_the_end_of_the_interval_does_not_count():
    stamps, commands = stream((0.0, 1.0), (0.05, 9.0))
    assert mean_command(stamps, commands, 0.0, 0.05, HOLD) == pytest.approx([1.0])


def test_the_robot_stands_still_after_its_command_timeout():
    stamps, commands = stream((0.0, 1.0))
    assert mean_command(stamps, commands, 0.0, 0.2, HOLD) == pytest.approx([0.5])
    assert mean_command(stamps, commands, 0.2, 0.25, HOLD) == pytest.approx([0.0])


def test_without_commands_the_mean_is_zero():
    assert mean_command(np.zeros(0), np.zeros((0, 2)), 0.0, 0.05, HOLD).tolist() == [0.0, 0.0]
    stamps, commands = stream((0.5, 1.0))
    assert mean_command(stamps, commands, 0.0, 0.05, HOLD).tolist() == [0.0]


def test_history_outside_of_the_interval_changes_nothing():
    stamps = np.arange(0, 2, 0.01)
    commands = np.sin(stamps)[:, None]
    window = (stamps > 0.85) & (stamps < 1.2)
    assert mean_command(stamps, commands, 1.0, 1.05, HOLD) == pytest.approx(
        mean_command(stamps[window], commands[window], 1.0, 1.05, HOLD)
    )


def test_an_empty_interval_and_a_shuffled_stream_are_refused():
    stamps, commands = stream((0.0, 1.0), (0.04, 2.0), (0.02, 3.0))
    with pytest.raises(ValueError, match="interval"):
        mean_command(stamps, commands, 1.0, 1.0, HOLD)
    with pytest.raises(ValueError, match="ascending"):
        mean_command(stamps, commands, 0.0, 0.05, HOLD)


def test_an_executed_action_is_scaled_and_clipped_per_axis():
    spec = ActionSpec(
        axes=(ActionAxis(name="linear.x", scale=0.25), ActionAxis(name="linear.y", scale=0.5)), frame_id="base_link"
    )
    action = normalised_action(np.array([0.3, -0.25]), spec)
    assert action.dtype == np.float32
    assert action.tolist() == [1.0, -0.5]


def test_the_twists_of_a_stream_of_poses_are_those_that_it_was_integrated_from():
    names = ("linear.x", "linear.y", "angular.x", "angular.z")
    spec = ActionSpec(axes=tuple(ActionAxis(name=name, scale=1.0) for name in names), frame_id="base_link")
    twists = np.random.default_rng(0).uniform(-0.3, 0.3, (20, 4))
    twists[0] = 0.0
    stamps = 0.01 * np.arange(20)
    position, orientation, poses = np.array([0.5, 0.0, 0.2]), np.array([0.0, 0.6, 0.0, 0.8]), []
    for x, y, around_x, around_z in twists:
        position = position + 0.01 * np.array([x, y, 0.0])
        orientation = rotated(orientation, 0.01 * np.array([around_x, 0.0, around_z]))
        poses.append([*position, *orientation])
    assert twists_of_poses(stamps, np.array(poses), spec, HOLD) == pytest.approx(twists, abs=1e-9)


def test_a_gap_in_a_stream_of_poses_counts_as_standing_still():
    spec = ActionSpec(axes=(ActionAxis(name="linear.x", scale=1.0),), frame_id="base_link")
    poses = np.tile([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0], (4, 1))
    poses[:, 0] = [0.0, 0.1, 0.2, 0.3]
    twists = twists_of_poses(np.array([0.0, 0.1, 5.0, 5.0]), poses, spec, HOLD)
    assert twists[:, 0] == pytest.approx([0.0, 1.0, 0.0, 0.0]), "nothing after the gap, nothing in no time"


QUARTER_ABOUT_Z = np.array([0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5)])


def test_a_quarter_turn_about_z():
    assert rotated(np.array([0.0, 0.0, 0.0, 1.0]), np.array([0.0, 0.0, np.pi / 2])) == pytest.approx(QUARTER_ABOUT_Z)


def test_rotations_are_about_the_fixed_axes_and_not_those_of_the_tool():
    turned = rotated(QUARTER_ABOUT_Z, np.array([np.pi, 0.0, 0.0]))
    assert turned == pytest.approx(np.array([np.sqrt(0.5), -np.sqrt(0.5), 0.0, 0.0]))


def test_the_rotation_between_two_orientations_is_the_one_that_was_made_whatever_the_sign_of_the_quaternion():
    random = np.random.default_rng(0)
    for rotation in random.uniform(-1.0, 1.0, (50, 3)):
        before = random.normal(size=4)
        before /= np.linalg.norm(before)
        after = rotated(before, rotation)
        assert np.linalg.norm(after) == pytest.approx(1.0)
        assert rotation_between(before, after) == pytest.approx(rotation)
        assert rotation_between(before, -after) == pytest.approx(rotation)


def test_no_rotation_is_exactly_none():
    assert rotation_between(QUARTER_ABOUT_Z, QUARTER_ABOUT_Z).tolist() == [0.0, 0.0, 0.0]
    assert rotated(QUARTER_ABOUT_Z, np.zeros(3)) == pytest.approx(QUARTER_ABOUT_Z)
