"""The messages that wait for one client: a bounded queue of texts, and the newest frame of each camera.

A slow client loses frames, and nothing else waits for it: texts that it cannot take in time are thrown away together,
and a new account of everything takes their place.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

MOST_TEXTS = 64
"""Texts that may wait: three seconds of them."""


@dataclass
class Outbox:
    """Texts in order and newest-only frames for one client."""

    most_texts: int = MOST_TEXTS
    lost_frames: int = 0
    """Frames that a newer one of the same camera has replaced."""
    behind: bool = False
    """Texts were thrown away: the client needs an account of everything before the next one."""
    _texts: deque[str] = field(default_factory=deque)
    _frames: dict[int, bytes] = field(default_factory=dict)
    _filled: asyncio.Event = field(default_factory=asyncio.Event)

    def put_text(self, text: str) -> None:
        """Append a text; when too many wait, they are all thrown away, and `behind` says so."""
        if self.behind:
            self._filled.set()
            return
        if len(self._texts) >= self.most_texts:
            self._texts.clear()
            self.behind = True
        else:
            self._texts.append(text)
        self._filled.set()

    def put_frame(self, camera: int, data: bytes) -> None:
        """Put the newest frame of a camera in place of one that waits."""
        self.lost_frames += int(camera in self._frames)
        self._frames[camera] = data
        self._filled.set()

    def caught_up(self) -> None:
        """Say that the client is given an account of everything now."""
        self.behind = False

    def take(self) -> tuple[list[str], list[bytes]]:
        """Return the texts and the frames that wait, and keep none."""
        texts, frames = list(self._texts), list(self._frames.values())
        self._texts.clear()
        self._frames.clear()
        self._filled.clear()
        return texts, frames

    async def wait(self) -> None:
        """Wait until something waits to be sent."""
        await self._filled.wait()
