"""The OpenCV source on a real encoded video; a V4L2 device differs in its driver only."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from fosp_core.errors import UserError
from fosp_perception.image_source import SourceLost
from fosp_perception.opencv_source import OpenCvSettings, OpenCvSource

HEIGHT, WIDTH = 48, 64


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (WIDTH, HEIGHT))
    for i in range(4):
        frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        frame[..., 2] = 50 * (i + 1)  # red, as OpenCV orders it
        writer.write(frame)
    writer.release()
    return path


def opened(device: Path | str, loop: bool = False) -> OpenCvSource:
    return OpenCvSource(OpenCvSettings(str(device), WIDTH, HEIGHT, 30.0, loop), time.time_ns)


def test_a_video_gives_its_frames_as_rgb_and_then_ends(video: Path) -> None:
    source = opened(video)
    assert (source.size, source.paced) == ((HEIGHT, WIDTH), True)
    reds = [source.read().color[20, 30] for _ in range(4)]
    assert [int(red[0]) for red in reds] == pytest.approx([50, 100, 150, 200], abs=6)
    assert all(red[2] < 10 for red in reds)
    with pytest.raises(SourceLost) as lost:
        source.read()
    assert not lost.value.comes_back


def test_a_looping_video_begins_again(video: Path) -> None:
    source = opened(video, loop=True)
    reds = [int(source.read().color[20, 30, 0]) for _ in range(5)]
    assert reds[4] == pytest.approx(50, abs=6)


def test_what_is_not_there_or_no_video_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="plugged in"):
        opened("/dev/video_of_nobody")
    (tmp_path / "text.avi").write_text("not a video")
    with pytest.raises(UserError, match="cannot be opened"):
        opened(tmp_path / "text.avi")
