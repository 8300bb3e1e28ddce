"""The filter of the world model, from camera images and executed action to the latent, and its warm-up. No ROS.

A warm-up replays the last frames through another encoder, whose recurrent state is then as old as the running one.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fosp_core.bundle.bundle import Bundle
from fosp_core.bundle.reference import FrameJudge, FrameJudgement
from fosp_core.processes import give_way, keep_below_control

HISTORY = 40
"""Number of steps kept: 2 s at 20 Hz, after which the state hardly depends on what was before."""


class EncoderInputError(ValueError):
    """The images or the executed action cannot be encoded; the recurrent state is unchanged."""


class EncoderOutputError(ValueError):
    """The encoder returned NaN or infinity; the recurrent state is reset, and the next step is a first one."""


@dataclass(frozen=True)
class LatentState:
    """The latent after one step, and what its images look like, for the safety monitor, which does not see them."""

    deter: NDArray[np.float32]
    """Deterministic part (m, h, e) of the latent, (D,): memory, recurrent state and image embedding, concatenated."""
    stoch: NDArray[np.float32]
    """Stochastic part z of the latent, (S,): one-hot, flattened from (variables, classes)."""
    surprise: float
    """KL[posterior || prior], in nats."""
    repeated_image: bool
    """True when the pixels of some camera are exactly those of the step before."""
    contrast: float
    """Standard deviation of the pixels, in [0, 1], of the camera with the least."""
    frames: FrameJudgement
    """How the images of the step before compare with those of the bundle's training; on a first step, its own images.

    Three novel frames in five stop the robot, and to judge one takes as long as all else here together. So it is done
    while policy and monitor work.
    """


class Encoder:
    """The recurrent state-space model of a bundle (encoder.onnx), together with its recurrent state."""

    def __init__(self, bundle: Bundle) -> None:
        self._model = bundle.encoder
        self._images_shape = bundle.manifest.observation.shape
        self._action_size = bundle.manifest.action.size
        self._latent = bundle.manifest.latent
        self._judge = FrameJudge(bundle.reference)
        self.reset()

    def reset(self) -> None:
        """Forget the past: the next step is the first of an episode, whatever its `is_first` says."""
        self._deter = np.zeros((1, self._latent.deter), np.float32)
        self._stoch = np.zeros((1, self._latent.stoch), np.float32)
        self._fresh = True
        self._images: NDArray[np.uint8] | None = None
        self._judge.reset()
        self._to_judge: tuple[NDArray[np.uint8], NDArray[np.float32]] | None = None

    def step(self, images: NDArray[np.uint8], executed: NDArray[np.float32], is_first: bool) -> LatentState:
        """Return the posterior latent of `images` (C, H, W, 3) uint8 after the action `executed` (A,) float32.

        `executed` is normalised, in [-1, 1]. The model ignores it on a first step, but it must be finite. Raise
        EncoderInputError on a wrong shape or dtype, or an action that is not finite; EncoderOutputError when the
        output of the model is not finite.
        """
        if images.shape != self._images_shape or images.dtype != np.uint8:
            raise EncoderInputError(f"images must be {self._images_shape} uint8, got {images.shape} {images.dtype}")
        if executed.shape != (self._action_size,):
            raise EncoderInputError(f"executed action must be ({self._action_size},), got {executed.shape}")
        if not np.isfinite(executed).all():
            raise EncoderInputError(f"executed action is not finite: {executed.tolist()}")
        self.judge_frames()
        output = self._model.run(
            image=images[np.newaxis],
            deter=self._deter,
            stoch=self._stoch,
            action=executed[np.newaxis].astype(np.float32, copy=False),
            is_first=np.array([is_first or self._fresh], np.float32),
        )
        deter, stoch, surprise = output["next_deter"], output["next_stoch"], float(output["kl"][0])
        if not (np.isfinite(deter).all() and np.isfinite(stoch).all() and np.isfinite(surprise)):
            self.reset()
            raise EncoderOutputError("the encoder's output is not finite")
        repeated = self._images is not None and any(map(np.array_equal, images, self._images))
        self._images = images.copy()
        if is_first or self._fresh:
            self._frames, self._to_judge = self._judge.step(images, executed, True), None
        else:
            self._to_judge = self._images, executed.copy()
        self._deter, self._stoch, self._fresh = deter, stoch, False
        contrast = min(float(cv2.meanStdDev(image.reshape(-1, 1))[1][0, 0]) for image in images) / 255.0
        return LatentState(deter[0], stoch[0], surprise, repeated, contrast, self._frames)

    def judge_frames(self) -> None:
        """Judge the images of the last step, which the next one tells; call it when the latent is on its way."""
        if self._to_judge is not None:
            self._frames, self._to_judge = self._judge.step(*self._to_judge, False), None


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
    """Replays a history through the encoder of `model_id` in a thread, and `finish` replays what came meanwhile.

    Before that the thread calls `test` with the moments of the history; what it returns is a failure, unless empty.
    """

    def __init__(
        self,
        model_id: str,
        encoder: Encoder,
        history: History,
        test: Callable[[list[Moment]], str] = lambda moments: "",
    ) -> None:
        self.model_id, self.encoder = model_id, encoder
        self.failure = ""
        """Reason why the replay failed, in which case the encoder's state is void; empty otherwise."""
        self._history, self._test = history, test
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
        try:
            self.failure = self._test(self._history.after(-1))
        except Exception as error:  # whatever a bundle's networks can do must not end the thread without a word
            self.failure = f"its judge cannot be tested: {(str(error).splitlines() or [type(error).__name__])[0][:160]}"
        if not self.failure:
            self.encoder.reset()
            self._replay_rest()

    def _replay_rest(self) -> None:
        try:
            while moments := self._history.after(self._done):
                for moment in moments:
                    self.encoder.step(moment.images, moment.executed, moment.is_first)
                    self._done = moment.number
                    give_way()
        except (EncoderInputError, EncoderOutputError) as error:
            self.failure = f"on the last frames: {error}"
        except Exception as error:  # onnxruntime raises its own, undocumented types
            self.failure = f"on the last frames: {str(error).splitlines()[0][:160]}"
