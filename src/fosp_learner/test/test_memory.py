"""The actor's memory of earlier images: what it holds, who sees it, and that it learns what one image does not show."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from tiny_networks import TINY

from fosp_core.bundle.bundle import load_bundle, write_bundle
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import CameraSpec, ObservationSpec
from fosp_learner import config as learner_config
from fosp_learner.bundling.export import export_networks
from fosp_learner.config import LearnerConfig
from fosp_learner.data.bags import Episode
from fosp_learner.data.dataset import Dataset, from_episodes
from fosp_learner.finetuning.config import FinetuneConfig
from fosp_learner.finetuning.config import learner_config as finetune_settings
from fosp_learner.model.networks import ImageMemory
from fosp_learner.training.checkpoint import load_checkpoint, network_tensors, save_checkpoint
from fosp_learner.training.filtering import filter_episodes
from fosp_learner.training.trainer import Trainer

pytestmark = pytest.mark.slow

UNITS = 6
OBSERVATION = ObservationSpec(cameras=(CameraSpec(height=32, width=32),))


@pytest.fixture(scope="module", autouse=True)
def tiny_networks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(learner_config.SIZES, "nano", TINY)
        yield


def settings(**changes: object) -> LearnerConfig:
    given = {
        "steps": 3,
        "cloning": {"share": 1.0, "batch_size": 4},
        "refinement": {"share": 1.0, "batch_size": 2},
        "extraction": {"memory": UNITS, "share": 1.0, "batch_size": 2, "sequence_length": 12},
        "batch_size": 2,
        "sequence_length": 5,
        "bf16": False,
    }
    return LearnerConfig.model_validate(given | changes)


@pytest.fixture(scope="module")
def data(make_episode: Callable[..., Episode]) -> Dataset:
    return from_episodes([make_episode(8 + i % 3, i, violates=i % 2 == 0) for i in range(6)])


@pytest.fixture(scope="module")
def trainer(data: Dataset) -> Trainer:
    trained = Trainer(settings(), data)
    for _ in range(trained.config.total_steps):
        trained.train_step()
    return trained


def test_memory_runs_over_the_images_of_one_episode_only():
    torch.manual_seed(0)
    memory, embed = ImageMemory(5, UNITS), torch.randn(1, 6, 5)
    first = torch.tensor([[True, False, False, True, False, False]])
    found = memory(embed, first)
    state = torch.zeros(1, UNITS)
    for t in range(6):
        state = memory.step(embed[:, t], torch.zeros(1, UNITS) if first[0, t] else state)
        torch.testing.assert_close(found[:, t], state)
    torch.testing.assert_close(found[:, 3:], memory(embed[:, 3:], first[:, 3:]))


def test_the_encoder_carries_the_memory_as_training_computed_it(trainer: Trainer, data: Dataset):
    behaviour = trainer.behaviour
    files = export_networks(trainer.world_model, behaviour.actor, behaviour.actor, behaviour.critics)
    session = ort.InferenceSession(files["encoder.onnx"])
    expected = next(filter_episodes(trainer.world_model, data))
    network = trainer.config.network
    deter, stoch = np.full((1, network.carried), 7, np.float32), np.full((1, TINY.stoch), 7, np.float32)
    for t in range(data.episodes[0].length):
        image, action = expected.batch.images[:, t].numpy(), expected.batch.action_prev[:, t].numpy()
        fed = {"image": image, "deter": deter, "stoch": stoch, "action": action}
        fed["is_first"] = np.array([t == 0], np.float32)
        deter, stoch, _ = session.run(["next_deter", "next_stoch", "kl"], fed)
        feature = np.concatenate([deter, stoch], -1)[0]
        np.testing.assert_allclose(feature, expected.latents.feature[t].numpy(), atol=1e-4)


def test_actors_see_memory_and_image_critics_all_but_memory(trainer: Trainer):
    network = trainer.config.network
    feature = torch.randn(1, network.feature, requires_grad=True)
    seen: dict[str, torch.Tensor] = {}
    for name, output in (
        ("actor", trainer.behaviour.actor(feature)[0].sum()),
        ("q", sum(x.sum() for x in trainer.behaviour.critics.q(feature, torch.zeros(1, 3)))),
        ("v", sum(x.sum() for x in trainer.behaviour.critics.v(feature))),
    ):
        seen[name] = torch.autograd.grad(output, feature)[0][0] != 0
    parts = dict(zip("mhez", seen["actor"].split([UNITS, TINY.recurrent, TINY.embed, TINY.stoch]), strict=True))
    assert {name: bool(part.any()) for name, part in parts.items()} == {"m": True, "h": False, "e": True, "z": False}
    for name in "qv":
        assert not seen[name][:UNITS].any()
        assert seen[name][UNITS:].any()


def test_the_last_phase_moves_memory_and_actor_alone(data: Dataset):
    trainer = Trainer(settings(), data)
    while trainer.step < sum(trainer.config.phases[:3]):
        trainer.train_step()
    before = {name: tensor.clone() for name, tensor in network_tensors(trainer).items()}
    trainer.train_step()
    moved = {name for name, tensor in network_tensors(trainer).items() if not torch.equal(tensor, before[name])}
    assert moved
    assert all(name.startswith(("world_model.memory.", "behaviour.actor.")) for name in moved), moved
    assert any(name.startswith("world_model.memory.") for name in moved)


def test_an_interrupted_extraction_goes_on_exactly(data: Dataset, tmp_path: Path):
    whole = Trainer(settings(), data)
    total = whole.config.total_steps
    for _ in range(total):
        whole.train_step()
    half = Trainer(settings(), data)
    for _ in range(total - 2):
        half.train_step()
    save_checkpoint(half, data.key, tmp_path / "checkpoint")
    rest = Trainer(settings(), data)
    load_checkpoint(rest, data.key, tmp_path / "checkpoint")
    for _ in range(2):
        rest.train_step()
    expected = network_tensors(whole)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in network_tensors(rest).items())


@pytest.mark.timeout(400)  # half a minute of a core that does nothing else
def test_what_an_earlier_image_showed_is_acted_on(make_episode: Callable[..., Episode]):
    """The first image alone says which way to go; a memoryless actor can only guess the sign."""
    episodes = []
    for i in range(24):
        episode = make_episode(10, i)
        images = np.full_like(episode.images, 90)
        images[0, :, :, : 16 if i % 2 else 32] = 220
        action = np.full_like(episode.action, 0.8 if i % 2 else -0.8)
        episodes.append(replace(episode, images=images, action=action))
    found = from_episodes(episodes)
    errors = {}
    for units in (0, UNITS):
        extraction = {"memory": units, "share": 40.0, "batch_size": 16, "sequence_length": 11, "embed_noise": 0.0}
        trainer = Trainer(settings(steps=4, cloning={"share": 20.0, "batch_size": 16}, extraction=extraction), found)
        for _ in range(trainer.config.total_steps):
            trainer.train_step()
        wrong = []
        for episode in filter_episodes(trainer.world_model, found):
            mean = trainer.behaviour.actor(episode.latents.feature[1:-1])[0]
            wrong.append((mean.sign() != episode.batch.action_prev[0, 2:].sign()).float().mean())
        errors[units] = float(torch.stack(wrong).mean())
    assert errors[0] > 0.4
    assert errors[UNITS] < 0.1


def test_a_bundle_with_a_memory_is_written_loaded_and_fine_tuned(
    trainer: Trainer, data: Dataset, robot: RobotConfig, assemble: Callable[..., Any], tmp_path: Path
):
    provenance = {"config": trainer.config.model_dump(mode="json")}
    manifest, files = assemble(trainer, data, robot, "safe_goal", OBSERVATION, provenance)
    written = write_bundle(tmp_path / "bundle", manifest, files)
    assert written.latent.deter == trainer.config.network.carried == UNITS + TINY.recurrent + TINY.embed
    load_bundle(tmp_path / "bundle", robot)
    again = finetune_settings(written, FinetuneConfig())
    assert again.network == trainer.config.network
    assert again.phases[3] == 0
