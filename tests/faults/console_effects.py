"""The effects of the faults of the console: a real one engages the robot for its page, and then one of them is lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from typing import Any, Literal

import aiohttp
from effects import Begun, Effect
from graph_under_fault import GraphUnderFault, wait
from relay import wall_s

from fosp_console.server import TOKEN_HEADER

TOKEN = "a-token-for-faults-alone"
_ALIVE_S = 0.2
_START_S = 30.0

Lost = Literal["killed", "hung", "page closed", "page silent"]


class EngagedConsole:
    """A console in a process of its own, and a page at which somebody has engaged the robot."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "fosp_console.console_node", "--ros-args", "-p", "port:=0"]
        variables = {**os.environ, "FOSP_CONSOLE_TOKEN": TOKEN}
        self.process = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        found = re.search(r"http://\S+?/", self.process.stdout.readline())
        assert found, "the console names no address"
        self._address = found[0].rstrip("/")
        self.answer: dict[str, Any] | None = None
        self._alive, self._open = True, True
        threading.Thread(target=self._look_on, daemon=True).start()
        wait(lambda: self.answer is not None, _START_S, "an answer of the console")
        assert self.answer is not None
        assert self.answer["done"], self.answer

    def lose(self, how: Lost) -> None:
        """Lose the console, or its page."""
        if how in ("killed", "hung"):
            self.process.send_signal(signal.SIGKILL if how == "killed" else signal.SIGSTOP)
        elif how == "page closed":
            self._open = False
        else:
            self._alive = False

    def end(self) -> None:
        """End the process, whatever its state."""
        self._open = False
        self.process.kill()
        self.process.wait()

    def _look_on(self) -> None:
        with contextlib.suppress(aiohttp.ClientError, ConnectionError):  # the console is killed meanwhile
            asyncio.run(self._page())

    async def _page(self) -> None:
        origin = {"Origin": self._address}
        async with (
            aiohttp.ClientSession(headers=origin) as session,
            session.ws_connect(f"{self._address}/ws", max_msg_size=0) as socket,
        ):
            await socket.send_str(json.dumps({"token": TOKEN}))
            hello = json.loads((await socket.receive()).data)
            asking = asyncio.create_task(self._engage(session, hello["session"]))
            reading = asyncio.create_task(_read(socket))
            while self._open:
                if self._alive:
                    await socket.send_str("alive")
                await asyncio.sleep(_ALIVE_S)
            asking.cancel()
            reading.cancel()

    async def _engage(self, session: aiohttp.ClientSession, name: str) -> None:
        """Ask until the monitor is found: the console has just begun to look for it."""
        order = {"order": "engage", "session": name}
        for _ in range(20):
            async with session.post(f"{self._address}/order", json=order, headers={TOKEN_HEADER: TOKEN}) as answer:
                said = await answer.json()
            if said["done"]:
                break
            await asyncio.sleep(0.3)
        self.answer = said


async def _read(socket: Any) -> None:
    async for _ in socket:
        pass


def console_lost(how: Lost) -> Effect:
    """Let a console engage the robot, and lose it, or its page."""

    def begin(graph: GraphUnderFault) -> Begun:
        console = EngagedConsole()
        since_s = wall_s()
        console.lose(how)
        return Begun(since_s, console.end)

    return begin
