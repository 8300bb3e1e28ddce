"""A thread that does the work of a recorder in order, so that a slow disk holds up nothing but the recording.

The messages that wait are bounded by their size: a disk that is slower than the robot loses messages, and the memory of
the machine is left to the nodes that drive it.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

WAITING_BYTES = 256_000_000
"""Most that the messages that wait may take in memory: some ten seconds of a camera in VGA."""
_Job = tuple[Callable[[], Any], int, "Future[Any] | None"]


class BackgroundWriter:
    """Runs actions one after the other in a thread of its own, which ends with `close`, or with the process.

    An action handles its own errors, but for those of `ask`, which go to the caller.
    """

    def __init__(self, most_bytes: int = WAITING_BYTES) -> None:
        self._most_bytes = most_bytes
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting_bytes = self._unfinished = 0
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)
        self._thread.start()

    def put(self, action: Callable[[], object], size: int = 0) -> bool:
        """Have `action` done, which holds `size` bytes. Return False, and leave it out, when too many bytes wait."""
        with self._lock:
            if size and self._waiting_bytes + size > self._most_bytes:
                return False
            self._waiting_bytes += size
            self._unfinished += 1
        self._jobs.put((action, size, None))
        return True

    def ask(self, action: Callable[[], Any]) -> Future[Any]:
        """Have `action` done after all that waits, and return the future of its result or exception."""
        answer: Future[Any] = Future()
        with self._lock:
            self._unfinished += 1
        self._jobs.put((action, 0, answer))
        return answer

    @property
    def idle(self) -> bool:
        """True when everything that was asked for is done."""
        return self._unfinished == 0

    def wait(self, timeout_s: float) -> bool:
        """Wait until everything is done; return False when that takes longer."""
        until = time.monotonic() + timeout_s
        while not self.idle and time.monotonic() < until:
            time.sleep(0.005)
        return self.idle

    def close(self) -> None:
        """End the thread after all that waits; the caller does not wait for it."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            action, size, answer = job
            try:
                result = action()
                if answer is not None:
                    answer.set_result(result)
            except BaseException as error:
                if answer is None:
                    raise
                answer.set_exception(error)
            finally:
                with self._lock:
                    self._waiting_bytes -= size
                    self._unfinished -= 1
