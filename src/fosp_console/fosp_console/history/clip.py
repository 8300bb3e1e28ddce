"""Clips of a bag: its frames as an MP4 or a GIF that plays in real time, with what was decided written below them.

The pictures come at a constant rate, each with the newest frame of every camera at that moment, so that a camera which
stalled is seen to stand still. Frames are read one after the other; no more than one of each camera is in memory.
"""

from __future__ import annotations

import math
import os
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fosp_console.history.samples import Run
from fosp_console.history.timeline import BagHistory, picture
from fosp_core.bag.mcap_stream import StoredMessage
from fosp_core.decisions import Decision, Reason
from fosp_core.errors import UserError

Picture = NDArray[np.uint8]
"""A picture (H, W, 3) uint8 RGB."""
SUFFIXES = (".mp4", ".gif")
LONGEST_S = {".mp4": 600.0, ".gif": 30.0}
"""Longest clip: all pictures of a GIF are in memory before it is written."""
_RATE_HZ = {".mp4": 25.0, ".gif": 10.0}
_HEIGHTS = {".mp4": (240, 480), ".gif": (200, 320)}
"""Least and greatest height of the frames in a clip, pixels."""
_WIDEST = {".mp4": 1280, ".gif": 640}
_CAPTION = 44
"""Height of the strip below the frames, pixels."""
_COLOURS = {
    Decision.PASS: (111, 183, 167),
    Decision.SUBSTITUTE: (227, 193, 91),
    Decision.RECOVER: (238, 154, 77),
    Decision.STOP: (239, 106, 91),
    Decision.LATCH: (224, 122, 208),
}
_GROUND, _INK, _SOFT = (16, 19, 21), (232, 235, 234), (163, 173, 176)


@dataclass(frozen=True)
class ClipRange:
    """The part of a bag that becomes a clip, in s from its beginning; UserError from `checked` when it makes none."""

    from_s: float
    to_s: float

    @classmethod
    def checked(
        cls, history: BagHistory, suffix: str, from_s: float | None = None, to_s: float | None = None
    ) -> ClipRange:
        """Return the range from `from_s` to `to_s`; None is the bag's begin or end."""
        if suffix not in SUFFIXES:
            raise UserError(f"a clip is {' or '.join(SUFFIXES)}, got '{suffix}'")
        if not history.cameras:
            raise UserError(f"{history.bag}: holds no colour images, and a clip needs them")
        end = history.seconds
        begin_s, end_s = (0.0 if from_s is None else from_s), (end if to_s is None else to_s)
        if not (math.isfinite(begin_s) and math.isfinite(end_s)) or not 0.0 <= begin_s < end_s:
            raise UserError(f"a clip goes from a moment to a later one, got {begin_s:g} to {end_s:g} s")
        if begin_s >= end or end_s > end + 0.01:
            raise UserError(f"{history.bag}: lasts {end:.2f} s, so there is no clip from {begin_s:g} to {end_s:g} s")
        if end_s - begin_s > LONGEST_S[suffix] + 1e-6:
            raise UserError(
                f"a {suffix[1:]} has at most {LONGEST_S[suffix]:g} s, and {begin_s:g} to {end_s:g} s is longer: "
                f"choose a shorter part{', or mp4' if suffix == '.gif' else ''}"
            )
        return cls(begin_s, end_s)


def write_clip(history: BagHistory, part: ClipRange, out: Path) -> int:
    """Write a clip, and return the number of its pictures; an existing file is replaced when the clip is complete.

    UserError when nothing can be shown or written. ModuleNotFoundError names the package that the format needs.
    """
    write = {".mp4": _write_mp4, ".gif": _write_gif}[out.suffix.lower()]
    partial = out.with_name(f".partial_{out.name}")
    pictures = clip_pictures(history, part, out.suffix.lower())
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        count = write(partial, pictures, _RATE_HZ[out.suffix.lower()])
        os.replace(partial, out)
    except OSError as error:
        raise UserError(f"{out}: cannot write: {error.strerror or error}") from None
    finally:
        partial.unlink(missing_ok=True)
    return count


def clip_pictures(history: BagHistory, part: ClipRange, suffix: str) -> Iterator[Picture]:
    """Yield the pictures of a clip, all of one size with even sides; UserError when none of its frames can be shown."""
    rate_hz = _RATE_HZ[suffix]
    newest: list[StoredMessage | None] = [None] * len(history.cameras)
    shown: list[Picture | None] = [None] * len(history.cameras)
    captions = _Captions(history)
    coming = history.frames_from(part.from_s)
    waiting = next(coming, None)
    layout: _Layout | None = None
    fault = ""
    for number in range(max(1, math.floor((part.to_s - part.from_s) * rate_hz + 1e-6))):
        now_s = part.from_s + number / rate_hz
        while waiting is not None and waiting[0] <= now_s + (0.5 / rate_hz if number == 0 else 0.0):
            newest[waiting[1]] = waiting[2]
            waiting = next(coming, None)
        for camera, stored in enumerate(newest):
            if stored is not None:
                try:
                    shown[camera] = picture(stored)
                except UserError as error:
                    fault = fault or str(error)
                newest[camera] = None
        if layout is None:
            if all(one is None for one in shown) and waiting is not None:
                continue
            layout = _Layout.of(shown, suffix)
        yield captions.below(layout.joined(shown), now_s)
    if layout is None or all(one is None for one in shown):
        raise UserError(f"{history.bag}: {fault or 'has no frame in this part'}")


