"""The part that all pages of this package share: their files, the headers that browsers obey, and whom they answer to.

The page's files are read once, at the start, into a table: no name that a browser gives reaches the disk.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any

from aiohttp import web

from fosp_console.access import Access

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Page:
    """The files of a page by the name in their address; `index` is the one that the bare address gives."""

    def __init__(self, folders: tuple[str, ...] = ("", "vendor"), index: str = "index.html") -> None:
        self.files: dict[str, tuple[bytes, str]] = {}
        """Content and type, by name."""
        root: Any = files("fosp_console") / "page"
        for name in folders:
            prefix = f"{name}/" if name else ""
            for entry in (root / name if name else root).iterdir():
                kind = _TYPES.get(entry.name[entry.name.rfind(".") :])
                if kind and entry.is_file():
                    self.files[prefix + entry.name] = entry.read_bytes(), kind
        self.files[""] = self.files["index.html"] = self.files[index]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a request with the file that it names, or say that there is none."""
        found = self.files.get(request.match_info["name"])
        if found is None:
            return refused(404, "there is no such page")
        content, kind = found
        return web.Response(body=content, content_type=kind, charset="utf-8")


def guard(access: Access) -> Any:
    """Return the middleware that answers to the server's own names only, and gives every answer its headers."""

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not access.answers_to(request.headers.get("Host")):
            return refused(421, "this console does not answer to that name")
        try:
            response = await handler(request)
        except web.HTTPException as error:
            return refused(error.status, error.reason)
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    return guarded


def comes_from_here(access: Access, request: web.Request) -> bool:
    """Return whether a request is one of a page that this server has served."""
    return access.comes_from_here(request.headers.get("Origin"), request.headers.get("Host"))


def refused(status: int, why: str) -> web.Response:
    """Return the answer to what is not done, with the reason in words."""
    return web.json_response({"done": False, "said": why}, status=status, headers=HEADERS)
