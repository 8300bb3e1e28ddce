"""Re-runs the golden vectors on the sessions that decide, every few seconds: a test of memory and provider.

The thread has the lowest priority of the process, and runs one network at a time beside the control path, which never
waits for it: ONNX Runtime leaves the interpreter to the other threads, and a session may be run by several.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fosp_core.bundle.bundle import GOLDEN_TOLERANCE, Bundle, SelfTestVectors
from fosp_core.bundle.onnx_session import OnnxModel, largest_difference
from fosp_core.processes import keep_below_control

PERIOD_S = 2.0
"""Time from the end of one network's test to the next one's."""
LIMIT_S = 15.0
"""A test that does not come to its end for this time counts as failed."""


@dataclass(frozen=True)
class LiveSession:
    """A running session, and what it has to give."""

    name: str
    model: OnnxModel
    vectors: SelfTestVectors


def sessions_to_test(bundle: Bundle, networks: Sequence[str]) -> tuple[LiveSession, ...]:
    """Return the sessions of a loaded bundle with their golden vectors."""
    name = bundle.manifest.id[:12]
    return tuple(LiveSession(f"{net} of {name}", getattr(bundle, net), bundle.golden[net]) for net in networks)


class SelfTest:
    """Tests the sessions that `sessions` gives at the time, one after the other, in a thread of its own.

    `fault` is polled. A session that gave other outputs once stays at fault until the model is loaded anew: a memory
    that was wrong once is not believed again. A test that is only late is forgiven when it has come to its end.
    """

    def __init__(
        self,
        sessions: Callable[[], Sequence[LiveSession]],
        period_s: float = PERIOD_S,
        limit_s: float = LIMIT_S,
    ) -> None:
        self._sessions, self._period_s, self._limit_s = sessions, period_s, limit_s
        self._closing = threading.Event()
        self._failure = ""
        self._next = 0
        self._done_s = time.monotonic()
        self.tests = 0
        """Number of tests that came to their end."""
        self._thread = threading.Thread(target=self._run, name="self_test", daemon=True)
        self._thread.start()

    def fault(self, now_s: float) -> str:
        """Return what is wrong, in words, at `now_s` on the monotonic clock; empty when all is well."""
        if self._failure:
            return self._failure
        late_s = now_s - self._done_s
        if late_s <= self._limit_s:
            return ""
        return f"the self-test has not come to its end for {late_s:.0f} s, limit {self._limit_s:g} s"

    def close(self) -> None:
        """End the thread after the test that it is in."""
        self._closing.set()

    def _run(self) -> None:
        keep_below_control()
        while not self._closing.wait(self._period_s):
            sessions = self._sessions()
            if not sessions:
                continue  # nothing was tested, which counts as late
            self._next %= len(sessions)
            failure = failure_of(sessions[self._next])
            self._next += 1
            self._failure = self._failure or failure
            self.tests += 1
            self._done_s = time.monotonic()


def failure_of(session: LiveSession) -> str:
    """Return how the outputs differ from the golden ones, in words; empty when they do not."""
    try:
        got = session.model.run(**session.vectors.inputs)
        difference, where = largest_difference(got, session.vectors.outputs)
    except Exception as error:  # onnxruntime raises its own, undocumented types
        detail = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        return f"the {session.name} fails its self-test ({detail})"
    if difference <= GOLDEN_TOLERANCE:
        return ""
    return (
        f"the {session.name} fails its self-test: output '{where}' is off by {difference:.2g} (tolerance "
        f"{GOLDEN_TOLERANCE:g}) on {session.model.provider}; do not trust this computer's memory before it is checked"
    )
