"""Before a swap the candidate's judge is held against the running one on the probes and on the last frames."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_bundle import write_tiny_bundle

from fosp_core.bundle.bundle import Bundle, load_bundle
from fosp_core.robot.config import read_robot
from fosp_perception.agreement_on_frames import agreement_failure
from fosp_perception.encoder import Encoder, History, Moment, WarmUp

ARM = read_robot(Path(__file__).parents[3] / "config" / "robots" / "sim_arm.yaml")
STILL = np.zeros(3, np.float32)


def bundle(folder: Path, **options: Any) -> Bundle:
    write_tiny_bundle(folder, ARM, **options)
    return load_bundle(folder, provider="cpu")


def moments(count: int) -> list[Moment]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 100, (count, 1, 64, 64, 3), np.uint8)
    return [Moment(i, image, STILL, i == 0) for i, image in enumerate(images)]


@pytest.mark.parametrize("count", [0, 3, 40])
def test_a_fit_judge_agrees_on_any_number_of_frames(tmp_path: Path, count: int) -> None:
    running, candidate = bundle(tmp_path / "a"), bundle(tmp_path / "b", seed=1)
    assert agreement_failure(running, candidate, running.probes, moments(count)) == ""


def test_a_judge_that_fails_the_probes_fails_and_so_does_one_that_no_probes_can_test(tmp_path: Path) -> None:
    running, zero = bundle(tmp_path / "a"), bundle(tmp_path / "b", judge=(0.0, 0.0))
    assert "actions before a violation" in agreement_failure(running, zero, running.probes, [])
    assert "holds no probes" in agreement_failure(running, running, None, [])


class BrightBlind:
    """An encoder that is fit on the dark frames of the probes, and not a number on brighter ones."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def run(self, **inputs: Any) -> dict[str, Any]:
        output = dict(self._model.run(**inputs))
        if inputs["image"].max() >= 128:
            output["next_deter"] = output["next_deter"] + np.float32(10)
        return output


class ByLatent:
    """A critic that finds nothing risky where the latent is out of the ordinary."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def run(self, **inputs: Any) -> dict[str, Any]:
        output = dict(self._model.run(**inputs))
        if inputs["deter"].max() > 5:
            output["q_h"] = output["q_h"] * 0
        return output


def test_a_judge_that_is_fit_on_the_probes_and_blind_on_what_the_robot_sees_now_fails(tmp_path: Path) -> None:
    import dataclasses

    running, candidate = bundle(tmp_path / "a"), bundle(tmp_path / "b", seed=1)
    blind = dataclasses.replace(candidate, encoder=BrightBlind(candidate.encoder), critic=ByLatent(candidate.critic))
    bright = [Moment(m.number, m.images + np.uint8(128), m.executed, m.is_first) for m in moments(40)]
    assert agreement_failure(running, candidate, running.probes, bright) == ""
    assert agreement_failure(running, blind, running.probes, []) == ""
    assert "on the last frames" in agreement_failure(running, blind, running.probes, bright)


def test_a_warm_up_ends_with_the_failure_of_its_test_and_replays_nothing(tmp_path: Path) -> None:
    loaded = bundle(tmp_path / "a")
    history = History()
    for moment in moments(5):
        history.append(moment.images, moment.executed, moment.is_first)

    def raising(seen: list[Moment]) -> str:
        raise ValueError("broken")

    for test, said in (
        (lambda seen: f"{len(seen)} frames", "5 frames"),
        (raising, "its judge cannot be tested: broken"),
        (lambda seen: "", ""),
    ):
        warm_up = WarmUp("id", Encoder(loaded), history, test)
        deadline = time.monotonic() + 10
        while not warm_up.ready:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        warm_up.finish()
        assert warm_up.failure == said
