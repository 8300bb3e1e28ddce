"""Lines of the log that tell changes, and not every tick."""

from fosp_safety_monitor.operator.change_log import PAUSE_S, ChangeLog


def test_a_state_is_told_once_however_long_it_lasts() -> None:
    log = ChangeLog()
    assert [log.is_news("stale", 0.01 * tick) for tick in range(1000)] == [True] + [False] * 999


def test_a_state_that_flickers_is_told_now_and_then_and_its_last_one_is_told_in_the_end() -> None:
    log = ChangeLog()
    told = [key for tick in range(200) if log.is_news(key := ("stale", "fine")[tick % 2], 0.01 * tick)]
    assert len(told) <= 2.0 / PAUSE_S
    assert log.is_news("late", 10.0)
    assert not log.is_news("fine", 10.01)
    assert log.is_news("fine", 10.0 + PAUSE_S)
