"""An episode from its start to its end, frame by frame."""

from __future__ import annotations

import math

import pytest

from fosp_recording.episode_feedback import EpisodeFeedback, StepValues
from fosp_recording.feedback_rules import BumperRule, ButtonRule, FeedbackConfig, GoalRule, ScanRule

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
    assert last.cost == 1.0, "nobody knows how close it was"
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


def test_what_cannot_be_judged_costs_and_neither_rewards_nor_succeeds(robot: Robot) -> None:
    robot.step()
    robot.feedback.observe(SCAN, None, robot.now_s)
    assert robot.step().cost == 1.0
    robot.feedback.observe(GOAL, None, robot.now_s, math.nan)
    doubtful = robot.step()
    assert (doubtful.success, doubtful.is_last) == (False, False)
    assert doubtful.reward < 0.0


def test_what_cannot_be_judged_ends_an_episode_as_a_failure_where_its_rule_does(robot: Robot) -> None:
    robot.step()
    robot.feedback.observe(BUMPER, None, robot.now_s)
    last = robot.step()
    assert (last.cost, last.terminal, last.success) == (2.0, True, False)
    assert robot.feedback.start(robot.now_s).startswith("a rule on bumper cannot be judged")


def test_a_rule_may_take_what_it_does_not_know_for_free() -> None:
    rules = tuple(rule.model_copy(update={"unknown": "free"}) for rule in CONFIG.rules)
    feedback = EpisodeFeedback(CONFIG.model_copy(update={"rules": rules}))
    for index in (GOAL, SCAN, BUMPER):
        feedback.observe(index, None, 0.0)
    feedback.publishers(BUMPER, 0)
    assert feedback.start(0.0) == ""
    feedback.frame(0.0, 0.0)
    values = feedback.frame(0.1, 0.1)
    assert values is not None
    assert (values.cost, values.is_last) == (0.0, False)


def test_a_bumper_that_nobody_publishes_any_more_cuts_the_episode_off(robot: Robot) -> None:
    robot.step()
    robot.feedback.publishers(BUMPER, 1)
    assert robot.step().cost == 0.0, "it may say nothing for long"
    robot.feedback.publishers(BUMPER, 0)
    last = robot.step()
    assert (last.cost, last.is_last, last.terminal) == (2.0, True, False)
    assert robot.feedback.start(robot.now_s) == "no message on bumper: its rules cannot be judged"


def test_a_bumper_that_repeats_its_state_may_not_fall_silent() -> None:
    bumper = BumperRule(kind="bumper", topic="bumper", cost=1.0, stale_s=0.2)
    feedback = EpisodeFeedback(FeedbackConfig(time_limit_s=9.0, rules=(bumper,)))
    assert feedback.start(0.0) == "no message on bumper: its rules cannot be judged"
    feedback.observe(0, False, 0.0)
    assert feedback.start(0.1) == ""
    feedback.frame(0.1, 0.1)
    values = feedback.frame(0.4, 0.4)
    assert values is not None
    assert (values.cost, values.is_last) == (1.0, True)


def test_a_gamepad_need_not_be_there_but_may_not_go() -> None:
    button = ButtonRule(kind="button", button=1, cost=1.0)
    feedback = EpisodeFeedback(FeedbackConfig(time_limit_s=9.0, rules=(button,)))
    feedback.publishers(0, 0)
    assert feedback.silent(0.0) == []
    feedback.observe(0, False, 0.0)
    feedback.publishers(0, 0)
    assert feedback.silent(0.0) == ["joy"]


def test_an_episode_in_which_time_goes_back_ends_without_a_last_feedback_and_the_next_one_begins(robot: Robot) -> None:
    robot.step()
    robot.step()
    robot.now_s -= 10.0
    assert robot.frame() is None
    assert (robot.feedback.running, robot.feedback.ended_because) == (False, "cut off: time went back")
    assert robot.feedback.start(robot.now_s) == ""
    assert robot.step().is_first


def test_what_was_measured_before_simulated_time_went_back_says_nothing_after_it(robot: Robot) -> None:
    robot.step()
    assert robot.feedback.stop() == ""
    assert robot.step().is_last
    assert robot.feedback.silent(robot.now_s - 5.0) == ["scan", "tool_pose"]
    assert robot.feedback.start(robot.now_s - 5.0) == "no message on scan, tool_pose: its rules cannot be judged"


def test_when_hazards_are_shown_a_violation_that_begins_ends_the_episode_and_one_that_was_there_does_not() -> None:
    rule = ButtonRule(kind="button", button=1, cost=1.0)
    feedback = EpisodeFeedback(FeedbackConfig(time_limit_s=9.0, rules=(rule,)), ends_at_cost=True)
    feedback.observe(0, True, 0.0)
    assert not feedback.start(0.0)
    seen = []
    for step, touching in enumerate([True, True, False, False, True]):
        feedback.observe(0, touching, 0.1 * step)
        values = feedback.frame(0.1 * step, 0.1 * step)
        assert values is not None
        seen.append((values.cost > 0, values.is_last, values.terminal))
    assert [last for _, last, _ in seen] == [False, False, False, False, True], (
        "the way out of a contact is no approach"
    )
    assert seen[-1] == (True, True, False)
    assert feedback.ended_because == "a violation: the approach is over"
