import pytest

from fosp_sim.metrics import EpisodeResult, percentiles_ms, summarise, wilson_interval


def episode(**changes) -> EpisodeResult:
    values = {"episode": 0, "reached": True, "cost": 0.0, "episode_return": 1.0, "steps": 10, "vetoes": 0, "stops": 0}
    return EpisodeResult(**{**values, **changes})


def test_the_wilson_interval_agrees_with_published_values():
    # 81 of 263: Newcombe 1998, table I, method 3.
    low, high = wilson_interval(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    assert wilson_interval(0, 20)[0] == 0.0
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_reaching_the_goal_with_a_violation_is_no_success():
    summary = summarise({}, "id", [episode(), episode(cost=1.0), episode(reached=False)])
    assert summary["success_rate"] == pytest.approx(1 / 3)
    assert summary["violation_rate"] == pytest.approx(1 / 3)


def test_veto_and_stop_rates_are_per_step():
    summary = summarise({}, "id", [episode(vetoes=3, stops=1), episode()])
    assert (summary["veto_rate"], summary["stop_rate"]) == (0.15, 0.05)


def test_percentiles_are_in_milliseconds():
    assert percentiles_ms([0.001, 0.002, 0.003]) == {"p50": 2.0, "p99": 2.98, "max": 3.0}
