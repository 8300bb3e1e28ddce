"""A fast stream is read now and then, and never is an old message taken for the newest."""

from __future__ import annotations

import pytest

from fosp_safety_monitor.command.newest import LEAST_GAP_S, NewestMessage


class Stream:
    """A stream that is read, and its clock."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.read: list[tuple[bytes, float]] = []
        self.newest = NewestMessage(lambda data, receipt_s: self.read.append((data, receipt_s)), lambda: self.now_s)

    def come(self, data: bytes, after_s: float) -> None:
        self.now_s += after_s
        self.newest.receive(data)


@pytest.fixture
def stream() -> Stream:
    stream = Stream()
    stream.come(b"first", 1.0)
    return stream


def test_each_message_of_a_slow_stream_is_read_when_it_comes(stream):
    for number in range(5):
        stream.come(bytes([number]), 0.005)
        assert stream.read[-1] == (bytes([number]), stream.now_s)


def test_a_message_that_comes_soon_after_another_is_read_before_the_next_command(stream):
    stream.come(b"second", 0.001)
    assert stream.read == [(b"first", 101.0)]
    stream.now_s += 0.002
    stream.newest.settle()
    assert stream.read[1:] == [(b"second", pytest.approx(101.001))], "with the time of its receipt"
    stream.newest.settle()
    assert len(stream.read) == 2


def test_of_the_messages_of_a_burst_the_newest_is_read(stream):
    for number in range(5):
        stream.come(bytes([number]), 0.0)
    stream.newest.settle()
    assert [data for data, _ in stream.read] == [b"first", b"\x04"]


def test_an_old_message_is_not_read_after_a_newer_one(stream):
    stream.come(b"waits", 0.001)
    stream.come(b"newer", LEAST_GAP_S)
    stream.newest.settle()
    assert [data for data, _ in stream.read] == [b"first", b"newer"]


def test_a_kilohertz_is_read_at_most_once_in_the_gap_and_once_with_each_command(stream):
    for tick in range(1000):
        stream.come(tick.to_bytes(2, "big"), 0.001)
        if tick % 10 == 9:
            stream.newest.settle()
            assert stream.read[-1][0] == tick.to_bytes(2, "big")
    assert len(stream.read) <= 1 + 1.0 / LEAST_GAP_S + 100


def test_a_message_that_cannot_be_read_leaves_the_stream_alive(stream):
    def refuse(data: bytes, receipt_s: float) -> None:
        raise ValueError("malformed")

    newest = NewestMessage(refuse, lambda: stream.now_s)
    for _ in range(2):
        with pytest.raises(ValueError, match="malformed"):
            newest.receive(b"")
        newest.receive(b"")
        with pytest.raises(ValueError, match="malformed"):
            newest.settle()
        newest.settle()
        stream.now_s += 1.0


def test_what_waited_when_the_robot_was_stopped_is_not_read_at_the_next_start(stream):
    stream.come(b"waits", 0.001)
    stream.newest.forget()
    stream.newest.settle()
    assert [data for data, _ in stream.read] == [b"first"]
