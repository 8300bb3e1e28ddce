import pytest

from fosp_cli.evaluation.episode_log import EpisodeLog
from fosp_cli.evaluation.metrics import DecidedStep, EpisodeResult, episode_result
from fosp_core.decisions import Decision
from fosp_core.ros.stamps import time_message
from fosp_msgs.msg import SafetyVerdict, StepFeedback


def feedback(stamp_s: float, **changes) -> StepFeedback:
    message = StepFeedback(**{"episode": 3, "reward": 0.5, **changes})
    message.header.stamp = time_message(round(stamp_s * 1e9))
    return message


def verdict(image_stamp_s: float, decided_s: float, decision: int = 0, shadow: bool = False) -> SafetyVerdict:
    message = SafetyVerdict(decision=int(decision), q_h=0.1, eps=0.3, shadow=shadow)
    message.header.stamp, message.decided = (
        time_message(round(image_stamp_s * 1e9)),
        time_message(round(decided_s * 1e9)),
    )
    return message


def driven(
    decisions: list[Decision], costs: list[float], shadow: bool = False, horizon_steps: int = 2
) -> EpisodeResult:
    """The record of an episode on the graph: a decision per period, feedback at 40 Hz, the cost in the second half."""
    log = EpisodeLog(3, 0.05, 2)
    log.on_feedback(feedback(10.0, is_first=True, reward=0.0))
    for period, (decision, cost) in enumerate(zip(decisions, costs, strict=True)):
        start_s = 10.0 + 0.05 * period
        log.on_verdict(verdict(start_s, start_s + 0.01, decision, shadow))
        log.on_command(start_s + 0.011)
        log.on_feedback(feedback(start_s + 0.025, reward=0.0))
        log.on_feedback(feedback(start_s + 0.05, reward=0.5, cost=cost, is_last=period == len(costs) - 1))
    return log.result()


def test_cost_is_the_worst_of_each_decision_interval_and_reward_is_summed():
    log = EpisodeLog(3, 0.05, 1)
    log.on_feedback(feedback(10.0, is_first=True, reward=0.0))
    for i, cost in enumerate([1.0, 1.0, 0.0, 1.0], start=1):  # 25 ms apart: two per decision interval
        log.on_feedback(feedback(10.0 + 0.025 * i, cost=cost, is_last=i == 4, success=i == 4))
    assert log.done
    result = log.result()
    assert (result.cost, result.episode_return, result.reached, result.success) == (2.0, 2.0, True, False)


def test_feedback_of_another_episode_or_before_the_first_frame_is_not_counted():
    log = EpisodeLog(3, 0.05, 1)
    log.on_feedback(feedback(9.0, episode=2, cost=1.0))
    log.on_feedback(feedback(9.5, cost=1.0))
    log.on_feedback(feedback(10.0, is_first=True))
    assert log.result().cost == 0.0


def test_an_episode_whose_beginning_was_lost_ends_and_has_no_start():
    log = EpisodeLog(3, 0.05, 1)
    log.on_feedback(feedback(9.5, cost=1.0))
    assert not log.done
    log.on_feedback(feedback(10.0, is_last=True))
    assert log.done
    assert log.started_s is None


def test_latency_runs_from_the_image_stamp_to_the_first_command_after_the_decision():
    log = EpisodeLog(3, 0.05, 1)
    log.on_feedback(feedback(10.0, is_first=True))
    log.on_verdict(verdict(10.0, 10.006))
    assert log.on_command(10.005) is None
    assert log.on_command(10.007).latency_s == pytest.approx(0.007)
    assert log.on_command(10.017) is None


def test_a_command_that_comes_before_its_verdict_completes_the_step_as_well():
    log = EpisodeLog(3, 0.05, 1)
    log.on_feedback(feedback(10.0, is_first=True))
    assert log.on_command(10.0055) is None
    assert log.on_command(10.0061) is None
    assert log.on_verdict(verdict(10.0, 10.006)).latency_s == pytest.approx(0.0061)
    assert log.on_command(10.017) is None
    assert len(log.steps) == 1


def test_verdicts_on_frames_before_the_episode_are_not_its_steps():
    log = EpisodeLog(3, 0.05, 1)
    log.on_feedback(feedback(10.0, is_first=True))
    log.on_verdict(verdict(9.95, 10.001, decision=Decision.STOP))
    assert log.on_command(10.01) is None
    assert log.result().stops == 0


