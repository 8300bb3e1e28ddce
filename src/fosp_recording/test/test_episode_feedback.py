"""An episode from its start to its end, frame by frame."""

from __future__ import annotations

import math

import pytest

from fosp_recording.episode_feedback import EpisodeFeedback, StepValues
from fosp_recording.feedback_rules import BumperRule, FeedbackConfig, GoalRule, ScanRule

GOAL, SCAN, BUMPER = 0, 1, 2
FRAME_S = 0.05
CONFIG = FeedbackConfig(
    time_limit_s=1.0,
    time_penalty=0.2,
    rules=(
        GoalRule(
            kind="goal",
            topic="tool_pose",
            goal=(0.0, 0.0, 0.0),
            within_m=0.05,
            progress_reward=10.0,
            reward=2.0,
            success=True,
        ),
        ScanRule(kind="scan", topic="scan", closer_m=0.2, cost=1.0),
        BumperRule(kind="bumper", topic="bumper", cost=2.0, ends=True),
    ),
)


class Robot:
    """Measures 0.5 m to the goal and a free way, at every frame."""

    def __init__(self) -> None:
        self.feedback = EpisodeFeedback(CONFIG)
        self.now_s = 100.0
        self.distance, self.close, self.silent = 0.5, False, False
        self.measure()

    def measure(self) -> None:
        self.feedback.observe(GOAL, self.distance <= 0.05, self.now_s, self.distance)
        if not self.silent:
            self.feedback.observe(SCAN, self.close, self.now_s)

    def frame(self) -> StepValues | None:
        self.now_s += FRAME_S
        self.measure()
        return self.feedback.frame(self.now_s, self.now_s)

    def step(self) -> StepValues:
        values = self.frame()
        assert values is not None
        return values


@pytest.fixture
def robot() -> Robot:
    robot = Robot()
    assert robot.frame() is None, "nothing is said outside of episodes"
    assert robot.feedback.start(robot.now_s) == ""
    return robot


def test_the_first_frame_begins_the_episode_with_neither_reward_nor_cost(robot: Robot) -> None:
    first = robot.step()
    assert first == StepValues(0, True, 0.0, 0.0, False, False, False, 0.5)
    assert not robot.step().is_first


def test_progress_is_rewarded_and_time_is_not(robot: Robot) -> None:
    robot.step()
    robot.distance = 0.4
    assert robot.step().reward == pytest.approx(10.0 * 0.1 - 0.2 * FRAME_S)
    robot.distance = 0.45
    assert robot.step().reward == pytest.approx(-10.0 * 0.05 - 0.2 * FRAME_S)


def test_reaching_the_goal_ends_the_episode_as_a_success(robot: Robot) -> None:
    robot.step()
    robot.distance = 0.04
    last = robot.step()
    assert (last.success, last.terminal, last.is_last) == (True, True, True)
    assert last.reward == pytest.approx(10.0 * 0.46 + 2.0 - 0.2 * FRAME_S)
    assert robot.feedback.ended_because == "goal reached"
    assert robot.frame() is None


def test_the_worst_cost_between_two_frames_counts_although_it_is_over(robot: Robot) -> None:
    robot.step()
    robot.feedback.observe(SCAN, True, robot.now_s + 0.01)
    robot.feedback.observe(SCAN, False, robot.now_s + 0.02)
    assert robot.step().cost == 1.0
    assert robot.step().cost == 0.0


def test_a_condition_that_lasts_costs_in_every_frame_and_ends_nothing_by_itself(robot: Robot) -> None:
    robot.step()
    robot.close = True
    costs = [robot.step().cost for _ in range(3)]
    robot.close = False
    assert costs == [1.0, 1.0, 1.0]
    assert robot.feedback.running


def test_a_source_that_speaks_only_when_something_changes_holds_until_then(robot: Robot) -> None:
    robot.step()
    robot.silent = True
    robot.feedback.observe(SCAN, True, robot.now_s)
    assert [robot.step().cost for _ in range(3)] == [1.0, 1.0, 1.0]
    robot.feedback.observe(SCAN, False, robot.now_s)
    assert [robot.step().cost for _ in range(2)] == [1.0, 0.0], "it held at the beginning of the first of the two"


def test_a_rule_that_ends_the_episode_is_a_failure(robot: Robot) -> None:
    robot.step()
    robot.feedback.observe(BUMPER, True, robot.now_s)
    last = robot.step()
    assert (last.cost, last.terminal, last.is_last, last.success) == (2.0, True, True, False)


def test_time_limit_and_operator_cut_off_without_a_terminal(robot: Robot) -> None:
    begin_s = robot.now_s
    last = robot.step()
    while not last.is_last:
        last = robot.step()
    assert not last.terminal
    assert robot.now_s - begin_s == pytest.approx(CONFIG.time_limit_s, abs=1.1 * FRAME_S + FRAME_S)
    assert robot.feedback.ended_because == "time limit"
    assert robot.feedback.start(robot.now_s) == ""
    assert robot.step().episode == 1
    assert robot.feedback.stop() == ""
    last = robot.step()
    assert (last.is_last, last.terminal) == (True, False)
    assert robot.feedback.ended_because == "stopped by the operator"


def test_the_operator_may_say_that_it_succeeded(robot: Robot) -> None:
    robot.step()
    assert robot.feedback.succeed() == ""
    last = robot.step()
    assert (last.success, last.terminal, last.is_last) == (True, True, True)


def test_when_a_measurement_goes_silent_the_episode_is_cut_off_and_none_begins(robot: Robot) -> None:
    robot.step()
    robot.silent = True
    last = robot.step()
    while not last.is_last:
        last = robot.step()
    assert not last.terminal
    assert robot.feedback.ended_because == "cut off: no message on scan"
    assert robot.feedback.start(robot.now_s) == "no message on scan: its rules cannot be judged"


def test_no_episode_begins_without_every_measurement() -> None:
    feedback = EpisodeFeedback(CONFIG)
    assert feedback.start(0.0) == "no message on scan, tool_pose: its rules cannot be judged"
    assert not feedback.running
    feedback.observe(GOAL, False, 0.0, 1.0)
    feedback.observe(SCAN, False, 0.0)
    assert feedback.start(0.1) == ""
    assert "still running" in feedback.start(0.2)
    assert EpisodeFeedback(CONFIG).stop() == "no episode is running"


def test_no_episode_begins_that_would_end_at_once(robot: Robot) -> None:
    robot.distance = 0.04
    while not robot.step().is_last:
        pass
    assert robot.feedback.start(robot.now_s) == "a rule on tool_pose holds already: the episode would end at once"
    robot.distance = 0.5
    robot.measure()
    assert robot.feedback.start(robot.now_s) == ""


def test_a_frame_that_repeats_or_precedes_the_last_says_nothing(robot: Robot) -> None:
    robot.step()
    now_s = robot.now_s
    assert robot.feedback.frame(now_s, now_s) is None
    assert robot.feedback.frame(now_s - FRAME_S, now_s) is None


def test_a_goal_that_is_not_known_gives_no_progress(robot: Robot) -> None:
    robot.step()
    robot.distance = math.nan
    assert robot.step().reward == pytest.approx(-0.2 * FRAME_S)
