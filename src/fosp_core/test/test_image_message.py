import array
import struct
import zlib

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image

from fosp_core import image
from fosp_core.errors import BrokenMessage, UserError
from fosp_core.image import png
from fosp_core.ros.image_message import fill_depth, fill_image, image_view, observation_view, rgb_view


def message(encoding: str, pixels: np.ndarray, padding: int = 0) -> Image:
    rows = pixels.reshape(len(pixels), -1).view(np.uint8)
    padded = np.pad(rows, ((0, 0), (0, padding)))
    height, width = pixels.shape[:2]
    return Image(
        height=height, width=width, encoding=encoding, step=padded.shape[1], data=array.array("B", padded.tobytes())
    )


def random_pixels(*shape: int, dtype=np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, shape).astype(dtype)


@pytest.mark.parametrize("padding", [0, 4])
def test_rgb_is_read_as_a_view_whatever_the_row_step(padding):
    pixels = random_pixels(4, 5, 3)
    source = message("rgb8", pixels, padding)
    view = rgb_view(source)
    assert np.array_equal(view, pixels)
    source.data[0] = (int(pixels[0, 0, 0]) + 1) % 256
    assert view[0, 0, 0] == source.data[0]


def test_bgr_is_read_in_rgb_order():
    pixels = random_pixels(4, 5, 3)
    assert np.array_equal(rgb_view(message("bgr8", pixels)), pixels[..., ::-1])


def test_mono_becomes_three_equal_channels():
    pixels = random_pixels(4, 5)
    assert np.array_equal(rgb_view(message("mono8", pixels)), np.stack([pixels] * 3, -1))


def test_depth_is_read_as_uint16_and_is_no_colour():
    pixels = random_pixels(4, 5, dtype=np.uint16)
    assert np.array_equal(image_view(message("16UC1", pixels)), pixels)
    with pytest.raises(UserError, match="no colour"):
        rgb_view(message("16UC1", pixels))


def test_depth_in_metres_is_read_as_float32_and_malformed_depth_is_a_broken_message():
    depth = np.array([[0.5, np.nan, np.inf], [1.0, 2.0, 3.0]], np.float32)
    source = Image(height=2, width=3, step=12, encoding="32FC1", data=array.array("B", depth.tobytes()))
    assert image_view(source).tobytes() == depth.tobytes()
    source.width = 4
    with pytest.raises(BrokenMessage, match="depth image holds 24 bytes, which do not fit its 4 x 2 pixels"):
        image_view(source)


def test_big_endian_depth_is_read_as_such():
    pixels = random_pixels(4, 5, dtype=np.uint16)
    swapped = message("16UC1", pixels.byteswap())
    swapped.is_bigendian = 1
    assert np.array_equal(image_view(swapped), pixels)


def test_data_that_does_not_fit_the_size_is_refused():
    short = message("rgb8", random_pixels(4, 5, 3))
    short.height = 5
    with pytest.raises(UserError, match="should hold 75 bytes, holds 60"):
        rgb_view(short)


@pytest.mark.parametrize(("height", "width", "step"), [(0, 5, 15), (4, 0, 15), (4, 5, 14)])
def test_a_malformed_size_is_refused(height, width, step):
    bad = message("rgb8", random_pixels(4, 5, 3))
    bad.height, bad.width, bad.step = height, width, step
    with pytest.raises(UserError, match="malformed"):
        rgb_view(bad)


def test_a_filled_message_reads_back_and_a_reused_one_keeps_its_buffer():
    target = Image()
    first, second = random_pixels(4, 6, 3), 255 - random_pixels(4, 6, 3)
    fill_image(target, first)
    buffer = target.data
    fill_image(target, second)
    assert target.data is buffer
    assert np.array_equal(rgb_view(target), second)


def test_a_message_reused_for_another_shape_of_as_many_pixels_says_the_new_shape():
    target = Image()
    fill_image(target, random_pixels(4, 6, 3))
    fill_image(target, random_pixels(6, 4, 3))
    assert (target.height, target.width, target.step) == (6, 4, 12)


def test_an_image_larger_than_any_camera_s_is_refused_before_it_is_looked_at(monkeypatch):
    monkeypatch.setattr(image, "MAX_IMAGE_BYTES", 100)
    message = Image(height=10, width=10, step=30, encoding="rgb8", data=array.array("B", bytes(300)))
    with pytest.raises(UserError, match="300 bytes, is larger than a camera's"):
        image_view(message)


