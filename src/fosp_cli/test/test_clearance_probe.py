"""The probe of what an encoder knows of the distance from obstacles."""

from __future__ import annotations

import numpy as np
import pytest

from fosp_bringup.paths import share
from fosp_cli.experiments.clearance_probe import NEAR_M, Probe, ProbeError, Seen, frames
from fosp_core.bundle.bundle import load_bundle
from fosp_core.errors import UserError
from fosp_core.specs import parse_spec
from fosp_sim.task.scenario import Scenario


def seen(count: int, seed: int, known: bool = True) -> Seen:
    """Latents that tell the clearance, bent, or nothing."""
    rng = np.random.default_rng(seed)
    clearance = rng.uniform(0.0, 0.3, count)
    told = clearance if known else rng.uniform(0.0, 0.3, count)
    signal = np.stack([np.sin(8 * told), np.cos(8 * told)], 1)
    return Seen(np.hstack([signal, rng.standard_normal((count, 6))]).astype(np.float32), clearance)


def test_it_reads_what_the_latent_tells_and_nothing_else() -> None:
    told, untold = (Probe(seen(3000, 0, known)).error(seen(600, 1, known)) for known in (True, False))
    assert told.mean < 0.01
    assert abs(told.bias) < 0.01
    assert untold.mean > 0.05, "guessing the mean is all that is left"
    assert 100 < told.frames < 300


def test_only_frames_near_an_obstacle_count() -> None:
    probe = Probe(seen(3000, 0))
    far = seen(600, 1)
    far = Seen(far.latent[far.clearance > NEAR_M], far.clearance[far.clearance > NEAR_M])
    found: ProbeError = probe.error(far)
    assert found.frames == 0
    assert np.isnan(found.median)


def test_frames_hold_the_true_distance_of_each_third_step() -> None:
    bundle = load_bundle(share() / "models" / "safe_reach", provider="cpu")
    scenario = parse_spec(Scenario, {"task": "safe_reach", "max_steps": 8}, "")
    found = frames(bundle, scenario, 2)
    assert found.latent.shape == (6, bundle.manifest.latent.deter)
    assert (found.clearance > 0).all()
    with pytest.raises(UserError, match="task 'safe_reach', the scenario is 'safe_goal'"):
        frames(bundle, parse_spec(Scenario, {"task": "safe_goal"}, ""), 1)
