"""The bag of the last seconds before a stop."""

from __future__ import annotations

import math
import os
import time
from itertools import pairwise
from pathlib import Path

import pytest
from rosbags.highlevel import AnyReader

from fosp_core.bag_types import typestore
from fosp_recording.black_box import PREFIX, EpisodeEnd, Heard, Memory, ThinnedMemory, is_history, make_room, write_box

S = 1_000_000_000
BOOL = {"/estop": "std_msgs/msg/Bool"}


def heard(at_s: float, size: int = 10, ahead_s: float = 0.0) -> Heard:
    """By the monotonic clock; the wall clock is `ahead_s`."""
    return Heard("/estop", round((at_s + ahead_s) * S), bytes(size), at_s)


def test_memory_keeps_the_last_seconds_in_order():
    memory = Memory(30.0, 10**9)
    for second in range(100):
        memory.add(heard(second))
    assert [message.receipt_ns // S for message in memory.messages()] == list(range(69, 100))


def test_memory_stays_below_its_limit_by_forgetting_the_oldest():
    memory = Memory(30.0, 1000)
    for tenth in range(100):
        memory.add(heard(tenth / 10, size=100))
    messages = memory.messages()
    assert sum(len(message.data) for message in messages) == 1000
    assert messages[-1].receipt_ns == round(9.9 * S)
    assert memory.seconds == pytest.approx(0.9), "it says how far back it goes"


def test_a_clock_that_is_set_does_not_make_memory_forget():
    memory = Memory(30.0, 10**9)
    memory.add(heard(0.0))
    memory.add(heard(1.0, ahead_s=3600.0))
    memory.add(heard(2.0, ahead_s=-3600.0))
    assert len(memory.messages()) == 3
    assert memory.seconds == 2.0


def image(at_s: float, topic: str = "/camera/image", size: int = 1000) -> Heard:
    return Heard(topic, round(at_s * S), bytes(size), at_s)


def test_images_become_fewer_with_their_age_and_those_of_the_last_seconds_are_all_there():
    memory = ThinnedMemory(30.0, 10**9)
    for fifth in range(5 * 60):
        memory.add(image(fifth / 5))
    times = [message.monotonic_s for message in memory.messages()]
    now_s = times[-1]
    assert times == sorted(times)
    assert len([t for t in times if t >= now_s - 4.0]) == 21
    older = [t for t in times if t < now_s - 4.0]
    assert now_s - 30.0 <= older[0] <= now_s - 28.0
    assert all(b - a == pytest.approx(2.0) for a, b in pairwise(older))


def test_the_images_of_each_camera_become_fewer_by_themselves():
    memory = ThinnedMemory(30.0, 10**9)
    for fifth in range(5 * 20):
        memory.add(image(fifth / 5, "/left"))
        memory.add(image(fifth / 5, "/right"))
    topics = [message.topic for message in memory.messages()]
    assert topics.count("/left") == topics.count("/right") > 21


def test_images_stay_below_their_limit_and_the_newest_go_last():
    memory = ThinnedMemory(30.0, 5000)
    for fifth in range(5 * 20):
        memory.add(image(fifth / 5))
        assert sum(len(message.data) for message in memory.messages()) <= 5000
    assert [message.monotonic_s for message in memory.messages()] == pytest.approx([19.0, 19.2, 19.4, 19.6, 19.8])


def test_one_image_above_the_limit_is_not_remembered():
    memory = ThinnedMemory(30.0, 500)
    memory.add(image(0.0))
    memory.add(image(1.0))
    assert memory.messages() == []


@pytest.mark.parametrize("start_s", [0.5, 1.79e9])
def test_an_event_from_before_the_start_is_history_and_a_later_one_is_not(start_s: float):
    assert is_history(start_s - 0.1, start_s + 2.0, 2.0)
    assert not is_history(start_s + 0.1, start_s + 2.0, 2.0)


def test_an_event_that_is_there_before_the_simulated_clock_is_history():
    assert is_history(17.0, 0.0, 1.0)


def test_nothing_is_history_once_late_joiners_have_been_served():
    assert not is_history(5.0, 100.0, 10.0)


def bool_message(value: bool) -> bytes:
    store = typestore()
    return bytes(store.serialize_cdr(store.types["std_msgs/msg/Bool"](data=value), "std_msgs/msg/Bool"))


def test_a_box_is_a_bag_that_other_tools_read(tmp_path: Path):
    folder = tmp_path / f"{PREFIX}1"
    messages = [Heard("/estop", i * S, bool_message(i == 2), i) for i in range(1, 4)]
    write_box(folder, messages, BOOL, {"cause": "pressed"})
    with AnyReader([folder], default_typestore=typestore()) as reader:
        values = [
            (stamp, reader.deserialize(data, connection.msgtype).data) for connection, stamp, data in reader.messages()
        ]
    assert values == [(1 * S, False), (2 * S, True), (3 * S, False)]
    assert "pressed" in (folder / "metadata.yaml").read_text()
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_a_box_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path):
    with pytest.raises(Exception, match="nothing"):
        write_box(tmp_path / f"{PREFIX}1", _failing(), BOOL, {})
    assert list(tmp_path.iterdir()) == []


