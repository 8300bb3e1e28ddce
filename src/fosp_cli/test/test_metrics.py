import pytest

from fosp_cli.evaluation import metrics, tables
from fosp_cli.evaluation.intervals import (
    paired_mean_difference,
    paired_rate_difference,
    share_of_steps,
    wilson_interval,
)
from fosp_cli.evaluation.metrics import (
    METRICS,
    DecidedStep,
    EpisodeResult,
    Hindsight,
    Metric,
    compare,
    episode_result,
    percentiles_ms,
    summarise,
)
from fosp_core.decisions import Decision, Reason


def episode(**changes) -> EpisodeResult:
    values = {"episode": 0, "reached": True, "cost": 0.0, "episode_return": 1.0, "steps": 10, "vetoes": 0, "stops": 0}
    monitor = {"substitutions": 0, "violated_under": "", "vetoed_for": 0, "hindsight": None}
    return EpisodeResult(**{**values, **monitor, **changes})


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


def test_a_substituted_proposal_is_vetoed_but_no_brake():
    summary = summarise({}, "id", [episode(vetoes=3, substitutions=2)])
    assert (summary["veto_rate"], summary["brake_rate"]) == (0.3, 0.1)


def test_violations_are_counted_by_what_the_monitor_said():
    results = [episode(cost=1.0, violated_under=decision) for decision in ("RECOVER", "PASS", "RECOVER")]
    assert summarise({}, "id", [*results, episode()])["violations_under"] == {"RECOVER": 2, "PASS": 1}


def test_false_vetoes_are_shares_of_all_steps_and_misses_means_over_violating_episodes():
    judged = [Hindsight(3, 1, 4, 1), Hindsight(1, 0, 0, 0), Hindsight(0, 0, 2, 0)]
    found = summarise({}, "id", [episode(hindsight=entry) for entry in judged])["hindsight"]
    assert found["false_veto_rate"] == pytest.approx(4 / 30, abs=1e-4)
    assert found["false_brake_rate"] == pytest.approx(1 / 30, abs=1e-4)
    assert (found["violating_episodes"], found["miss_rate"]) == (2, 0.125)
    assert found["miss_ci95"] == pytest.approx(wilson_interval(0.25, 2), abs=1e-4)


def test_without_a_violation_there_is_no_miss_rate_and_without_a_judgement_no_hindsight():
    assert summarise({}, "id", [episode(hindsight=Hindsight(0, 0, 0, 0))])["hindsight"]["miss_rate"] is None
    assert summarise({}, "id", [episode()])["hindsight"] is None


def test_the_interval_of_a_share_of_steps_knows_that_the_steps_of_an_episode_are_alike():
    share, low, high = share_of_steps([10, 0, 0, 0] * 10, [10] * 40)
    assert share == 0.25
    # As wide as that of 10 in 40, not of 100 in 400.
    assert (low, high) == pytest.approx(wilson_interval(10, 40), abs=0.03)


def test_the_interval_of_a_share_of_nothing_is_not_empty():
    assert share_of_steps([0, 0], [10, 10]) == (0.0, *wilson_interval(0, 2))


def pairs(both: int, only_first: int, only_second: int, neither: int) -> tuple[list[bool], list[bool]]:
    first = [True] * (both + only_first) + [False] * (only_second + neither)
    second = [True] * both + [False] * only_first + [True] * only_second + [False] * neither
    return first, second


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        # Newcombe's formula worked out apart from the code. First table: association 5 < n / 2 counts as none.
        ((1, 1, 7, 12), (-0.2857, -0.5069, -0.0256)),
        ((59, 6, 16, 80), (-0.0621, -0.1186, -0.0046)),
        ((36, 12, 2, 0), (0.2, 0.0569, 0.3404)),
    ],
)
def test_the_paired_difference_of_rates_is_method_10_of_newcombe(table, expected):
    assert paired_rate_difference(*pairs(*table)) == pytest.approx(expected, abs=1e-4)


def test_swapping_the_two_mirrors_the_paired_difference():
    first, second = pairs(30, 9, 3, 8)
    difference, low, high = paired_rate_difference(first, second)
    assert paired_rate_difference(second, first) == pytest.approx((-difference, -high, -low))
    assert difference == pytest.approx(0.12)
    assert low < difference < high


