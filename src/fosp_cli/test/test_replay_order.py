"""The order in which `fosp replay` publishes a bag."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from fosp_cli.replay import Stored, in_order, stamp_of
from fosp_core.errors import UserError

BAG = Path("episode")
STEP_NS = 25_000_000


def stored(topic: str, times: list[int]) -> list[Stored]:
    return [Stored(topic, "std_msgs/msg/String", b"", time * STEP_NS) for time in times]


def test_messages_are_played_by_their_log_times_whatever_the_order_of_the_file() -> None:
    found = in_order(BAG, [*stored("/a", [4, 5, 6, 1, 2, 3]), *stored("/b", [1, 3, 5])])
    assert [message.logged_ns // STEP_NS for message in found] == [1, 1, 2, 3, 3, 4, 5, 5, 6]


def test_a_bag_whose_clock_was_set_back_is_not_played_with_its_passes_mixed() -> None:
    with pytest.raises(UserError, match=r"episode: its log times go back.*one by one"):
        in_order(BAG, stored("/a", [*range(40), *range(40)]))
    with pytest.raises(UserError, match="nothing to play"):
        in_order(BAG, [])


def test_messages_that_were_logged_before_the_clock_was_set_back_are_played_first() -> None:
    kind = "geometry_msgs/msg/PointStamped"

    def at(stamp: int, time: int) -> Stored:
        return Stored("/a", kind, b"\0\1\0\0" + struct.pack("<iI", 0, stamp * STEP_NS) + bytes(32), time * STEP_NS)

    played = in_order(BAG, [at(0, 50), at(1, 50), *(at(step, step) for step in range(2, 20))])
    assert [stamp_of(message) // STEP_NS for message in played] == list(range(20))
    assert [message.logged_ns // STEP_NS for message in played] == [2, 2, *range(2, 20)]
