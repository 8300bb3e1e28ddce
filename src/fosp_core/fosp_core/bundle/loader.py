"""A thread that loads bundles one at a time while the control path goes on.

Each session is built from the path of its file, because ONNX Runtime then leaves the interpreter to the other threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from fosp_core.bundle.bundle import Bundle
from fosp_core.errors import UserError
from fosp_core.processes import keep_below_control
from fosp_core.swap.sequence import Announcement


@dataclass(frozen=True)
class Loaded:
    """The result of loading an announced bundle: the bundle, or None and the reason in `refusal`."""

    announcement: Announcement
    bundle: Bundle | None
    refusal: str = ""


class BundleLoader:
    """Calls `load`, which returns the verified and self-tested bundle of an announcement, in a thread of its own."""

    def __init__(self, load: Callable[[Announcement], Bundle]) -> None:
        self._load = load
        self._changed = threading.Condition()
        self._wanted: Announcement | None = None
        self._done: list[Loaded] = []
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="bundle_loader", daemon=True)
        self._thread.start()

    def offer(self, announcement: Announcement) -> None:
        """Load this bundle next. It replaces an announcement that still waits for its turn, if it supersedes it."""
        with self._changed:
            if announcement.supersedes(self._wanted):
                self._wanted = announcement
                self._changed.notify()

    def take(self) -> list[Loaded]:
        """Return what has been loaded or refused since the last call, without waiting."""
        if not self._done:
            return []
        with self._changed:
            done, self._done = self._done, []
        return done

    def close(self) -> None:
        """Accept no more announcements, and discard the bundle that is being loaded."""
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
