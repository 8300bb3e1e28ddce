"""How late a stream is, from its stamps alone, and whether the monitor's own count agrees."""

from fosp_cli.bench.stream import Lateness, StreamReport, figures

PERIOD_S = 0.01


def seen(*late_ms: float, period_s: float = PERIOD_S) -> Lateness:
    """A stream whose command n was stamped `late_ms[n]` after its deadline."""
    lateness = Lateness(PERIOD_S)
    for number, late in enumerate(late_ms):
        lateness.see(number + 1, 100.0 + number * period_s + late * 1e-3)
    return lateness


def test_a_regular_stream_is_never_late():
    assert seen(*[0.2, 0.0, 0.4] * 100).late == 0


def test_a_command_later_than_half_a_period_is_late_and_the_next_in_time_is_not():
    stream = seen(0, 0, 6.0, 0, 0)
    assert stream.late == 1
    assert [round(late, 3) for late in stream.lateness_s] == [0, 0.006, 0, 0]


def test_what_a_stamp_is_uncertain_by_is_not_held_against_the_stream():
    assert seen(0, 0, 5.4, 0).late == 0
    assert seen(0, 0, 5.6, 0).late == 1


def test_periods_without_a_command_count_as_one_each():
    lateness = Lateness(PERIOD_S)
    for number, stamp_s in enumerate((0.0, 0.01, 0.042, 0.05)):
        lateness.see(number + 1, stamp_s)
    assert lateness.late == 2


def test_commands_between_the_ticks_of_the_stream_are_not_late_and_make_none_late():
    lateness = Lateness(PERIOD_S)
    stamps_s = [tick * PERIOD_S for tick in range(100)]
    for number, stamp_s in enumerate(sorted([*stamps_s, *(stamp_s + 0.0031 for stamp_s in stamps_s[::5])])):
        lateness.see(number + 1, stamp_s)
    assert lateness.late == 0
    assert max(lateness.lateness_s) < 1e-9


def test_a_command_that_was_lost_on_the_way_is_no_late_one():
    lateness = Lateness(PERIOD_S)
    for number in (1, 2, 5, 6):
        lateness.see(number, number * PERIOD_S)
    assert (lateness.late, lateness.lost) == (0, 2)


def test_late_ticks_between_two_reports_are_compared_command_by_command():
    stream = seen(0, 6.0, 0, 6.0, 0, 6.0, 0)
    told = figures(stream, StreamReport(commands=3, late_ticks=5), StreamReport(commands=6, late_ticks=7))
    assert (told["late_observed"], told["late_reported"], told["late_unreported"]) == (2, 2, 0)
    untold = figures(stream, StreamReport(commands=3, late_ticks=5), StreamReport(commands=6, late_ticks=6))
    assert untold["late_unreported"] == 1