def _failing():
    yield heard(1)
    raise OSError("nothing more")


def boxes(directory: Path, count: int, size: int) -> None:
    for i in range(count):
        (directory / f"{PREFIX}{i}").mkdir()
        (directory / f"{PREFIX}{i}" / "data.mcap").write_bytes(bytes(size))


def test_the_oldest_boxes_make_room_and_nothing_else_is_touched(tmp_path: Path):
    boxes(tmp_path, 5, 100)
    (tmp_path / "mine").mkdir()
    for number, age_s in ((8, 0.0), (9, 100.0)):
        partial = tmp_path / f".partial_{PREFIX}{number}"
        partial.mkdir()
        os.utime(partial, (time.time() - age_s,) * 2)
    removed = make_room(tmp_path, 250)
    assert [path.name for path in removed] == [f"{PREFIX}{i}" for i in range(3)]
    assert {path.name for path in tmp_path.iterdir()} == {f".partial_{PREFIX}8", f"{PREFIX}3", f"{PREFIX}4", "mine"}


def test_the_newest_box_stays_even_if_it_is_too_large(tmp_path: Path):
    boxes(tmp_path, 2, 1000)
    make_room(tmp_path, 10)
    assert [path.name for path in tmp_path.iterdir()] == [f"{PREFIX}1"]


# -- ends of episodes --------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("told", "is_clean"),
    [
        ([], False),
        ([(True, False, 0.0), (False, False, 0.0), (False, True, 0.0)], True),
        ([(True, False, 0.0), (False, False, 0.0)], False),  # it fell silent in mid-episode
        ([(True, False, 0.0), (False, False, 1.0), (False, True, 0.0)], False),
        ([(True, False, 0.0), (False, True, 1.0)], False),
        ([(True, False, 0.0), (False, True, math.nan)], False),
        ([(False, False, 0.0), (False, True, 0.0)], False),  # its beginning is not known
        ([(True, False, 0.0), (False, True, 1.0), (True, False, 0.0), (False, True, 0.0)], True),
        ([(True, False, 0.0), (False, True, 0.0), (True, False, 0.0)], True),  # the next one began at once
        ([(True, False, 0.0), (False, True, 0.0), (False, True, 0.0)], False),
    ],
)
def test_only_an_episode_without_a_violation_ends_cleanly(told: list[tuple[bool, bool, float]], is_clean: bool):
    end = EpisodeEnd()
    for feedback in told:
        end.hear(*feedback, now_s=100.0)
    assert end.was_clean_at(100.2) == is_clean


def test_a_stop_long_after_the_end_of_an_episode_is_not_that_end():
    end = EpisodeEnd()
    end.hear(True, False, 0.0, now_s=100.0)
    end.hear(False, True, 0.0, now_s=101.0)
    assert not end.was_clean_at(103.0)
