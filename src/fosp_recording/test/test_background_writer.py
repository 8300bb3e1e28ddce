"""The thread between a recorder and its disk."""

from __future__ import annotations

import threading
import time

import pytest

from fosp_core.errors import UserError
from fosp_recording.background_writer import BackgroundWriter


def test_who_gives_work_never_waits_for_it_and_it_is_done_in_order() -> None:
    writer, disk, done = BackgroundWriter(), threading.Event(), []
    begin = time.monotonic()
    writer.put(lambda: disk.wait(10.0))
    for number in range(3):
        writer.put(lambda number=number: done.append(number))
    answer = writer.ask(lambda: list(done))
    assert time.monotonic() - begin < 1.0, "the disk hangs, and nobody waits"
    assert (done, writer.idle, writer.wait(0.01)) == ([], False, False)
    disk.set()
    assert answer.result(10.0) == [0, 1, 2]
    assert writer.wait(10.0)
    writer.close()


def test_messages_beyond_the_memory_are_refused_and_what_takes_none_is_not() -> None:
    writer, disk = BackgroundWriter(most_bytes=100), threading.Event()
    writer.put(lambda: disk.wait(10.0))
    assert [writer.put(bool, 40) for _ in range(3)] == [True, True, False]
    assert writer.put(bool)
    disk.set()
    assert writer.wait(10.0)
    assert writer.put(bool, 100)


def test_an_error_goes_to_who_asked_and_the_work_goes_on() -> None:
    writer = BackgroundWriter()

    def refuse() -> None:
        raise UserError("the disk refuses")

    with pytest.raises(UserError, match="refuses"):
        writer.ask(refuse).result(10.0)
    assert writer.ask(lambda: 7).result(10.0) == 7
