"""The web server of the console: the page, one WebSocket per client, and orders. It runs in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from fosp_console.access import Access, Allowance, RateLimit
from fosp_console.graph_state import GraphState
from fosp_console.orders import ESTOP, MOST_BYTES, Order, parse_order
from fosp_console.outbox import Outbox
from fosp_console.web_page import HEADERS, Page, comes_from_here, guard, refused
from fosp_core.errors import UserError

PERIOD_S = 0.05
"""Period at which the page gets what has changed."""
MOST_CLIENTS = 32
"""Pages that may be connected; one more is refused."""
HELLO_S = 5.0
"""Time that a page may take to say who it is."""
SEND_BYTES = 65536
"""Bytes that may be under way to a client: an image in a long queue would be an old one."""
SLOW_S = 120.0
"""A client that takes nothing for this long is let go."""
TOKEN_HEADER = "X-Fosp-Token"

Answer = tuple[bool, str]
"""The answer of the graph to an order, which says whether it was carried out."""


@dataclass
class Client:
    """One page that is connected."""

    session: str
    may_act: bool
    outbox: Outbox = field(default_factory=Outbox)


class ConsoleServer:
    """Serves the page from `start` to `stop`. Its callbacks run in the server's thread and must not block.

    `obey` carries an order out; `heard` is told the session of a page that is alive, `left` that of a page that has
    gone; `count` gets the number of pages, whenever it changes.
    """

    def __init__(
        self,
        access: Access,
        state: GraphState,
        obey: Callable[[Order], Awaitable[Answer]],
        heard: Callable[[str], None] = lambda session: None,
        left: Callable[[str], None] = lambda session: None,
        count: Callable[[int], None] = lambda clients: None,
        most_clients: int = MOST_CLIENTS,
    ) -> None:
        self._access, self._state, self._obey = access, state, obey
        self._heard, self._left, self._count = heard, left, count
        self._most_clients = most_clients
        self._clients: dict[str, Client] = {}
        self._page = Page()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="console server", daemon=True)
        self._listening = threading.Event()
        self._error: OSError | None = None
        self._stopped: asyncio.Event | None = None
        self._wrong_tokens = RateLimit(Allowance(burst=8, per_s=0.2))
        self._orders = RateLimit(Allowance(burst=20, per_s=5))
        self.port = access.port

    # -- for other threads ---------------------------------------------------------------------------
    def start(self) -> None:
        """Listen; UserError when the address cannot be had."""
        self._thread.start()
        self._listening.wait()
        if self._error is not None:
            reason = self._error.strerror or str(self._error)
            where = f"{self._access.host}, port {self._access.port}"
            raise UserError(f"console: cannot listen on {where}: {reason}; choose another with --port")

    def stop(self) -> None:
        """Close every connection, and end the thread."""
        if self._stopped is not None:
            self._loop.call_soon_threadsafe(self._stopped.set)
        if self._thread.ident is not None:
            self._thread.join(5.0)

    def call(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Run `callback` in the server's thread soon."""
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(callback, *arguments)

    def flush_soon(self) -> None:
        """Send what has changed at once, and not with the next period."""
        self.call(self._flush)

    def put_frame(self, camera: int, data: bytes) -> None:
        """Give every client the newest frame of a camera."""
        self.call(self._put_frame, camera, data)

    @property
    def lost_frames(self) -> list[int]:
        """Frames that each connected page has lost, because it took an older one in the meantime."""
        return [client.outbox.lost_frames for client in list(self._clients.values())]

    # -- the server's thread -------------------------------------------------------------------------
    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._run())
        finally:
            self._listening.set()
            self._loop.close()

    async def _run(self) -> None:
        self._stopped = asyncio.Event()
        app = web.Application(client_max_size=MOST_BYTES, middlewares=[guard(self._access)])
        app.router.add_get("/ws", self._socket)
        app.router.add_post("/order", self._order)
        app.router.add_get("/{name:.*}", self._page.answer)
        runner = web.AppRunner(app, access_log=None, keepalive_timeout=75.0, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, self._access.host, self._access.port, backlog=64)
        try:
            await site.start()
        except OSError as error:
            self._error = error
            await runner.cleanup()
            return
        server = site._server
        if server is not None and getattr(server, "sockets", None):
            self.port = server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        self._listening.set()
        flushing = asyncio.create_task(self._flush_often())
        await self._stopped.wait()
        flushing.cancel()
        await runner.cleanup()

    async def _flush_often(self) -> None:
        while True:
            await asyncio.sleep(PERIOD_S)
            self._flush()

    def _flush(self) -> None:
        if not self._clients:
            return
        text = self._state.changes()
        if text:
            for client in self._clients.values():
                client.outbox.put_text(text)

    def _put_frame(self, camera: int, data: bytes) -> None:
        for client in self._clients.values():
            client.outbox.put_frame(camera, data)

    # -- requests ------------------------------------------------------------------------------------
    async def _order(self, request: web.Request) -> web.StreamResponse:
        """Carry an order out: only from a page of this server, and only with the token in its header."""
        caller, now_s = request.remote or "", time.monotonic()
        if not comes_from_here(self._access, request):
            return refused(403, "orders are taken from this console's own page only")
        if request.content_type != "application/json":
            return refused(415, "an order is application/json")
        if not self._access.knows(request.headers.get(TOKEN_HEADER)):
            if not self._wrong_tokens.take(caller, now_s):
                return refused(429, "too many wrong tokens: wait a little")
            return refused(401, "read-only: open the address with the token, which the console printed at its start")
        try:
            order = parse_order(await request.text())
            if order.name != ESTOP and not self._orders.take(caller, now_s):  # nothing delays an emergency stop
                return refused(429, "too many orders: wait a little")
            if order.session and not self._acts(order.session):
                raise UserError("this page is not connected any more: load it anew")
            done, said = await self._obey(order)
        except UserError as error:
            return refused(400, str(error))
        except UnicodeDecodeError:
            return refused(400, "an order is text in UTF-8")
        return web.json_response({"done": done, "said": said}, headers=HEADERS)

    def _acts(self, session: str) -> bool:
        return session in self._clients and self._clients[session].may_act

    # -- one client ----------------------------------------------------------------------------------
    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if not comes_from_here(self._access, request):
            return refused(403, "only this console's own page may connect")
        if len(self._clients) >= self._most_clients:
            return refused(503, f"{self._most_clients} pages are connected already")
        connection = web.WebSocketResponse(max_msg_size=1024, compress=False, timeout=1.0)
        try:
            await connection.prepare(request)
        except ConnectionError:  # the page has gone already
            return connection
        client = await self._greeted(connection, request.remote or "")
        if client is None or len(self._clients) >= self._most_clients:
            await connection.close(code=WSCloseCode.POLICY_VIOLATION, message=b"the token is wrong, or missing")
            return connection
        _keep_queue_short(request)
        self._clients[client.session] = client
        self._count(len(self._clients))
        writing = asyncio.create_task(self._write(connection, client))
        try:
            async for message in connection:
                if message.type is not WSMsgType.TEXT:
                    break
                if message.data == "alive" and client.may_act:
                    self._heard(client.session)
        finally:
            writing.cancel()
            self._clients.pop(client.session, None)
            self._left(client.session)
            self._count(len(self._clients))
        return connection

    async def _greeted(self, connection: web.WebSocketResponse, caller: str) -> Client | None:
        """Return the client, once it has said which token it has; None when it may not even look."""
        try:
            hello = json.loads(await connection.receive_str(timeout=HELLO_S))
            token = hello.get("token")
        except (TypeError, ValueError, AttributeError, TimeoutError, RecursionError):
            return None
        may_act = self._access.knows(token)
        if not may_act and token and not self._wrong_tokens.take(caller, time.monotonic()):
            return None
        if not may_act and not self._access.is_local:  # the cameras are not for everyone in the network
            return None
        client = Client(secrets.token_urlsafe(12), may_act)
        client.outbox.behind = True
        client.outbox.put_text("")
        wrong = bool(token) and not may_act
        hello = {"kind": "hello", "session": client.session, "may_act": may_act, "token_wrong": wrong}
        await connection.send_str(json.dumps(hello))
        return client

    async def _write(self, connection: web.WebSocketResponse, client: Client) -> None:
        """Send what waits, texts first. A client that takes nothing for SLOW_S is let go."""
        outbox = client.outbox
        try:
            while not connection.closed:
                await outbox.wait()
                texts, frames = outbox.take()
                async with asyncio.timeout(SLOW_S):
                    if outbox.behind:
                        outbox.caught_up()
                        texts = [self._state.everything()]
                    for text in texts:
                        await connection.send_str(text)
                    for frame in frames:
                        await connection.send_bytes(frame)
        except (ConnectionError, RuntimeError, TimeoutError):
            await connection.close(code=WSCloseCode.GOING_AWAY)


def _keep_queue_short(request: web.Request) -> None:
    """Let the kernel hold little for a client, so that what it gets is new."""
    if request.transport is not None:
        with contextlib.suppress(OSError, AttributeError):
            request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
