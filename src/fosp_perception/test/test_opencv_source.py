"""The OpenCV source on a real encoded video and a real stream; a V4L2 device differs in its driver only."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from fosp_core.errors import UserError
from fosp_perception.camera.image_source import CameraSettings, SourceLost
from fosp_perception.camera.opencv_source import OpenCvSource

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


class Stream:
    """A network camera: Motion JPEG over HTTP, that can be silenced."""

    def __init__(self) -> None:
        self.silent = threading.Event()
        good, encoded = cv2.imencode(".jpg", np.full((HEIGHT, WIDTH, 3), (200, 90, 10), np.uint8))
        assert good
        part = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n"
        image = part % (len(encoded), encoded.tobytes())
        silent = self.silent

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                try:
                    while True:
                        time.sleep(0.02)  # 50 Hz
                        if not silent.is_set():
                            self.wfile.write(image)
                except OSError:
                    return  # nobody listens any more

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/camera.mjpg"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def stream() -> Iterator[Stream]:
    stream = Stream()
    yield stream
    stream.server.shutdown()
    stream.server.server_close()


def opened(device: Path | str, loop: bool = False) -> OpenCvSource:
    return OpenCvSource(CameraSettings(device=str(device), width=WIDTH, height=HEIGHT, loop=loop), time.time_ns)


def read_on(source: OpenCvSource) -> None:
    while True:
        source.read()


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
    with pytest.raises(UserError, match="group video"):
        opened("/dev/null")
    with pytest.raises(UserError, match="does anything answer there"):
        opened("http://127.0.0.1:9/camera.mjpg")


def test_a_stream_that_falls_silent_is_lost_at_once_and_can_be_opened_again(stream: Stream) -> None:
    source = opened(stream.url)
    assert (source.size, source.paced) == ((HEIGHT, WIDTH), False)
    assert source.read().color[20, 30] == pytest.approx([10, 90, 200], abs=6)
    stream.silent.set()
    begin = time.monotonic()
    with pytest.raises(SourceLost, match="sender") as lost:
        read_on(source)
    assert lost.value.comes_back
    assert time.monotonic() - begin < 3.0, "OpenCV alone would wait for 30 s"
    source.close()
    stream.silent.clear()
    assert opened(stream.url).read().color.shape == (HEIGHT, WIDTH, 3)