def test_a_robot_that_stays_where_it_is_hangs_and_one_whose_pose_is_silent_does_not():
    moving, standing, silent = (EpisodeLog(3, 0.05, 1) for _ in range(3))
    for log in (moving, standing, silent):
        log.on_feedback(feedback(10.0, is_first=True))
    for i in range(60):
        stamp_s = 10.0 + 0.05 * i
        moving.on_pose(stamp_s - 0.01, (0.002 * i, 0.0, 0.2, 0.0))
        standing.on_pose(stamp_s - 0.01, (0.1, 0.0, 0.2, 0.0))
        for log in (moving, standing, silent):
            log.on_verdict(verdict(stamp_s, stamp_s + 0.005))
    assert [log.result().hung for log in (moving, standing, silent)] == [False, True, False]


def test_vetoes_and_stops_are_counted():
    log = EpisodeLog(3, 0.05, 1)
    log.on_feedback(feedback(10.0, is_first=True))
    for i, decision in enumerate([Decision.PASS, Decision.SUBSTITUTE, Decision.STOP, Decision.LATCH]):
        log.on_verdict(verdict(10.0 + i, 10.0 + i, decision))
        log.on_command(10.01 + i)
    assert (log.result().vetoes, log.result().stops, log.result().steps) == (3, 2, 4)


DECISIONS = [Decision.PASS, Decision.SUBSTITUTE, Decision.RECOVER, Decision.PASS, Decision.STOP]
COSTS = [0.0, 0.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize("shadow", [False, True])
def test_the_graph_gives_the_record_that_the_same_episode_has_in_process(shadow: bool):
    steps = [DecidedStep(period, decision, 0.1, 0.3, shadow) for period, decision in enumerate(DECISIONS)]
    in_process = episode_result(3, False, 0.5 * len(COSTS), COSTS, steps, 2, 0.05)
    result = driven(DECISIONS, COSTS, shadow)
    assert result == in_process
    assert (result.violated_under, result.vetoed_for) == ("RECOVER", 2)
    assert (result.hindsight is not None) == shadow


def test_a_violation_without_a_decision_in_its_period_counts_under_the_last_one_before():
    log = EpisodeLog(3, 0.05, 1)
    log.on_feedback(feedback(10.0, is_first=True))
    log.on_verdict(verdict(10.0, 10.01, Decision.RECOVER))
    log.on_command(10.011)
    log.on_feedback(feedback(10.1, cost=1.0))
    log.on_verdict(verdict(10.1, 10.11, Decision.PASS))
    log.on_command(10.111)
    assert (log.result().violated_under, log.result().vetoed_for, log.result().cost) == ("RECOVER", 1, 1.0)


def test_a_burst_in_which_verdicts_come_before_begin_and_after_end_of_the_episode_loses_no_step():
    """A busy reader takes one message of each topic in turn: feedback is ahead of verdicts, verdicts of commands."""
    log = EpisodeLog(3, 0.05, 2)
    decisions = [Decision.PASS, Decision.SUBSTITUTE, Decision.RECOVER, Decision.PASS]
    starts = [10.0 + 0.05 * period for period in range(len(decisions))]
    log.on_verdict(verdict(9.95, 9.96, Decision.STOP))
    log.on_verdict(verdict(starts[0], starts[0] + 0.01, decisions[0]))
    log.on_feedback(feedback(10.0, is_first=True))
    for start_s in starts:
        log.on_feedback(feedback(start_s + 0.05, is_last=start_s == starts[-1]))
    assert (log.done, log.settled) == (True, False)
    for start_s, decision in zip(starts[1:], decisions[1:], strict=True):
        log.on_verdict(verdict(start_s, start_s + 0.01, decision))
    log.on_verdict(verdict(starts[-1] + 0.05, starts[-1] + 0.06, Decision.STOP))
    assert not log.settled, "no command has come yet"
    for start_s in starts:
        log.on_command(start_s + 0.012)
    assert log.settled
    assert (log.result().steps, log.result().vetoes, log.result().stops) == (4, 2, 0)
    assert [step.latency_s for step in log.steps] == pytest.approx([0.012] * 4)


def test_a_frame_that_was_judged_twice_is_one_step_by_the_more_severe_verdict():
    log = EpisodeLog(3, 0.05, 2)
    log.on_feedback(feedback(10.0, is_first=True))
    for decision in (Decision.STOP, Decision.PASS):
        log.on_verdict(verdict(10.0, 10.01, decision))
    assert (log.result().steps, log.result().stops) == (1, 1)
