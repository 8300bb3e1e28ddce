import array

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image

from fosp_core.errors import UserError
from fosp_core.ros import image_message
from fosp_core.ros.image_message import fill_depth, fill_image, image_view, rgb_view


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


def test_an_encoding_that_needs_cv_bridge_says_so_where_there_is_none():
    with pytest.raises(UserError, match=r"bayer_rggb8.*cv_bridge"):
        rgb_view(message("bayer_rggb8", random_pixels(4, 5)))


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
    monkeypatch.setattr(image_message, "MAX_IMAGE_BYTES", 100)
    message = Image(height=10, width=10, step=30, encoding="rgb8", data=array.array("B", bytes(300)))
    with pytest.raises(UserError, match="300 bytes is larger than a camera's"):
        image_view(message)


def test_a_compressed_image_is_read_as_rgb_and_a_damaged_one_is_refused():
    pixels = random_pixels(8, 12, 3)
    png = cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()
    assert np.array_equal(rgb_view(CompressedImage(format="rgb8; png compressed bgr8", data=png)), pixels)
    jpeg = cv2.imencode(".jpg", pixels)[1].tobytes()
    for data in (jpeg[: len(jpeg) // 2], b"", b"text"):
        with pytest.raises(UserError, match="cannot be decoded"):
            rgb_view(CompressedImage(format="jpeg", data=data))


def test_depth_in_millimetres_reads_back():
    target, depth = Image(), random_pixels(4, 6, dtype=np.uint16) * 100
    fill_depth(target, depth)
    assert target.encoding == "16UC1"
    assert np.array_equal(image_view(target), depth)
    with pytest.raises(UserError, match="uint16"):
        fill_depth(target, depth.astype(np.float32))
