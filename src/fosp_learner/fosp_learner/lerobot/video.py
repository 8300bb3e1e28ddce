"""Frames of MP4 files: several episodes follow each other in one file, at a constant frame rate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from av.video.frame import PictureType
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from fosp_core.errors import UserError

_ENCODERS = {"h264": "libx264", "av1": "libsvtav1"}
_NEAR = 0.25
"""Largest distance of a frame from its nominal time, in frames."""
_ROUNDED = (
    Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)
"""How colours are converted; the default rounds down, which makes every image darker by 1.5 of 255."""
_KEYFRAMES = 10
"""Frames from one key frame to the next: a training reads single frames, anywhere."""


def read_frames(path: Path, begin_s: float, fps: float, wanted: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames of numbers `wanted`, ascending, counted from the one at `begin_s`: (H, W, 3) uint8 RGB.

    UserError when the file is missing or damaged, or when it has no frame at the time of one of them.
    """
    waiting = iter(wanted)
    number = next(waiting, None)
    try:
        with av.open(str(path)) as container:
            stream = _video_stream(path, container)
            stream.thread_type = "AUTO"
            if stream.time_base is None:
                raise UserError(f"{path}: its frames carry no time")
            time_base = float(stream.time_base)
            container.seek(max(0, round(begin_s / time_base) - 1), stream=stream, backward=True)
            for frame in container.decode(stream):
                if number is None:
                    return
                if frame.pts is None:
                    continue
                position = (frame.pts * time_base - begin_s) * fps
                if position < number - _NEAR:
                    continue
                if position > number + _NEAR:
                    break
                yield np.asarray(frame.to_ndarray(format="rgb24", interpolation=_ROUNDED), np.uint8)
                number = next(waiting, None)
    except FFmpegError as error:
        raise UserError(f"{path}: cannot be decoded: {error.strerror or error}") from None
    if number is not None:
        raise UserError(f"{path}: no frame at {begin_s + number / fps:.3f} s, where row {number} needs one")


class VideoWriter:
    """An MP4 of constant frame rate, to which the frames of episode after episode are appended."""

    def __init__(self, path: Path, fps: int, height: int, width: int, codec: str, crf: int) -> None:
        """Open the file; UserError when the size is odd, or the codec is not in this build of FFmpeg."""
        if height % 2 or width % 2:
            raise UserError(
                f"images of {width}x{height} cannot be a video, whose sides are even: give even width and height in "
                "the mapping, or video: {codec: png}"
            )
        self.path, self.frames = path, 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._container: Any = av.open(str(path), "w")
        options = {"crf": str(crf), "g": str(_KEYFRAMES), **({"preset": "8"} if codec == "av1" else {})}
        try:
            self._stream: Any = self._container.add_stream(_ENCODERS[codec], rate=fps, options=options)
        except (FFmpegError, ValueError) as error:
            self._container.close()
            raise UserError(f"this build of FFmpeg cannot write {codec}: {error}") from None
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"

    def add(self, image: NDArray[np.uint8], first: bool) -> None:
        """Append a frame (H, W, 3) uint8 RGB; `first` of an episode becomes a key frame."""
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p", interpolation=_ROUNDED)
        frame.pts = self.frames
        if first:
            frame.pict_type = PictureType.I
        self._container.mux(self._stream.encode(frame))
        self.frames += 1

    @property
    def written(self) -> int:
        """Bytes on disk so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def close(self) -> None:
        """Complete the file."""
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def abort(self) -> None:
        """Give up."""
        self._container.close()


def _video_stream(path: Path, container: Any) -> Any:
    if not container.streams.video:
        raise UserError(f"{path}: holds no video")
    return container.streams.video[0]
