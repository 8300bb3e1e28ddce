"""The filter's recurrent state, on a world model that is written down here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_bundle import lenient_reference

from fosp_core.bundle.bundle import Bundle
from fosp_core.bundle.reference import FrameJudgement
from fosp_perception.encoder import Encoder, EncoderInputError, EncoderOutputError

SHAPE = (1, 8, 8, 3)
IMAGE = np.zeros(SHAPE, np.uint8)
STILL = np.zeros(2, np.float32)


class Counter:
    """A world model whose deter counts the steps of the episode, and whose stoch is the sum of its actions."""

    def __init__(self) -> None:
        self.broken = False

    def run(
        self,
        image: NDArray[np.uint8],
        deter: NDArray[np.float32],
        stoch: NDArray[np.float32],
        action: NDArray[np.float32],
        is_first: NDArray[np.float32],
    ) -> dict[str, NDArray[np.float32]]:
        assert image.shape == (1, *SHAPE)
        assert action.dtype == is_first.dtype == np.float32
        keep = 1.0 - is_first[0]
        surprise = np.array([np.nan if self.broken else image.mean()], np.float32)
        return {"next_deter": keep * deter + 1.0, "next_stoch": keep * (stoch + action.sum()), "kl": surprise}


@pytest.fixture
def model() -> Counter:
    return Counter()


@pytest.fixture
def encoder(model: Counter) -> Encoder:
    manifest = SimpleNamespace(
        observation=SimpleNamespace(shape=SHAPE),
        action=SimpleNamespace(size=2),
        latent=SimpleNamespace(deter=3, stoch=4),
    )
    reference = lenient_reference(SHAPE[0], 2)
    return Encoder(cast(Bundle, cast(Any, SimpleNamespace(encoder=model, manifest=manifest, reference=reference))))


def test_the_state_is_carried_from_step_to_step(encoder: Encoder) -> None:
    encoder.step(IMAGE, STILL, True)
    encoder.step(IMAGE, np.array([0.5, 0.25], np.float32), False)
    latent = encoder.step(np.full(SHAPE, 7, np.uint8), STILL, False)
    assert latent.deter.shape == (3,)
    assert latent.deter[0] == 3.0
    assert latent.stoch[0] == 0.75
    assert latent.surprise == 7.0


def test_frames_are_judged_after_their_latent_whether_or_not_somebody_calls_for_it(encoder: Encoder) -> None:
    judged: list[int] = []

    def judge(images: NDArray[np.uint8], executed: NDArray[np.float32], is_first: bool) -> FrameJudgement:
        judged.append(int(images.flat[0]))
        return FrameJudgement(float(images.flat[0]), 0.0, "")

    encoder._judge = cast(Any, SimpleNamespace(step=judge, reset=lambda: None))

    def shown(value: int) -> float:
        return encoder.step(np.full(SHAPE, value, np.uint8), STILL, value == 1).frames.novelty

    assert shown(1) == 1.0  # a first step waits: nothing may move on a picture that nobody looked at
    assert shown(2) == 1.0
    encoder.judge_frames()
    encoder.judge_frames()
    assert judged == [1, 2]
    assert shown(3) == 2.0
    assert shown(4) == 3.0
    assert judged == [1, 2, 3]
    assert shown(1) == 1.0


def test_a_first_step_forgets_the_past(encoder: Encoder) -> None:
    encoder.step(IMAGE, STILL, True)
    assert encoder.step(IMAGE, STILL, True).deter[0] == 1.0


def test_the_step_after_construction_or_reset_is_a_first_step_though_it_is_not_called_one(encoder: Encoder) -> None:
    assert encoder.step(IMAGE, STILL, False).deter[0] == 1.0
    encoder.reset()
    assert encoder.step(IMAGE, STILL, False).deter[0] == 1.0


@pytest.mark.parametrize(
    ("image", "action"),
    [
        (np.zeros((1, 8, 9, 3), np.uint8), STILL),
        (np.zeros((8, 8, 3), np.uint8), STILL),
        (np.zeros(SHAPE, np.float32), STILL),
        (IMAGE, np.zeros(3, np.float32)),
        (IMAGE, np.array([np.nan, 0.0], np.float32)),
    ],
)
def test_a_wrong_input_is_refused_and_leaves_the_state_alone(
    encoder: Encoder, image: NDArray[Any], action: NDArray[np.float32]
) -> None:
    encoder.step(IMAGE, STILL, True)
    with pytest.raises(EncoderInputError):
        encoder.step(image, action, False)
    assert encoder.step(IMAGE, STILL, False).deter[0] == 2.0


def test_an_output_that_is_not_finite_voids_the_state(encoder: Encoder, model: Counter) -> None:
    encoder.step(IMAGE, STILL, True)
    model.broken = True
    with pytest.raises(EncoderOutputError):
        encoder.step(IMAGE, STILL, False)
    model.broken = False
    assert encoder.step(IMAGE, STILL, False).deter[0] == 1.0
