"""A robot hangs that gets nowhere for two seconds."""

import math

from fosp_cli.evaluation.hanging import hangs_from

WINDOW = 40
STEP_M = 0.001


def straight(periods, step_m=STEP_M):
    return [(period, (period * step_m, 0.0, 0.2, 0.0)) for period in range(periods)]


def test_a_robot_that_gets_on_does_not_hang():
    assert hangs_from(straight(200), WINDOW) is None


def test_a_robot_that_stands_hangs_once_it_has_stood_for_the_window():
    poses = straight(30) + [(period, (0.0301, 0.0, 0.2, 0.0)) for period in range(30, 100)]
    assert hangs_from(poses, WINDOW) == 46, "at 46 it is less than 2.5 cm from where it was at 6"


def test_going_to_and_fro_is_hanging():
    poses = [(period, (0.1 * math.sin(period * math.pi / 20), 0.0, 0.2, 0.0)) for period in range(100)]
    assert hangs_from(poses, WINDOW) == 40


def test_a_base_that_turns_on_the_spot_does_not_hang():
    poses = [(period, (1.0, 0.0, 0.0, period * 0.02)) for period in range(300)]
    assert hangs_from(poses, WINDOW) is None


def test_an_episode_shorter_than_the_window_says_nothing():
    assert hangs_from([(period, (0.0, 0.0, 0.0, 0.0)) for period in range(WINDOW)], WINDOW) is None
    assert hangs_from([], WINDOW) is None


def test_lost_poses_make_no_episode_hang():
    """Only every fiftieth pose is heard: each is held against the one before it, which is farther away."""
    poses = [pose for pose in straight(300) if pose[0] % 50 == 0]
    assert hangs_from(poses, WINDOW) is None
