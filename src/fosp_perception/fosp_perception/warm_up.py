"""Warm-up of the recurrent state of another encoder: the last frames are replayed through it. No ROS."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fosp_core.realtime import keep_below_control
from fosp_perception.encoder import Encoder, EncoderInputError, EncoderOutputError

HISTORY = 40
"""Number of steps kept: 2 s at 20 Hz, after which the state hardly depends on what was before."""


@dataclass(frozen=True)
class Moment:
    """Inputs of the encoder at one step."""

    number: int
    images: NDArray[np.uint8]
    executed: NDArray[np.float32]
    is_first: bool


class History:
    """The newest moments of the running episode, which the control path appends and the thread of a warm-up reads.

    It has no lock, so that neither waits for the other: appending and copying are one operation of the interpreter
    each.
    """

    def __init__(self, size: int = HISTORY) -> None:
        self._moments: deque[Moment] = deque(maxlen=size)
        self._count = 0

    def append(self, images: NDArray[np.uint8], executed: NDArray[np.float32], is_first: bool) -> None:
        if is_first:
            self._moments.clear()
        self._moments.append(Moment(self._count, images, executed, is_first))
        self._count += 1

    def clear(self) -> None:
        self._moments.clear()

    def after(self, number: int) -> list[Moment]:
        """Return the moments after `number`, oldest first."""
        return [moment for moment in tuple(self._moments) if moment.number > number]


class WarmUp:
    """Replays a history through the encoder of `model_id` in a thread, and `finish` replays what came meanwhile."""

    def __init__(self, model_id: str, encoder: Encoder, history: History) -> None:
        self.model_id, self.encoder = model_id, encoder
        self.failure = ""
        """Reason why the replay failed, in which case the encoder's state is void; empty otherwise."""
        self._history = history
        self._done = -1
        self._thread = threading.Thread(target=self._run, name="warm_up", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        """True once the thread has caught up, or failed."""
        return not self._thread.is_alive()

    def finish(self) -> None:
        """Replay the few steps that came since the thread ended; call it between two frames, once `ready`."""
        if not self.failure:
            self._replay_rest()

    def _run(self) -> None:
        keep_below_control()
        self.encoder.reset()
        self._replay_rest()

    def _replay_rest(self) -> None:
        try:
            while moments := self._history.after(self._done):
                for moment in moments:
                    self.encoder.step(moment.images, moment.executed, moment.is_first)
                    self._done = moment.number
        except (EncoderInputError, EncoderOutputError) as error:
            self.failure = f"on the last frames: {error}"
        except Exception as error:  # onnxruntime raises its own, undocumented types
            self.failure = f"on the last frames: {str(error).splitlines()[0][:160]}"
