"""Raw images of every encoding become the RGB that OpenCV makes of them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from fosp_core.errors import BrokenMessage, UserError
from fosp_core.image.encodings import ENCODINGS, is_colour, rgb_of_raw

HEIGHT, WIDTH = 6, 8
RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, HEIGHT * WIDTH * 8, np.uint8)


def raw(channels: int, depth: int = 1) -> np.ndarray:
    return BYTES[: HEIGHT * WIDTH * channels * depth]


def shaped(channels: int) -> np.ndarray:
    return raw(channels).reshape(HEIGHT, WIDTH, channels)


def by_opencv(code: int, channels: int) -> np.ndarray:
    pixels = shaped(channels)
    return cv2.cvtColor(pixels[..., 0] if channels == 1 else pixels, code)


PATTERNS = {"rggb": "BG", "bggr": "RG", "gbrg": "GR", "grbg": "GB"}
EXPECTED = {
    "rgb8": shaped(3),
    "bgr8": shaped(3)[..., ::-1],
    "rgba8": shaped(4)[..., :3],
    "bgra8": shaped(4)[..., 2::-1],
    "8UC3": shaped(3)[..., ::-1],
    "8UC4": shaped(4)[..., 2::-1],
    "mono8": np.repeat(shaped(1), 3, 2),
    "8UC1": np.repeat(shaped(1), 3, 2),
    "yuv422": by_opencv(cv2.COLOR_YUV2RGB_UYVY, 2),
    "uyvy": by_opencv(cv2.COLOR_YUV2RGB_UYVY, 2),
    "yuv422_yuy2": by_opencv(cv2.COLOR_YUV2RGB_YUY2, 2),
    "yuyv": by_opencv(cv2.COLOR_YUV2RGB_YUY2, 2),
    **{f"bayer_{p}8": by_opencv(getattr(cv2, f"COLOR_Bayer{o}2RGB"), 1) for p, o in PATTERNS.items()},
}


@pytest.mark.parametrize("encoding", EXPECTED)
def test_eight_bits_are_as_opencv_converts_them(encoding: str) -> None:
    expected = EXPECTED[encoding]
    data = BYTES[: HEIGHT * WIDTH * {"yuv422": 2, "uyvy": 2, "yuv422_yuy2": 2, "yuyv": 2}.get(encoding, 0)]
    channels = 4 if encoding in ("rgba8", "bgra8", "8UC4") else 3 if expected.base is not None else 1
    if encoding.startswith(("mono", "bayer")) or encoding == "8UC1":
        channels = 1
    data = data if len(data) else raw(channels)
    assert np.array_equal(rgb_of_raw(data, encoding, HEIGHT, WIDTH, len(data) // HEIGHT), expected)


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize(("encoding", "channels"), [("mono16", 1), ("rgb16", 3), ("bgr16", 3), ("rgba16", 4)])
def test_sixteen_bits_are_scaled_to_eight(encoding: str, channels: int, big_endian: bool) -> None:
    wide = RNG.integers(0, 65536, (HEIGHT, WIDTH, channels)).astype(">u2" if big_endian else "<u2")
    scaled = np.rint(wide.astype(np.float64) * 255 / 65535).astype(np.uint8)
    expected = np.repeat(scaled, 3, 2) if channels == 1 else scaled[..., :3]
    if encoding == "bgr16":
        expected = expected[..., ::-1]
    data = wide.reshape(-1).view(np.uint8)
    found = rgb_of_raw(data, encoding, HEIGHT, WIDTH, WIDTH * channels * 2, big_endian)
    assert np.abs(found.astype(int) - expected).max() == 0


@pytest.mark.parametrize(("encoding", "code"), [("nv12", cv2.COLOR_YUV2RGB_NV12), ("nv21", cv2.COLOR_YUV2RGB_NV21)])
def test_colours_that_follow_the_brightness_are_read(encoding: str, code: int) -> None:
    data = BYTES[: HEIGHT * WIDTH * 3 // 2]
    expected = cv2.cvtColor(data.reshape(-1, WIDTH), code)
    assert np.array_equal(rgb_of_raw(data, encoding, HEIGHT, WIDTH, WIDTH), expected)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_row_step_beyond_the_pixels_changes_nothing_and_missing_bytes_are_one_broken_frame(encoding: str) -> None:
    length = next(n for n in range(HEIGHT * WIDTH * 8 + 1) if fits(encoding, n))
    lines = HEIGHT * 3 // 2 if encoding.startswith("nv") else HEIGHT
    packed = BYTES[:length].reshape(lines, -1)
    padded = np.pad(packed, ((0, 0), (0, 4)))
    plain = rgb_of_raw(packed.reshape(-1), encoding, HEIGHT, WIDTH, packed.shape[1])
    assert plain.shape == (HEIGHT, WIDTH, 3)
    assert plain.dtype == np.uint8
    assert np.array_equal(rgb_of_raw(padded.reshape(-1), encoding, HEIGHT, WIDTH, padded.shape[1]), plain)
    with pytest.raises(BrokenMessage, match="should hold"):
        rgb_of_raw(packed.reshape(-1)[:-1], encoding, HEIGHT, WIDTH, packed.shape[1])


@pytest.mark.parametrize("width", [320, 640, 848, 1280])
@pytest.mark.parametrize(
    ("told", "true"),
    [("bgr8", 4), ("mono8", 3), ("mono8", 2), ("yuyv", 3), ("rgb8", 6), ("bayer_rggb8", 4)],
)
def test_rows_of_another_encoding_than_the_one_told_are_refused(told: str, true: int, width: int) -> None:
    data = np.zeros(2 * width * true, np.uint8)
    with pytest.raises(BrokenMessage, match=f"rows of {width * true} bytes, {width} pixels of {told} take"):
        rgb_of_raw(data, told, 2, width, width * true)


@pytest.mark.parametrize(("width", "step"), [(10, 32), (64, 256), (100, 512), (640, 1924), (424, 1280), (1366, 4352)])
def test_rows_that_drivers_pad_are_read(width: int, step: int) -> None:
    assert rgb_of_raw(np.zeros(2 * step, np.uint8), "rgb8", 2, width, step).shape == (2, width, 3)


def fits(encoding: str, length: int) -> bool:
    lines = HEIGHT * 3 // 2 if encoding.startswith("nv") else HEIGHT
    if not length or length % lines:
        return False
    try:
        rgb_of_raw(BYTES[:length], encoding, HEIGHT, WIDTH, length // lines)
    except BrokenMessage:
        return False
    return True


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1", "16SC1", "", "jpeg", "64FC3"])
def test_what_holds_no_colour_is_refused_as_such(encoding: str) -> None:
    assert not is_colour(encoding)
    with pytest.raises(UserError, match="holds no colour") as caught:
        rgb_of_raw(raw(1), encoding, HEIGHT, WIDTH, WIDTH)
    assert not isinstance(caught.value, BrokenMessage)


@pytest.mark.parametrize(("encoding", "height", "width"), [("yuyv", 6, 7), ("nv12", 5, 8), ("bayer_rggb8", 5, 8)])
def test_a_size_that_the_encoding_cannot_have_is_refused(encoding: str, height: int, width: int) -> None:
    with pytest.raises(BrokenMessage, match="malformed"):
        rgb_of_raw(BYTES, encoding, height, width, 16)
