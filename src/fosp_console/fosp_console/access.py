"""Who may see and who may act: the token, the origin of a page, and how often somebody may try. No ROS, no sockets.

A browser carries every site's requests to every server it can reach, this one included. So an order counts only with
the token in a header, which no other site can set, and from a page that this server itself has served; and the server
answers to no other name than its own, so that a foreign name that is made to point here (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field

from fosp_core.errors import UserError

LOOPBACK = "127.0.0.1"
LEAST_TOKEN = 16
"""Characters that a token has at least."""
_MOST_CALLERS = 256
"""Callers whose tries are remembered; the one not seen for longest is forgotten first."""


def new_token() -> str:
    """Return a random token of 192 bits, which can stand in an address."""
    return secrets.token_urlsafe(24)


@dataclass(frozen=True)
class Access:
    """The address and the token of the server; UserError for a token that is too short or cannot be sent."""

    host: str
    """Address on which the server listens."""
    port: int
    token: str

    def __post_init__(self) -> None:
        if len(self.token) < LEAST_TOKEN or not self.token.isascii() or not self.token.isprintable():
            raise UserError(f"the console's token must have at least {LEAST_TOKEN} printable ASCII characters")
        if " " in self.token or "#" in self.token:
            raise UserError("the console's token must have neither spaces nor '#'")

    @property
    def is_local(self) -> bool:
        """True when only programs of this computer can reach the server."""
        return is_loopback(self.host)

    def knows(self, token: object) -> bool:
        """Return whether `token` is the token, in a time that does not tell how much of it is right."""
        if not isinstance(token, str):
            return False
        given, right = (hashlib.sha256(text.encode(errors="replace")).digest() for text in (token, self.token))
        return secrets.compare_digest(given, right)

    def answers_to(self, host_header: str | None) -> bool:
        """Return whether the header Host names this server: by its address, or as localhost.

        A server on every address of the computer answers to any address, and to no name but localhost, because a name
        may be a stranger's.
        """
        name = _host_of(host_header)
        if name is None:
            return False
        if name == "localhost" or name == self.host.strip("[]").lower():
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        everywhere = self.host.strip("[]") in ("0.0.0.0", "::", "")
        return address.is_loopback if self.is_local else everywhere

    def comes_from_here(self, origin: str | None, host_header: str | None) -> bool:
        """Return whether the header Origin is that of a page of this server; a request without one is no page's."""
        if not origin or not self.answers_to(host_header):
            return False
        return origin.lower() in {f"{scheme}://{str(host_header).lower()}" for scheme in ("http", "https")}


def is_loopback(host: str) -> bool:
    """Return whether only programs of this computer can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def access(host: str, port: int, token: str) -> Access:
    """Return the access of a server on `host`; an empty token is drawn at random on loopback.

    UserError on any other address without a token: whoever reaches it could see the cameras.
    """
    if not token and not is_loopback(host):
        raise UserError(f"host '{host}' can be reached from other computers: give a token (--token) as well")
    return Access(host, port, token or new_token())


def _host_of(host_header: str | None) -> str | None:
    """Return the name in a header Host without its port, in lower case; None when it is malformed."""
    if not host_header or any(sign in host_header for sign in "/@ \t\\"):
        return None
    text = host_header.lower()
    if text.startswith("["):
        name, closed, rest = text[1:].partition("]")
        return name if closed and (not rest or rest[0] == ":") else None
    name, _, port = text.partition(":")
    return name if name and (not port or port.isdecimal()) else None


# -- how often ---------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Allowance:
    """So many at once, and so many per second in the long run."""

    burst: float
    per_s: float


@dataclass
class RateLimit:
    """Tries of each caller against one allowance: a bucket that fills with time. Times are of a monotonic clock, s."""

    allowance: Allowance
    _left: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def take(self, caller: str, now_s: float) -> bool:
        """Count one try of `caller`, and return whether it was within the allowance."""
        left, since_s = self._left.pop(caller, (self.allowance.burst, now_s))
        left = min(self.allowance.burst, left + max(0.0, now_s - since_s) * self.allowance.per_s)
        granted = left >= 1.0
        self._left[caller] = (left - 1.0 if granted else left), now_s
        while len(self._left) > _MOST_CALLERS:
            self._left.popitem(last=False)
        return granted
