"""When a graph that has just come up counts as warm: the first episode begins no earlier."""

from __future__ import annotations

from fosp_cli.evaluation.live_graph import WARM_S, TimelyStart

PERIOD_S = 0.05


def after(*latencies_s: float, warming: TimelyStart | None = None) -> TimelyStart:
    """A warm-up that has seen a verdict in each period, so long after its frame."""
    warming = warming or TimelyStart(PERIOD_S)
    first_s = 100.0 if warming._last_s is None else warming._last_s + PERIOD_S
    for number, latency_s in enumerate(latencies_s):
        warming.on_verdict(first_s + number * PERIOD_S - latency_s, first_s + number * PERIOD_S)
    return warming


ENOUGH = round(WARM_S / PERIOD_S) + 2


def test_a_second_of_decisions_in_time_is_enough_and_less_is_not() -> None:
    assert not TimelyStart(PERIOD_S).done
    assert not after(*[0.01] * (ENOUGH - 4)).done
    assert after(*[0.01] * ENOUGH).done


def test_a_late_decision_begins_the_second_anew() -> None:
    warming = after(*[0.01] * (ENOUGH - 4), 0.2, *[0.01] * (ENOUGH - 4))
    assert not warming.done
    assert after(*[0.01] * 8, warming=warming).done
    assert not after(*[0.2] * 10 * ENOUGH).done, "a graph that is always late is never warm"


def test_the_latency_of_the_camera_itself_is_no_lateness_of_the_graph() -> None:
    late = [PERIOD_S + 0.15] * ENOUGH
    assert not after(*late).done
    assert after(*late, warming=TimelyStart(PERIOD_S, camera_latency_s=0.2)).done


def test_a_decision_that_is_lacking_does_so_too() -> None:
    warming = after(*[0.01] * (ENOUGH - 4))
    warming.on_verdict(200.0, 200.01)
    assert not warming.done
    assert after(*[0.01] * ENOUGH, warming=warming).done
