"""The order of arrival, cuts where stamps go back, and messages that are there twice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from fosp_core.errors import UserError
from fosp_learner.data.arrival import Parts, Stream, drop_doubles, in_parts

MS = 1_000_000


def stream(topic: str, stamps_ms: Sequence[float], logged_ms: Sequence[float], first_place: int = 0) -> Stream[object]:
    made = Stream[object](topic)
    for number, (stamp, logged) in enumerate(zip(stamps_ms, logged_ms, strict=True)):
        made.add(round(stamp * MS), round(logged * MS), first_place + number, number)
    return made


def together(**streams: tuple[Sequence[float], Sequence[float]]) -> list[Stream[object]]:
    """Streams in one file, in the order of their log times, those of one time in the order given."""
    entries = sorted(
        (logged, order, name, stamp)
        for order, (name, (stamps, times)) in enumerate(streams.items())
        for stamp, logged in zip(stamps, times, strict=True)
    )
    made = {name: Stream[object](name) for name in streams}
    for place, (logged, _, name, stamp) in enumerate(entries):
        made[name].add(round(stamp * MS), round(logged * MS), place, stamp)
    return list(made.values())


def stamps_of(parts: Parts) -> list[list[list[int]]]:
    return [[[stamp // MS for stamp in found.stamps] for found in part] for part in parts.parts]


STEADY = [25.0 * i for i in range(40)]


def test_stamps_that_go_forward_are_one_part() -> None:
    parts = in_parts(together(camera=(STEADY, [t + 30 for t in STEADY]), command=(STEADY, STEADY)))
    assert (len(parts.parts), parts.cuts) == (1, [])
    assert stamps_of(parts)[0][0] == [int(t) for t in STEADY]


def test_a_reset_of_the_simulator_cuts_every_stream_at_one_place() -> None:
    passes = STEADY + STEADY
    logged = [25.0 * i for i in range(80)]
    parts = in_parts(together(camera=(passes, [t + 3 for t in logged]), command=(passes, logged)))
    assert stamps_of(parts) == [[[int(t) for t in STEADY]] * 2] * 2
    (cut,) = parts.cuts
    assert str(cut) == "stamps of command go back by 0.975 s after 0.98 s"


def test_a_reset_is_found_though_the_log_times_are_reset_with_the_stamps() -> None:
    camera, command = Stream[object]("camera"), Stream[object]("command")
    for place, time in enumerate(STEADY + STEADY):
        command.add(round(time * MS), round(time * MS), 2 * place, place)
        camera.add(round(time * MS), round(time * MS), 2 * place + 1, place)
    parts = in_parts([camera, command])
    assert [[found.contents for found in part] for part in parts.parts] == [
        [list(range(40))] * 2,
        [list(range(40, 80))] * 2,
    ]


def test_a_clock_that_is_set_back_by_a_little_cuts_there() -> None:
    stamps = STEADY[:20] + [t - 60 for t in STEADY[20:]]
    parts = in_parts(together(camera=(stamps, [t + 3 for t in STEADY]), command=(STEADY, STEADY)))
    assert [len(part[0].stamps) for part in parts.parts] == [20, 20]
    assert "camera go back by 0.035 s" in str(parts.cuts[0])


def test_frames_from_the_future_do_not_meet_commands_that_were_sent_later() -> None:
    stamps = STEADY.copy()
    stamps[18:20] = [t + 400 for t in stamps[18:20]]
    parts = in_parts(together(command=(STEADY, STEADY), camera=(stamps, [t + 3 for t in STEADY])))
    (before, after) = stamps_of(parts)
    assert before[1][-2:] == [850, 875]
    assert max(before[0]) <= 500
    assert min(after[1]) == 500


def test_what_lies_between_two_cuts_that_belong_together_is_left_out() -> None:
    """Frames are on their way for 100 ms when the simulator is reset: they come after its first new commands."""
    passes, logged = STEADY + STEADY, [25.0 * i for i in range(80)]
    parts = in_parts(together(command=(passes, logged), camera=(passes, [t + 100 for t in logged])))
    assert parts.between == 1
    first, second = stamps_of(parts)
    assert (max(first[0]), max(first[1])) == (975, 875)
    assert (min(second[0]), min(second[1])) == (125, 0)


@pytest.mark.parametrize("order", [slice(None, None, -1), slice(None)])
def test_a_file_that_is_not_in_the_order_of_time_is_no_jump(order: slice) -> None:
    chunks = [STEADY[i : i + 8] for i in range(0, 40, 8)][order]
    written = [time for chunk in chunks for time in chunk]
    parts = in_parts([stream("camera", written, written), stream("command", written, written, 40)])
    assert (len(parts.parts), parts.cuts) == (1, [])
    assert stamps_of(parts)[0][0] == [int(t) for t in STEADY]


def test_a_clock_that_is_set_back_after_the_first_messages_were_logged_mixes_nothing() -> None:
    made = {name: Stream[object](name) for name in ("command", "camera")}
    logged = [t if number > 2 else 1000.0 for number, t in enumerate(STEADY)]
    for place, (stamp, time) in enumerate(zip(STEADY, logged, strict=True)):
        for offset, found in enumerate(made.values()):
            found.add(round(stamp * MS), round(time * MS), 2 * place + offset, stamp)
    parts = in_parts(list(made.values()))
    assert stamps_of(parts) == [[[int(t) for t in STEADY]] * 2]
    assert parts.cuts == []


def test_a_message_recorded_twice_counts_once_and_one_that_contradicts_is_refused() -> None:
    twice = stream("feedback", [t for t in STEADY for _ in range(2)], [t + i for t in STEADY for i in range(2)])
    kept = drop_doubles(twice, lambda a, b: True)
    assert (len(kept.stamps), kept.doubles, kept.recorded) == (40, 40, 80)
    with pytest.raises(UserError, match=r"two messages on feedback at 0\.000 s contradict each other"):
        drop_doubles(twice, lambda a, b: False, lambda a, b: True)


def test_a_second_pass_of_a_playback_is_no_double_of_the_first() -> None:
    looped = stream("camera", STEADY + STEADY, [25.0 * i for i in range(80)])
    assert drop_doubles(looped, lambda a, b: True).doubles == 0


def test_no_order_of_arrival_ever_gives_a_part_whose_stamps_go_back() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        made = {
            name: (rng.integers(0, 50, 12).astype(float) * 10, np.sort(rng.integers(0, 500, 12)).astype(float))
            for name in ("a", "b")
        }
        for part in in_parts(together(**made)).parts:
            assert all((np.diff(found.stamps_ns()) >= 0).all() for found in part)
