"""Bundles loaded in a background thread, one at a time, so that the control path goes on meanwhile.

A session is made from its file, by path: then ONNX Runtime leaves the interpreter to the other threads (measured for
every size, docs/benchmarks.md).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from fosp_core.bundle.bundle import Bundle
from fosp_core.errors import UserError
from fosp_core.realtime import LOADING_PRIORITY
from fosp_core.swap.sequence import Announcement


@dataclass(frozen=True)
class Loaded:
    """What became of an announcement: a bundle, or why there is none."""

    announcement: Announcement
    bundle: Bundle | None
    refusal: str = ""


class BundleLoader:
    """`load` gives the verified and self-tested bundle of an announcement or raises; it runs in the loader's thread."""

    def __init__(self, load: Callable[[Announcement], Bundle]) -> None:
        self._load = load
        self._changed = threading.Condition()
        self._wanted: Announcement | None = None
        self._done: list[Loaded] = []
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="bundle_loader", daemon=True)
        self._thread.start()

    def offer(self, announcement: Announcement) -> None:
        """Load this one next; one that is still waiting for its turn gives way when this one supersedes it."""
        with self._changed:
            if announcement.supersedes(self._wanted):
                self._wanted = announcement
                self._changed.notify()

    def take(self) -> list[Loaded]:
        """What has been loaded or refused since the last call; never waits."""
        if not self._done:
            return []
        with self._changed:
            done, self._done = self._done, []
        return done

    def close(self) -> None:
        """Take no more; what is being loaded now is thrown away."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    def _serve(self) -> None:
        keep_below_control()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._wanted is not None)
                if self._closing:
                    return
                announcement, self._wanted = self._wanted, None
            assert announcement is not None
            result = self._result(announcement)
            with self._changed:
                self._done.append(result)

    def _result(self, announcement: Announcement) -> Loaded:
        try:
            bundle = self._load(announcement)
            if bundle.manifest.id != announcement.model_id:
                raise UserError(
                    f"{announcement.path}: holds {bundle.manifest.id[:12]}, announced was {announcement.model_id[:12]}"
                )
            return Loaded(announcement, bundle)
        except UserError as error:
            return Loaded(announcement, None, str(error))
        except Exception as error:  # whatever a file on disk can do must not end the thread
            detail = " ".join(str(error).split())[:160]
            return Loaded(
                announcement, None, f"{announcement.path}: cannot be loaded ({type(error).__name__}: {detail})"
            )


def keep_below_control() -> None:
    """Schedule the calling thread below every control thread, but above all that is not real-time.

    Not as any other thread: it holds the interpreter now and then, and were the trainer to have its core at such a
    moment, the command stream would wait for the trainer (measured: 4 ms). Where the process has no real-time priority
    nothing changes.
    """
    with suppress(PermissionError, AttributeError):
        if os.sched_getscheduler(0) == os.SCHED_FIFO:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(LOADING_PRIORITY))
