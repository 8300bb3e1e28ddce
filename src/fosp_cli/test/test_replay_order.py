"""The order in which `fosp replay` publishes a bag."""

from __future__ import annotations

from pathlib import Path

import pytest

from fosp_cli.replay import Stored, in_order
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