@dataclass(frozen=True)
class _Layout:
    """Width of each camera's place, and the height of all."""

    height: int
    widths: tuple[int, ...]

    @classmethod
    def of(cls, frames: list[Picture | None], suffix: str) -> _Layout:
        """Return the places of frames side by side; a camera that has shown nothing yet gets one of 4:3."""
        shapes = [one.shape[:2] if one is not None else (3, 4) for one in frames]
        least, most = _HEIGHTS[suffix]
        height = min(max(max((one.shape[0] for one in frames if one is not None), default=least), least), most)
        ratio = sum(width / max(1, high) for high, width in shapes)
        height = max(32, min(height, int(_WIDEST[suffix] / max(ratio, 0.1))))
        height -= height % 2
        return cls(height, tuple(max(2, 2 * round(height * width / max(1, high) / 2)) for high, width in shapes))

    def joined(self, frames: list[Picture | None]) -> Picture:
        """Return the frames side by side."""
        parts = []
        for frame, width in zip(frames, self.widths, strict=True):
            if frame is None:
                parts.append(np.full((self.height, width, 3), 40, np.uint8))
                continue
            way = cv2.INTER_NEAREST if self.height >= 2 * frame.shape[0] else cv2.INTER_AREA
            parts.append(np.asarray(cv2.resize(frame, (width, self.height), interpolation=way), np.uint8))
        return np.hstack(parts)


class _Captions:
    """Writes the moment and what was decided below the frames."""

    def __init__(self, history: BagHistory) -> None:
        self._history = history
        self._runs: list[Run] = list(history.lane)
        self._begins = [run.begin_s for run in self._runs]

    def below(self, frames: Picture, now_s: float) -> Picture:
        """Return the frames with the strip of a moment below them."""
        height, width = frames.shape[:2]
        out = np.full((height + _CAPTION, width, 3), _GROUND, np.uint8)
        out[:height] = frames
        at_s = self._history.begin_s + now_s
        place = bisect_right(self._begins, at_s) - 1
        if place < 0:
            self._write(out, f"{now_s:.2f} s", (8, height + 19), _SOFT)
            return out
        run = self._runs[place]
        known = run.decision in set(Decision)
        colour = _COLOURS[Decision(run.decision)] if known else _SOFT
        out[height : height + 4] = colour
        word = Decision(run.decision).name if known else str(run.decision)
        self._write(out, f"{now_s:.2f} s  {word}", (8, height + 20), colour)
        why = Reason(run.reason).name if run.reason in set(Reason) else str(run.reason)
        risk = self._risk(at_s)
        self._write(
            out, f"{'' if why == 'OK' else why.lower().replace('_', ' ')}  {risk}".strip(), (8, height + 37), _INK
        )
        return out

    def _risk(self, at_s: float) -> str:
        samples = self._history.risk
        row = bisect_right(samples.times, at_s) - 1
        if row < 0 or not math.isfinite(samples.columns[0][row]):
            return ""
        return f"risk {samples.columns[0][row]:.2f} of {samples.columns[1][row]:.2f}"

    @staticmethod
    def _write(out: Picture, text: str, at: tuple[int, int], colour: tuple[int, int, int]) -> None:
        cv2.putText(out, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)


def _write_mp4(path: Path, pictures: Iterator[Picture], rate_hz: float) -> int:
    import av
    from av.error import FFmpegError

    count = 0
    stream: Any = None
    try:
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            for one in pictures:
                if stream is None:
                    stream = container.add_stream("libx264", rate=round(rate_hz), options={"crf": "22"})
                    stream.height, stream.width = one.shape[:2]
                    stream.pix_fmt = "yuv420p"
                    stream.thread_count = 1
                frame = av.VideoFrame.from_ndarray(one, format="rgb24")
                frame.pts = count
                container.mux(stream.encode(frame))
                count += 1
            container.mux(stream.encode(None))
    except (FFmpegError, ValueError) as error:
        raise UserError(f"the clip cannot be encoded: {getattr(error, 'strerror', None) or error}") from None
    return count


def _write_gif(path: Path, pictures: Iterator[Picture], rate_hz: float) -> int:
    from PIL import Image

    count = 0

    def palettes() -> Iterator[Any]:
        nonlocal count
        for one in pictures:
            count += 1
            yield Image.fromarray(one).quantize(128, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)

    frames = palettes()
    first = next(frames)
    first.save(path, "GIF", save_all=True, append_images=frames, duration=round(1000 / rate_hz), loop=0, optimize=False)
    return count
