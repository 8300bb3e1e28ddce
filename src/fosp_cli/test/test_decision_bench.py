"""The benchmark times decisions that pass."""

from fosp_cli.bench.monitor import decision_seconds


def test_every_decision_is_timed():
    seconds = decision_seconds(20)
    assert len(seconds) == 20
    assert all(value > 0 for value in seconds)
