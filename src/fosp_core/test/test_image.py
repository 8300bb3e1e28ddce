import cv2
import numpy as np
import pytest

from fosp_core.errors import UserError
from fosp_core.image import SETTLED_FRAMES, ExposureSettling, decoded_observation, decoded_rgb, observation_image


def test_the_centre_square_is_kept_and_the_sides_are_cut():
    frame = np.zeros((240, 320, 3), np.uint8)
    frame[:, 40:280] = 200
    assert (observation_image(frame, 64, 64) == 200).all()


def test_a_frame_of_the_right_size_is_returned_unchanged():
    frame = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert np.array_equal(observation_image(frame, 64, 64), frame)


def test_a_tall_frame_is_cropped_above_and_below():
    frame = np.zeros((320, 240, 3), np.uint8)
    frame[40:280] = 100
    assert (observation_image(frame, 64, 64) == 100).all()


@pytest.mark.parametrize(
    "frame", [np.zeros((240, 320), np.uint8), np.zeros((240, 320, 4), np.uint8), np.zeros((240, 320, 3), np.float32)]
)
def test_anything_but_rgb_bytes_is_refused(frame):
    with pytest.raises(UserError, match="must be"):
        observation_image(frame, 64, 64)


def told_of(brightness: list[float]) -> ExposureSettling:
    settling = ExposureSettling()
    for value in brightness:
        settling.add(np.full((48, 64, 3), value, np.uint8))
    return settling


def test_frames_of_one_brightness_have_settled_but_not_before_there_are_enough() -> None:
    assert told_of([90.0] * SETTLED_FRAMES).settled
    assert not told_of([90.0] * (SETTLED_FRAMES - 1)).settled


def test_a_ramp_has_not_settled_and_has_after_it_ended() -> None:
    ramp = [20.0 + 10 * i for i in range(10)]
    assert not told_of(ramp).settled
    assert told_of(ramp + [110.0] * SETTLED_FRAMES).settled


def textured(height: int, width: int, seed: int) -> np.ndarray:
    """A scene of edges, lettering and noise."""
    rng = np.random.default_rng(seed)
    picture = np.full((height, width, 3), rng.integers(60, 200, 3), np.float64)
    for _ in range(40):
        top, left = rng.integers(0, height - 20), rng.integers(0, width - 20)
        picture[top : top + rng.integers(5, 150), left : left + rng.integers(5, 150)] = rng.integers(0, 256, 3)
    for row in range(20, height, height // 8):
        cv2.putText(picture, "robot 0123", (row, row), cv2.FONT_HERSHEY_SIMPLEX, 0.7, rng.integers(0, 256, 3).tolist())
    return np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)


def jpeg(frame: np.ndarray, quality: int = 95) -> np.ndarray:
    return np.asarray(cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]).ravel()


@pytest.fixture
def modes(monkeypatch) -> list[int]:
    """The modes that OpenCV is told to decode in."""
    told: list[int] = []
    decode = cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda data, mode: told.append(mode) or decode(data, mode))
    return told


@pytest.mark.parametrize(
    ("rows", "columns", "half"),
    [
        (480, 640, True),
        (720, 1280, True),
        (400, 400, True),
        (382, 640, False),  # fewer than three pixels of the half per pixel of the observation
        (480, 642, False),  # the crop of the half would lie half a pixel beside the half of the crop
        (481, 640, False),
    ],
)
def test_a_jpeg_is_decoded_in_half_size_where_that_is_enough(rows, columns, half, modes):
    pixels, size = decoded_observation(jpeg(textured(rows, columns, 0)), "jpeg", 64, 64)
    assert modes == [cv2.IMREAD_REDUCED_COLOR_2 if half else cv2.IMREAD_COLOR]
    assert pixels.shape == (64, 64, 3)
    assert size == (rows, columns)


def test_a_whole_image_is_never_halved(modes):
    assert decoded_rgb(jpeg(textured(480, 640, 0)), "jpeg").shape == (480, 640, 3)
    assert modes == [cv2.IMREAD_COLOR]


@pytest.mark.parametrize("quality", [80, 95])
@pytest.mark.parametrize(("rows", "columns"), [(400, 400), (480, 640), (720, 1280)])
def test_an_observation_of_a_halved_jpeg_is_as_near_to_the_raw_image_as_that_of_the_whole(rows, columns, quality):
    halved_error, whole_error = [], []
    for seed in range(4):
        frame = textured(rows, columns, seed)
        raw = observation_image(frame, 64, 64).astype(float)
        data = jpeg(frame, quality)
        halved, _ = decoded_observation(data, "jpeg", 64, 64)
        whole = observation_image(decoded_rgb(data, "jpeg"), 64, 64)
        halved_error.append(np.abs(halved - raw).mean())
        whole_error.append(np.abs(whole - raw).mean())
    assert np.mean(halved_error) <= 1.1 * np.mean(whole_error)


def test_an_observation_of_a_png_is_that_of_the_raw_image():
    frame = textured(480, 640, 0)
    data = np.asarray(cv2.imencode(".png", frame[..., ::-1])[1]).ravel()
    observation, size = decoded_observation(data, "png", 64, 64)
    assert np.array_equal(observation, observation_image(frame, 64, 64))
    assert size == (480, 640)
