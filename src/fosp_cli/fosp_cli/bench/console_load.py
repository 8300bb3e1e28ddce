"""The graph beside many pages of its console: image to command with and without them.

The pages are readers in a process of its own, at idle priority, since in earnest they are on other computers. One more
reads a byte per second.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import re
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from fosp_bringup.paths import scenario_path
from fosp_cli.evaluation.live_graph import LiveGraph, RunFailed
from fosp_cli.evaluation.metrics import percentiles_ms
from fosp_core.processes import end_with_parent

PAGES = 20
_ANSWER_S = 30.0
_NICENESS = 19
_KEY = "dGhlIHNhbXBsZSBub25jZQ=="
"""Any 16 bytes in base64, as a handshake of a WebSocket has."""


@dataclass
class Readers:
    """The frames and bytes that the readers have got so far."""

    frames: list[int] = field(default_factory=list)
    """Frames of each page."""
    slow_bytes: int = 0
    """Bytes of the one that reads a byte per second."""
    lost: int = 0
    """Pages whose connection has ended."""


def console_load(bundle: Path, out: Path, seconds: float) -> dict[str, Any]:
    """Measure image to command for `seconds` without a console, and for as long beside PAGES pages and a slow one.

    Raise RunFailed as LiveGraph, and when the console does not come up or lets a page go.
    """
    out.mkdir(parents=True, exist_ok=True)
    scenario = scenario_path("safe_reach")
    with LiveGraph(bundle, scenario, log=out / "without_console.log") as live:
        _drive(live, seconds)
        without = percentiles_ms(live.latencies_s)
    log, parameters = out / "console.log", out / "console.yaml"
    parameters.write_text("console_node: {ros__parameters: {port: 0}}\n")
    with LiveGraph(bundle, scenario, log=log, console=True, params_file=parameters) as live:
        with _reading(_address(log)) as readers:
            before, begin_s = readers(), time.monotonic()
            _drive(live, seconds)
            after, passed_s = readers(), time.monotonic() - begin_s
        beside = percentiles_ms(live.latencies_s)
    if after.lost:
        raise RunFailed(f"the console let {after.lost} of {PAGES} pages go; {log} may say why")
    rates = [(new - old) / passed_s for new, old in zip(after.frames, before.frames, strict=True)]
    return {
        "console_pages": PAGES,
        "image_to_command_without_console_ms": without,
        "image_to_command_with_console_ms": beside,
        "console_p99_ratio": round(beside["p99"] / without["p99"], 2),
        "console_frames_per_s": {"least": round(min(rates), 1), "most": round(max(rates), 1)},
        "console_slow_page_bytes": after.slow_bytes,
    }


def _drive(live: LiveGraph, seconds: float) -> None:
    episode, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        live.run_episode(episode)
        episode += 1


def _address(log: Path) -> str:
    until = time.monotonic() + _ANSWER_S
    while time.monotonic() < until:
        found = re.search(r"127\.0\.0\.1:\d+", log.read_text())
        if found:
            return found.group()
        time.sleep(0.05)
    raise RunFailed(f"the console did not come up within {_ANSWER_S:g} s; {log} may say why")


@contextmanager
def _reading(address: str) -> Iterator[Any]:
    """Let the readers read, and give a function that returns what they have got so far."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_read_pages, args=(address, theirs), daemon=True)
    process.start()

    def ask() -> Readers:
        ours.send(None)
        if not ours.poll(_ANSWER_S):
            raise RunFailed("the readers of the console's page do not answer")
        readers: Readers = ours.recv()
        return readers

    try:
        until = time.monotonic() + _ANSWER_S
        while min((got := ask()).frames, default=0) == 0:
            if time.monotonic() > until:
                raise RunFailed(f"{got.frames.count(0)} of {PAGES} pages of the console got no frame")
            time.sleep(0.2)
        yield ask
    finally:
        process.kill()
        process.join()


def _read_pages(address: str, parent: Connection) -> None:
    end_with_parent()
    _give_way()
    got = Readers([0] * PAGES)

    def answer() -> None:
        parent.recv()
        parent.send(got)

    async def run() -> None:
        reading = [asyncio.create_task(read_page(address, got, number)) for number in range(PAGES)]
        reading.append(asyncio.create_task(read_slowly(address, got)))
        asyncio.get_running_loop().add_reader(parent.fileno(), answer)
        await asyncio.gather(*reading)

    asyncio.run(run())


def _give_way() -> None:
    """Let everything else go first. Niceness alone counts within a session, and Linux weighs sessions alike."""
    os.nice(_NICENESS)
    with contextlib.suppress(OSError):
        os.setsid()
        Path("/proc/self/autogroup").write_text(str(_NICENESS))


async def read_page(address: str, got: Readers, number: int) -> None:
    """Read as a page does, and count the frames."""
    import aiohttp

    try:
        async with (
            aiohttp.ClientSession(headers={"Origin": f"http://{address}"}) as session,
            session.ws_connect(f"http://{address}/ws", max_msg_size=0) as connection,
        ):
            await connection.send_str(json.dumps({"token": ""}))
            async for message in connection:
                got.frames[number] += int(message.type is aiohttp.WSMsgType.BINARY)
    except aiohttp.ClientError:
        pass
    got.lost += 1


async def read_slowly(address: str, got: Readers) -> None:
    """Read a byte per second, through the smallest buffer that the system gives."""
    host, port = address.split(":")
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    plain.setblocking(False)
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        await asyncio.get_running_loop().sock_connect(plain, (host, int(port)))
        reader, writer = await asyncio.open_connection(sock=plain, limit=2048)
        lines = (
            *("GET /ws HTTP/1.1", f"Host: {address}", f"Origin: http://{address}", "Upgrade: websocket"),
            *("Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {_KEY}", "", ""),
        )
        writer.write("\r\n".join(lines).encode())
        await reader.readuntil(b"\r\n\r\n")
        hello = json.dumps({"token": ""}).encode()
        writer.write(struct.pack("!BBI", 0x81, 0x80 | len(hello), 0) + hello)  # a text, masked with zeros
        await writer.drain()
        while await reader.read(1):
            got.slow_bytes += 1
            await asyncio.sleep(1.0)
