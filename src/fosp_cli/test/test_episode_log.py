import pytest

from fosp_cli.evaluation.episode_log import EpisodeLog, FeedbackEvent, VerdictEvent
from fosp_core.decisions import Decision


def feedback(stamp_s: float, **changes) -> FeedbackEvent:
    values = {"episode": 3, "is_first": False, "is_last": False, "reward": 0.5, "cost": 0.0, "success": False}
    return FeedbackEvent(stamp_s, **{**values, **changes})


def verdict(image_stamp_s: float, decided_s: float, decision: Decision = Decision.PASS) -> VerdictEvent:
    return VerdictEvent(image_stamp_s, decided_s, 0, decision, "", 0.1, 0.3)


def test_cost_is_the_worst_of_each_decision_interval_and_reward_is_summed():
    log = EpisodeLog(3, 0.05)
    log.on_feedback(feedback(10.0, is_first=True, reward=0.0))
    for i, cost in enumerate([1.0, 1.0, 0.0, 1.0], start=1):  # 25 ms apart: two per decision interval
        log.on_feedback(feedback(10.0 + 0.025 * i, cost=cost, is_last=i == 4, success=i == 4))
    assert log.done
    result = log.result()
    assert (result.cost, result.episode_return, result.reached, result.success) == (2.0, 2.0, True, False)


def test_feedback_of_another_episode_or_before_the_first_frame_is_not_counted():
    log = EpisodeLog(3, 0.05)
    log.on_feedback(feedback(9.0, episode=2, cost=1.0))
    log.on_feedback(feedback(9.5, cost=1.0))
    log.on_feedback(feedback(10.0, is_first=True))
    assert log.result().cost == 0.0


def test_latency_runs_from_the_image_stamp_to_the_first_command_after_the_decision():
    log = EpisodeLog(3, 0.05)
    log.on_feedback(feedback(10.0, is_first=True))
    log.on_verdict(verdict(10.0, 10.006))
    assert log.on_command(10.005) is None
    assert log.on_command(10.007).latency_s == pytest.approx(0.007)
    assert log.on_command(10.017) is None


def test_verdicts_on_frames_before_the_episode_are_not_its_steps():
    log = EpisodeLog(3, 0.05)
    log.on_feedback(feedback(10.0, is_first=True))
    log.on_verdict(verdict(9.95, 10.001, decision=Decision.STOP))
    assert log.on_command(10.01) is None
    assert log.result().stops == 0


def test_vetoes_and_stops_are_counted():
    log = EpisodeLog(3, 0.05)
    log.on_feedback(feedback(10.0, is_first=True))
    for i, decision in enumerate([Decision.PASS, Decision.SUBSTITUTE, Decision.STOP, Decision.LATCH]):
        log.on_verdict(verdict(10.0 + i, 10.0 + i, decision))
        log.on_command(10.01 + i)
    assert (log.result().vetoes, log.result().stops, log.result().steps) == (3, 2, 4)
