"""Pages that read a console which nobody feeds but the test: a slow one loses frames, and the others lose nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest

from fosp_cli.bench.console_load import Readers, read_page, read_slowly
from fosp_console.access import LOOPBACK, Access
from fosp_console.frames import frame_message
from fosp_console.graph_state import GraphState
from fosp_console.orders import Order
from fosp_console.server import Answer, ConsoleServer

FRAMES, RATE_HZ = 60, 30.0
LEAST = 0.8
"""Share of the frames that a page has to get on a busy machine."""


@pytest.fixture
def server() -> Iterator[ConsoleServer]:
    async def obey(order: Order) -> Answer:
        return False, ""

    running = ConsoleServer(Access(LOOPBACK, 0, "a-token-for-tests-alone"), GraphState(), obey)
    running.start()
    yield running
    running.stop()


def test_a_page_that_reads_a_byte_per_second_holds_nobody_up(server: ConsoleServer) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    got = Readers([0] * 4)

    async def read() -> list[int]:
        clock = asyncio.get_running_loop().time
        address, until = f"{LOOPBACK}:{server.port}", clock() + 20.0
        pages = [asyncio.create_task(read_page(address, got, number)) for number in range(4)]
        slow = asyncio.create_task(read_slowly(address, got))
        while len(server.lost_frames) < 5 and clock() < until:
            await asyncio.sleep(0.01)
        for number in range(FRAMES):
            server.put_frame(0, frame_message(0, float(number), picture))
            await asyncio.sleep(1.0 / RATE_HZ)
        while min(got.frames) < LEAST * FRAMES and clock() < until:
            await asyncio.sleep(0.01)
        lost = server.lost_frames
        for page in (*pages, slow):
            page.cancel()
        await asyncio.gather(*pages, slow, return_exceptions=True)
        return lost

    lost = asyncio.run(read())
    assert min(got.frames) >= LEAST * FRAMES
    assert got.slow_bytes <= 25
    assert max(lost) > 0.5 * FRAMES, "the slow page"
    assert sorted(lost)[-2] <= (1.0 - LEAST) * FRAMES, "every other page"
