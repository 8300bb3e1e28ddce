"""The fast way through a PNG gives the pixels of OpenCV, or leaves the file to it."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fosp_core.errors import UserError
from fosp_core.image import compressed_size, decoded_rgb, png


def scene(height: int = 37, width: int = 53, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    rng = np.random.default_rng(0)
    top = np.iinfo(dtype).max
    ramp = np.linspace(0, top, width)[None, :, None] * np.linspace(0.2, 1, height)[:, None, None]
    return np.clip(ramp + rng.normal(0, top / 50, (height, width, channels)), 0, top).astype(dtype)


def encoded(pixels: np.ndarray, *options: int) -> bytes:
    return cv2.imencode(".png", pixels, list(options))[1].tobytes()


def fast(data: bytes) -> np.ndarray | None:
    size = compressed_size(memoryview(data))
    return None if size is None else png.decode_rgb_png(memoryview(data), *size)


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def with_rows(rows: bytes, width: int, height: int, extra: bytes = b"") -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(1, 1), (37, 53), (240, 320)])
@pytest.mark.parametrize("level", [0, 1, 3, 9])
@pytest.mark.parametrize("strategy", [cv2.IMWRITE_PNG_STRATEGY_DEFAULT, cv2.IMWRITE_PNG_STRATEGY_RLE])
def test_a_camera_s_png_gives_its_pixels(size: tuple[int, int], level: int, strategy: int) -> None:
    pixels = scene(*size)
    decoded = fast(encoded(pixels, cv2.IMWRITE_PNG_COMPRESSION, level, cv2.IMWRITE_PNG_STRATEGY, strategy))
    assert decoded is not None
    assert np.array_equal(decoded, pixels[..., ::-1])


@given(st.integers(1, 40), st.integers(1, 12), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_rows_of_every_filter_give_the_pixels_of_opencv(width: int, height: int, random) -> None:
    rows = b"".join(bytes([random.randrange(5)]) + random.randbytes(3 * width) for _ in range(height))
    data = with_rows(rows, width, height)
    decoded = fast(data)
    assert decoded is not None
    assert np.array_equal(decoded, cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1])


@pytest.mark.parametrize(
    "pixels", [scene(channels=1)[..., 0], scene(channels=4), scene(dtype=np.uint16)], ids=["grey", "alpha", "16 bit"]
)
def test_another_kind_is_left_to_opencv(pixels: np.ndarray) -> None:
    data = encoded(pixels)
    assert fast(data) is None
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(decoded_rgb(np.frombuffer(data, np.uint8), "png"), decoded[..., ::-1])


def test_a_chunk_that_may_change_the_picture_is_left_to_opencv() -> None:
    rows = bytes(4 * (1 + 3 * 5))
    assert fast(with_rows(rows, 5, 4, chunk(b"tEXt", b"Software\0camera"))) is not None
    for name, content in ((b"tRNS", bytes(6)), (b"eXIf", b"MM\0*"), (b"acTL", bytes(8)), (b"iCCP", b"x")):
        assert fast(with_rows(rows, 5, 4, chunk(name, content))) is None


def test_more_or_fewer_rows_than_the_header_says_are_not_unpacked_to_the_end() -> None:
    for surplus in (-1, 1, 1 << 24):
        assert fast(with_rows(bytes(4 * (1 + 3 * 5) + surplus), 5, 4)) is None


def test_what_would_be_held_several_times_is_left_to_opencv() -> None:
    assert fast(with_rows(bytes(10), 4000, 4000)) is None


@given(st.integers(8, 2000), st.integers(0, 255))
@settings(max_examples=150, deadline=None)
def test_a_damaged_byte_gives_no_other_pixels(at: int, value: int) -> None:
    pixels = scene()
    data = bytearray(encoded(pixels))
    data[at % len(data)] = value
    decoded = fast(bytes(data))
    assert decoded is None or np.array_equal(decoded, pixels[..., ::-1])


@given(st.integers(0, 3000))
@settings(max_examples=60, deadline=None)
def test_a_cut_off_file_is_left_to_opencv(length: int) -> None:
    data = encoded(scene())
    assert length >= len(data) or fast(data[:length]) is None


def test_a_row_filter_that_does_not_exist_is_refused() -> None:
    data = with_rows(b"\x09" + bytes(15), 5, 1)
    assert fast(data) is None
    with pytest.raises(UserError, match="cannot be decoded"):
        decoded_rgb(np.frombuffer(data, np.uint8), "png")
