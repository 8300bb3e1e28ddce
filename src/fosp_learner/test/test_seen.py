"""A bundle tells what it was trained on, and nothing of that calibrates what comes after it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_networks import TINY

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_learner import config as learner_config
from fosp_learner import pretrain as module
from fosp_learner.bundling.seen import SEEN, read_seen, seen_bytes
from fosp_learner.bundling.training_weights import read_weights
from fosp_learner.config import LearnerConfig
from fosp_learner.data.bags import Episode
from fosp_learner.data.dataset import Dataset, from_episodes, split
from fosp_learner.report.run import begun_with
from fosp_learner.training.checkpoint import network_tensors
from fosp_learner.training.trainer import Trainer

SETTINGS = {
    "steps": 1,
    "batch_size": 2,
    "sequence_length": 4,
    "validation_share": 0.5,
    "cloning": {"batch_size": 4},
    "refinement": {"batch_size": 2},
    "calibration": {"lens_steps": 1},
}


def test_hashes_are_read_as_they_were_written(tmp_path: Path) -> None:
    assert read_seen(tmp_path) is None
    (tmp_path / "training").mkdir()
    known = {"00000000000000ff", "ffffffffffffffff", "0123456789abcdef"}
    (tmp_path / SEEN).write_bytes(seen_bytes([*known, "", "00000000000000ff"]))
    assert read_seen(tmp_path) == known
    for damaged in (b"", seen_bytes(known)[:100], b"nonsense"):
        (tmp_path / SEEN).write_bytes(damaged)
        with pytest.raises(UserError, match=r"seen\.npy: damaged"):
            read_seen(tmp_path)


def named(episodes: list[Episode]) -> Dataset:
    """A data set whose episodes have hashes."""
    data = from_episodes(episodes)
    return data.of([type(e)(**{**vars(e), "content": f"{i:016x}"}) for i, e in enumerate(data.episodes)])


@pytest.mark.parametrize("seed", range(5))
def test_what_was_seen_is_never_held_out_and_without_it_the_split_is_as_ever(
    episodes: list[Episode], seed: int
) -> None:
    data = named(episodes)
    seen = {f"{i:016x}" for i in range(5)}
    training, validation = split(data, 0.5, seed, seen)
    held_out = {e.content for e in validation.episodes}
    assert held_out
    assert held_out.isdisjoint(seen)
    assert {e.content for e in training.episodes} | held_out == {e.content for e in data.episodes}
    trained = {e.content for e in split(data, 0.5, seed)[0].episodes}
    again = split(data, 0.5, seed + 1, trained)
    assert {e.content for e in again[0].episodes} == trained, "the same data are divided as they were, by any seed"
    with pytest.raises(UserError, match="trained on all of these episodes"):
        split(data, 0.5, seed, {e.content for e in data.episodes})


@pytest.fixture
def train(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, robot: RobotConfig
) -> Callable[..., tuple[Path, Dataset, Dataset, dict[str, torch.Tensor]]]:
    """Pre-train on folders; return the bundle, its training and validation episodes, and the weights it began with."""
    monkeypatch.setitem(learner_config.SIZES, "nano", TINY)
    monkeypatch.setattr(module, "report_of", lambda *_: None)
    divided: list[tuple[Dataset, Dataset]] = []
    begun: list[dict[str, torch.Tensor]] = []

    def dividing(*given: Any) -> tuple[Dataset, Dataset]:
        divided.append(split(*given))
        return divided[-1]

    def training(trainer: Trainer, *others: Any) -> None:
        begun.append({name: tensor.clone() for name, tensor in network_tensors(trainer).items()})
        real(trainer, *others)

    real = module.train
    monkeypatch.setattr(module, "split", dividing)
    monkeypatch.setattr(module, "train", training)

    def make(name: str, folders: list[Path], **more: Any) -> tuple[Path, Dataset, Dataset, dict[str, torch.Tensor]]:
        settings = LearnerConfig.model_validate(SETTINGS)
        out, runs = tmp_path / name, tmp_path / "runs"
        module.pretrain(folders, out, [robot], settings, runs=runs, device="cpu", **more)
        return out, *divided[-1], begun[-1]

    return make


def test_a_training_begins_with_a_bundle_and_holds_out_what_that_has_not_seen(
    train: Callable[..., Any],
    tmp_path: Path,
    write_bag: Callable[..., Path],
    robot: RobotConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for i in range(8):
        write_bag(f"old_{i}", frames=21, size=(64, 64), cost_at=16 if i % 2 else -1, last_at=20, speed=0.01 * i)
    old = [tmp_path / "bags"]
    first, trained, _, _ = train("first", old)
    seen = {e.content for e in trained.episodes}
    assert read_seen(first) == seen
    for i in range(4):
        write_bag(f"new_{i}", frames=21, size=(64, 64), cost_at=16 if i % 2 else -1, last_at=20, speed=0.1 + 0.01 * i)
    told: list[str] = []
    second, trained, validation, weights = train("second", old, begin_with=first, warn=told.append)
    assert not any("does not tell" in line for line in told)
    assert {e.content for e in validation.episodes}.isdisjoint(seen)
    assert read_seen(second) == seen | {e.content for e in trained.episodes}
    before = read_weights(first)
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights.items())
    assert begun_with(tmp_path / "runs" / "pretrain" / "second") == str(first)

    away = second.rename(tmp_path / "away")
    with pytest.raises(UserError, match=r"second began with .*first: resume it without --from"):
        train("second", old, begin_with=away, resume=True)
    away.rename(second)
    settings = LearnerConfig.model_validate({**SETTINGS, "size": "small"})
    facts = module.RunFacts(task="safe_reach", robot=robot, observation=settings.observation, bundle="")
    with pytest.raises(UserError, match="size is another one"):
        module.Start.of(second, facts, settings)
    monkeypatch.setattr(module, "read_seen", lambda bundle: None)
    third, *_ = train("third", old, begin_with=first, warn=told.append)
    assert any(line.startswith(f"{first} does not tell which episodes") for line in told)
    assert not (third / SEEN).exists(), "half of the truth would be taken for the whole"
    (first / SEEN).unlink()
    with pytest.raises(UserError, match="missing"):
        train("fourth", old, begin_with=first)
