"""The web server of `fosp bags view`: one bag, whose moments a page goes through. It serves this computer alone.

What a browser sends are numbers: of a camera, a frame, a moment. No name that it gives reaches the disk, and a clip is
made for this server's own page only.
"""

from __future__ import annotations

import asyncio
import json
import math
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from fosp_console.access import LOOPBACK, access
from fosp_console.frames import jpeg
from fosp_console.history.clip import ClipRange, write_clip
from fosp_console.history.timeline import BagHistory
from fosp_console.web_page import Page, comes_from_here, guard, refused
from fosp_core.errors import UserError

PORT = 8421
_READERS = 2
"""Reads of the bag that go on at a time."""
_MOST_WAITING = 32
_MOST_BYTES = 512
"""Length of a request for a clip."""
_CLIP_FIELDS = frozenset({"from", "to", "format"})
_CLIP_TYPES = {"mp4": "video/mp4", "gif": "image/gif"}


class HistoryServer:
    """Answers requests for one bag."""

    def __init__(self, history: BagHistory, port: int = PORT) -> None:
        self._history = history
        self._access = access(LOOPBACK, port, "")
        self._page = Page(("", "vendor", "history"), "history/index.html")
        self._timeline = json.dumps(history.document(), separators=(",", ":"), allow_nan=False).encode()
        self._readers = asyncio.Semaphore(_READERS)
        self._waiting = 0
        self._clipping = asyncio.Lock()
        self.port = port

    async def serve(self, told: Callable[[str], None], stop: asyncio.Event) -> None:
        """Listen until `stop` is set, and tell `told` the address; UserError when it cannot be had."""
        app = web.Application(client_max_size=_MOST_BYTES, middlewares=[guard(self._access)])
        app.router.add_get("/timeline.json", self._give_timeline)
        app.router.add_get("/frame", self._give_frame)
        app.router.add_get("/moment", self._give_moment)
        app.router.add_post("/clip", self._give_clip)
        app.router.add_get("/{name:.*}", self._page.answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, LOOPBACK, self.port, backlog=64)
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            reason = error.strerror or str(error)
            raise UserError(f"cannot listen on {LOOPBACK}, port {self.port}: {reason}; choose another --port") from None
        sockets: Any = getattr(site._server, "sockets", None)
        if sockets:
            self.port = sockets[0].getsockname()[1]
        told(f"http://{LOOPBACK}:{self.port}/")
        try:
            await stop.wait()
        finally:
            await runner.cleanup()

    # -- requests ------------------------------------------------------------------------------------
    async def _give_timeline(self, request: web.Request) -> web.StreamResponse:
        response = web.Response(body=self._timeline, content_type="application/json", charset="utf-8")
        response.enable_compression()
        return response

    async def _give_frame(self, request: web.Request) -> web.StreamResponse:
        try:
            camera, index = (_whole(request.query.get(name, "")) for name in ("camera", "index"))
            data = await self._read(lambda: jpeg(self._history.frame(camera, index)))
        except UserError as error:
            return refused(404, str(error))
        return web.Response(body=data, content_type="image/jpeg")

    async def _give_moment(self, request: web.Request) -> web.StreamResponse:
        try:
            moment_s = _moment(request.query.get("t", ""))
            verdict = await self._read(lambda: self._history.verdict(moment_s))
        except UserError as error:
            return refused(404, str(error))
        return web.json_response({"verdict": verdict})

    async def _give_clip(self, request: web.Request) -> web.StreamResponse:
        if not comes_from_here(self._access, request):
            return refused(403, "clips are made for this server's own page only")
        if request.content_type != "application/json":
            return refused(415, "a clip is asked for as application/json")
        if self._clipping.locked():
            return refused(429, "a clip is being made already: wait for it")
        async with self._clipping:
            try:
                kind, part = clip_request(self._history, await request.text())
                data = await self._read(lambda: self._clip(kind, part))
            except UserError as error:
                return refused(400, str(error))
            except ModuleNotFoundError as error:
                return refused(501, f"this format needs the package {error.name}: pip install {error.name}")
        return web.Response(body=data, content_type=_CLIP_TYPES[kind])

    def _clip(self, kind: str, part: ClipRange) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder, f"clip.{kind}")
            write_clip(self._history, part, out)
            return out.read_bytes()

    async def _read(self, work: Callable[[], Any]) -> Any:
        """Do what reads the bag in a thread; UserError when too much waits already."""
        if self._waiting >= _MOST_WAITING:
            raise UserError("too much is asked for at once: wait a little")
        self._waiting += 1
        try:
            async with self._readers:
                return await asyncio.to_thread(work)
        finally:
            self._waiting -= 1


def clip_request(history: BagHistory, text: str) -> tuple[str, ClipRange]:
    """Return format and range of the clip that a request asks for; UserError in one line for anything else."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise UserError("a clip is asked for as a JSON object") from None
    if not isinstance(content, dict) or set(content) != _CLIP_FIELDS:
        raise UserError(f"a clip is asked for with {', '.join(sorted(_CLIP_FIELDS))}")
    kind = content["format"]
    if kind not in _CLIP_TYPES:
        raise UserError(f"format must be one of {', '.join(_CLIP_TYPES)}")
    times = content["from"], content["to"]
    if any(isinstance(one, bool) or not isinstance(one, (int, float)) for one in times):
        raise UserError("from and to are numbers, s")
    return str(kind), ClipRange.checked(history, f".{kind}", float(times[0]), float(times[1]))


def _whole(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or len(text) > 9:
        raise UserError("camera and index are whole numbers")
    return int(text)


def _moment(text: str) -> float:
    try:
        moment_s = float(text[:40])
    except ValueError:
        moment_s = math.nan
    if not math.isfinite(moment_s):
        raise UserError("t is a moment, s")
    return moment_s


def view(history: BagHistory, port: int, told: Callable[[str], None]) -> None:
    """Serve a bag until Ctrl-C; UserError when the port cannot be had."""

    async def run() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        await HistoryServer(history, port).serve(told, stop)

    asyncio.run(run())