def test_a_compressed_image_is_read_as_rgb_and_a_damaged_one_is_refused():
    pixels = random_pixels(8, 12, 3)
    png = cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()
    assert np.array_equal(rgb_view(CompressedImage(format="rgb8; png compressed bgr8", data=png)), pixels)
    jpeg = cv2.imencode(".jpg", pixels)[1].tobytes()
    for data in (jpeg[: len(jpeg) // 2], b"", b"text"):
        with pytest.raises(UserError, match="cannot be decoded"):
            rgb_view(CompressedImage(format="jpeg", data=data))


@pytest.fixture
def nothing_is_decoded(monkeypatch):
    def reached(*_):
        raise AssertionError("decoded, with all the memory that it takes")

    monkeypatch.setattr(cv2, "imdecode", reached)
    monkeypatch.setattr(png, "decode_rgb_png", reached)


def png_of_zeros(width, height):
    """Return the smallest PNG of this size, made without holding its pixels."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + 3 * width)) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def jpeg_that_says(width, height, mode=cv2.IMWRITE_JPEG_PROGRESSIVE, on=0):
    """A JPEG of 12 x 8 whose header says another size."""
    jpeg = bytearray(cv2.imencode(".jpg", random_pixels(8, 12, 3), [mode, on])[1].tobytes())
    at = jpeg.index(b"\xff\xc2" if on else b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(jpeg)


@pytest.mark.usefixtures("nothing_is_decoded")
def test_a_small_file_that_would_unpack_to_more_than_a_camera_s_image_is_never_unpacked():
    png = png_of_zeros(8000, 8000)
    assert len(png) < 200_000
    larger = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 30_000, 30_000) + png[24:]
    for data, size in (
        (png, "8000x8000, 192000000 bytes,"),
        (larger, "30000x30000"),
        (jpeg_that_says(65_000, 60_000), "65000x60000"),
        (jpeg_that_says(65_000, 60_000, on=1), "65000x60000"),
    ):
        with pytest.raises(UserError, match=f"image of {size}.* larger than a camera's") as error:
            rgb_view(CompressedImage(format="jpeg", data=data))
        assert "\n" not in str(error.value)


@pytest.mark.usefixtures("nothing_is_decoded")
@pytest.mark.parametrize("extension", [".bmp", ".webp", ".tiff"])
def test_what_is_neither_png_nor_jpeg_is_refused_before_it_is_decoded(extension):
    data = cv2.imencode(extension, random_pixels(8, 12, 3))[1].tobytes()
    with pytest.raises(UserError, match=r"format 'x' cannot be decoded: its \d+ bytes are neither jpeg nor png"):
        rgb_view(CompressedImage(format="x", data=data))


@pytest.mark.usefixtures("nothing_is_decoded")
def test_a_header_that_is_damaged_or_hides_its_size_is_refused():
    png, jpeg = png_of_zeros(12, 8), jpeg_that_says(12, 8)
    for data in (
        png[:20],
        png[:12] + b"IDAT" + png[16:],
        jpeg[:2] + b"junk" + jpeg[2:],  # libjpeg looks further on
        jpeg[:2] + b"\xff\xd8" + jpeg[2:],
        jpeg[:2] + b"\xff\xe1\xff\xff" + jpeg[2:],
        b"\xff\xd8\xff\xc0\0\x11\x08\xff\xd9",
    ):
        with pytest.raises(UserError, match="cannot be decoded"):
            rgb_view(CompressedImage(format="x", data=data))


def test_jpegs_of_all_kinds_and_with_comments_and_fill_bytes_are_read():
    pixels = np.full((8, 12, 3), 90, np.uint8)
    for on in (0, 1):
        jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_PROGRESSIVE, on])[1].tobytes()
        commented = jpeg[:2] + b"\xff\xff\xff\xfe\0\x06\xff\xc0\0\x11" + jpeg[2:]
        for data in (jpeg, commented):
            assert np.abs(rgb_view(CompressedImage(format="jpeg", data=data)).astype(int) - pixels).max() <= 2


def test_depth_in_millimetres_reads_back():
    target, depth = Image(), random_pixels(4, 6, dtype=np.uint16) * 100
    fill_depth(target, depth)
    assert target.encoding == "16UC1"
    assert np.array_equal(image_view(target), depth)
    with pytest.raises(UserError, match="uint16"):
        fill_depth(target, depth.astype(np.float32))


@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_a_compressed_frame_s_observation_comes_with_the_size_of_the_frame(extension):
    pixels = random_pixels(480, 640, 3)
    data = cv2.imencode(extension, pixels)[1].tobytes()
    observation, size = observation_view(CompressedImage(format=extension[1:], data=data), 64, 64)
    assert observation.shape == (64, 64, 3)
    assert size == (480, 640)


def test_a_raw_frame_s_observation_is_the_one_of_its_pixels():
    pixels = random_pixels(480, 640, 3)
    observation, size = observation_view(message("bgr8", pixels), 64, 64)
    assert np.array_equal(observation, image.observation_image(pixels[..., ::-1], 64, 64))
    assert size == (480, 640)
