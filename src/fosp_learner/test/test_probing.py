"""Probes are made of validation episodes, and the gate asks of a candidate's judge what the robot will ask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import EPS, tiny_probes, write_tiny_bundle

from fosp_core.bundle.agreement import disagreements, scores_of
from fosp_core.bundle.bundle import Bundle, load_bundle, read_manifest
from fosp_core.bundle.probes import BEFORE, PROBES, SAFE, UNKNOWN
from fosp_core.errors import UserError
from fosp_core.robot.config import read_robot
from fosp_learner.bundling.probing import FRAMES, SEQUENCES, JudgeNetworks, make_probes, with_probes
from fosp_learner.data.bags import Episode
from fosp_learner.data.dataset import Dataset, from_episodes
from fosp_learner.finetuning.parent_judge import ParentJudge

ARM = read_robot(Path(__file__).parents[3] / "config" / "robots" / "sim_arm.yaml")
LENGTH = 24


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    write_tiny_bundle(folder, ARM, calibration={"horizon_steps": 1})
    return load_bundle(folder, provider="cpu")


def episodes(violating: int, safe: int) -> Dataset:
    """Episodes in which an action of a risk above EPS, and no other, leads to a violation at the next row."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(violating + safe):
        action = rng.uniform(-0.4, 0.4, (LENGTH, 3)).astype(np.float32)
        cost = np.zeros(LENGTH, np.float32)
        if number < violating:
            action[18, 0], cost[19] = 0.9, 1.0
        found.append(
            Episode(
                name=f"episode_{number}",
                images=rng.integers(0, 128, (LENGTH, 1, 64, 64, 3), np.uint8),
                action=action,
                reward=np.zeros(LENGTH, np.float32),
                cost=cost,
                is_terminal=np.zeros(LENGTH, np.bool_),
                success=number >= violating,
            )
        )
    return from_episodes(found)


def networks(bundle: Bundle) -> JudgeNetworks:
    return JudgeNetworks(bundle.encoder, bundle.policy, bundle.critic)


def test_the_executed_action_of_a_probe_is_the_one_before_a_violation_or_a_safe_one(
    bundle: Bundle,
) -> None:
    probes = make_probes(networks(bundle), bundle.manifest, episodes(30, 30))
    assert {label: probes.count(label) for label in SEQUENCES} == SEQUENCES
    assert probes.images.shape[1] == FRAMES
    executed = probes.actions[:, 0, 0]
    assert (executed[probes.labels == BEFORE] == np.float32(0.9)).all()
    assert (executed[probes.labels != BEFORE] < EPS).all()
    own = scores_of(bundle, probes)
    assert disagreements(own, own, probes) == []
    telling = own.vetoed[probes.labels == UNKNOWN]
    assert telling.any(axis=1).all(), "moments at which the action matters"


def test_the_same_seed_makes_the_same_probes(bundle: Bundle) -> None:
    data = episodes(12, 12)
    first, second, other = (make_probes(networks(bundle), bundle.manifest, data, seed) for seed in (0, 0, 1))
    assert np.array_equal(first.actions, second.actions)
    assert not np.array_equal(first.actions, other.actions)


@pytest.mark.parametrize(
    ("violating", "safe", "said"), [(7, 30, "8 validation episodes with a violation"), (30, 3, "there are 3")]
)
def test_too_few_episodes_make_no_probes_and_the_bundle_goes_without(
    bundle: Bundle, violating: int, safe: int, said: str
) -> None:
    data = episodes(violating, safe)
    with pytest.raises(UserError, match=said):
        make_probes(networks(bundle), bundle.manifest, data)
    files: dict[str, Path | bytes] = {name: bundle.directory / name for name in bundle.manifest.files}
    files.pop(PROBES)
    same, why = with_probes(files, bundle.manifest, data, 0)
    assert same == files
    assert "cannot swap from it" in why


def test_a_bundle_that_misses_its_own_violations_makes_no_probes(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "blind", ARM, judge=(0.0, 0.0), probes=False, calibration={"horizon_steps": 1})
    blind = load_bundle(tmp_path / "blind", provider="cpu")
    with pytest.raises(UserError, match="tolerates a share of 1"):
        make_probes(networks(blind), blind.manifest, episodes(12, 12))


# -- the gate ----------------------------------------------------------------------------------------
def refusals(folder: Path, probes: bool = True, robot_ceiling: float = 0.5, **candidate: object) -> list[str]:
    write_tiny_bundle(folder / "parent", ARM, probes=probes)
    write_tiny_bundle(folder / "candidate", ARM, seed=1, **candidate)  # type: ignore[arg-type]
    manifest = read_manifest(folder / "candidate")
    files: dict[str, Path | bytes] = {name: folder / "candidate" / name for name in manifest.files}
    robot = ARM.model_copy(update={"eps_ceiling": robot_ceiling})
    judge = ParentJudge(folder / "parent", read_manifest(folder / "parent"), robot)
    assert judge.probe_files() == ({PROBES: folder / "parent" / PROBES} if probes else {})
    return judge.refusals(files, manifest)


def test_a_candidate_that_the_robot_would_refuse_does_not_pass_the_gate(tmp_path: Path) -> None:
    assert refusals(tmp_path / "fit") == []
    zero = refusals(tmp_path / "zero", judge=(0.0, 0.0))
    assert "its judge disagrees: it lets pass 10 of 10 actions before a violation (at most 3)" in zero
    assert any("unsupported, unlike" in one for one in refusals(tmp_path / "no", calibration={"supported": False}))
    assert any("eps_ceiling" in one for one in refusals(tmp_path / "high", robot_ceiling=0.4))


def test_without_probes_the_gate_asks_for_the_calibration_alone(tmp_path: Path) -> None:
    assert refusals(tmp_path / "zero", probes=False, judge=(0.0, 0.0)) == []
    assert tiny_probes(read_manifest(tmp_path / "zero" / "parent")).count(SAFE) == 10