def test_pairs_that_agree_narrow_the_interval():
    _, low, high = paired_rate_difference(*pairs(24, 1, 0, 25))
    _, low_apart, high_apart = paired_rate_difference(*pairs(12, 13, 12, 13))
    assert high - low < 0.5 * (high_apart - low_apart)


@pytest.mark.parametrize("outcome", [True, False])
def test_equal_outcomes_everywhere_leave_the_uncertainty_of_few_trials(outcome):
    difference, low, high = paired_rate_difference([outcome] * 20, [outcome] * 20)
    assert difference == 0.0
    assert -0.25 < low < -0.1
    assert 0.1 < high < 0.25
    assert paired_rate_difference([], []) == (0.0, -1.0, 1.0)


def test_the_paired_difference_of_means_sees_what_varying_scenes_would_hide():
    scenes = [float(i) for i in range(40)]
    better = [value + 1.0 + 0.1 * (i % 3) for i, value in enumerate(scenes)]
    difference, low, high = paired_mean_difference(better, scenes)
    assert low < difference < high
    assert (round(low, 1), round(high, 1)) == (1.1, 1.1)
    assert paired_mean_difference(better, scenes) == (difference, low, high)
    assert paired_mean_difference([], []) == (0.0, 0.0, 0.0)


def test_the_bootstrap_interval_of_a_mean_comes_near_the_exact_one():
    # 25 differences of variance 1 around 0: the normal interval is +- 1.96 / 5.
    differences = [1.0, -1.0] * 12 + [0.0]
    _, low, high = paired_mean_difference(differences, [0.0] * 25)
    assert (low, high) == pytest.approx((-0.384, 0.384), abs=0.03)


def test_a_comparison_is_first_minus_second():
    first = [episode(episode=i, episode_return=2.0) for i in range(30)]
    second = [episode(episode=i, cost=float(i % 2)) for i in range(30)]
    figures = compare(first, second)
    assert figures["episodes"] == 30
    assert figures["success_difference"] == 0.5
    assert figures["success_difference_ci95"][0] > 0.2
    assert figures["violation_difference"] == -0.5
    assert figures["cost_difference"] == -0.5
    assert figures["return_difference_ci95"] == [1.0, 1.0]


def test_results_of_other_episodes_are_not_compared():
    with pytest.raises(ValueError, match="same episodes"):
        compare([episode(episode=0)], [episode(episode=1)])


def test_a_metric_in_the_list_is_in_the_json_and_in_the_tables(monkeypatch, capsys):
    worst = Metric("worst_cost", "worst cost", "mean", lambda r: r.cost, "worst", "worst")
    for module in (metrics, tables):
        monkeypatch.setattr(module, "METRICS", (*METRICS, worst))
    first, second = [episode(cost=3.0)], [episode(cost=1.0)]
    rows = [
        {"bundle": name, "scenario_name": "s", "monitor": "on", "promised_miss_rate": 0.05}
        | summarise({}, "id", results)
        for name, results in (("a", first), ("b", second))
    ]
    assert rows[0]["worst_cost"] == 3.0
    tables.print_one(rows[0], "in-process", False)
    comparison = {"first": "a", "second": "b", "scenario_name": "s", **compare(first, second)}
    tables.print_all({"evaluations": rows, "comparisons": [comparison]}, "in-process")
    printed = capsys.readouterr().out
    assert "worst cost" in printed
    assert printed.count("worst ") >= 3
    assert comparison["worst_difference"] == 2.0


def test_percentiles_are_in_milliseconds():
    assert percentiles_ms([0.001, 0.002, 0.003]) == {"p50": 2.0, "p99": 2.98, "max": 3.0}


def test_a_robot_that_asked_for_help_hung():
    def decided(decision, reason):
        return [
            DecidedStep(period, decision, reason=reason, pose=(0.02 * period, 0.0, 0.0, 0.0)) for period in range(9)
        ]

    def result(decision, reason):
        return episode_result(0, False, 0.0, [0.0] * 9, decided(decision, reason), 3, 0.05)

    asked = result(Decision.LATCH, Reason.VETOES)
    assert (asked.asked_for_help, asked.hung) == (True, True)
    pressed = result(Decision.LATCH, Reason.ESTOP)
    assert (pressed.asked_for_help, pressed.hung) == (False, False)
    assert summarise({}, "id", [asked, pressed])["help_rate"] == 0.5
