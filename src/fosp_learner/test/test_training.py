import errno
import os
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_networks import TINY

from fosp_core.errors import UserError
from fosp_learner import config as learner_config
from fosp_learner.config import ImaginationConfig, LearnerConfig
from fosp_learner.data.bags import Episode
from fosp_learner.data.dataset import Dataset, from_episodes
from fosp_learner.data.samplers import FrameSampler
from fosp_learner.model.world_model import WorldModel
from fosp_learner.report.run import require_new_run
from fosp_learner.training.behaviour import Behaviour
from fosp_learner.training.checkpoint import load_checkpoint, network_tensors, read_checkpoint, save_checkpoint
from fosp_learner.training.phases import TrainingDiverged
from fosp_learner.training.trainer import Trainer

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def tiny_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(learner_config.SIZES, "nano", TINY)


@pytest.fixture
def data(episodes: list[Episode]) -> Dataset:
    return from_episodes(episodes)


def config(**changes: object) -> LearnerConfig:
    values = {"steps": 6, "world_model_warmup": 0.3, "batch_size": 2, "sequence_length": 5, "bf16": False}
    values["refinement"] = {"share": 0.34, "batch_size": 2}
    values["cloning"] = {"share": 0.0}
    values["world_model"] = {"actor_gradient_scale": 0.0, "critic_gradient_scale": 0.0}
    return LearnerConfig.model_validate(values | changes)


def same(one: Trainer, other: Trainer) -> bool:
    tensors = network_tensors(other)
    return all(torch.equal(tensor, tensors[name]) for name, tensor in network_tensors(one).items())


@pytest.mark.parametrize("interrupted_at", [1, 3, 7])
def test_a_resumed_run_equals_an_uninterrupted_one(data: Dataset, tmp_path: Path, interrupted_at: int):
    settings = config(steps=4, cloning={"share": 0.5, "batch_size": 3}, refinement={"share": 0.5, "batch_size": 2})
    straight = Trainer(settings, data)
    for _ in range(8):
        straight.train_step()
    interrupted = Trainer(settings, data)
    for _ in range(interrupted_at):
        interrupted.train_step()
    save_checkpoint(interrupted, "key", tmp_path / "checkpoint")
    torch.manual_seed(99)
    resumed = Trainer(settings, data)
    load_checkpoint(resumed, "key", tmp_path / "checkpoint")
    for _ in range(8 - interrupted_at):
        resumed.train_step()
    assert resumed.step == 8
    assert same(straight, resumed)


def test_a_checkpoint_of_other_data_or_settings_is_refused(data: Dataset, tmp_path: Path):
    save_checkpoint(Trainer(config(), data), "key", tmp_path / "checkpoint")
    with pytest.raises(UserError, match="other bags"):
        load_checkpoint(Trainer(config(), data), "another", tmp_path / "checkpoint")
    with pytest.raises(UserError, match="another seed"):
        load_checkpoint(Trainer(config(seed=1), data), "key", tmp_path / "checkpoint")
    with pytest.raises(UserError, match="no checkpoint"):
        load_checkpoint(Trainer(config(), data), "key", tmp_path / "nowhere")


def test_more_steps_may_be_asked_for_on_resume(data: Dataset, tmp_path: Path):
    save_checkpoint(Trainer(config(), data), "key", tmp_path / "checkpoint")
    load_checkpoint(Trainer(config(steps=9), data), "key", tmp_path / "checkpoint")


def test_warm_up_leaves_critics_and_actor_alone(data: Dataset):
    trainer = Trainer(config(), data)
    before = {n: t.clone() for n, t in network_tensors(trainer).items()}
    trainer.train_step()
    after = network_tensors(trainer)
    changed = {name.split(".")[0] for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed == {"world_model"}


def test_cloning_trains_image_encoder_and_actor_alone(data: Dataset):
    trainer = Trainer(config(cloning={"share": 0.17, "batch_size": 3}), data)
    before = {n: t.clone() for n, t in network_tensors(trainer).items()}
    trainer.train_step()
    changed = {n for n, t in network_tensors(trainer).items() if not torch.equal(t, before[n])}
    assert {name.rsplit(".", 1)[0].split(".")[1] for name in changed} == {"encoder", "actor"}
    trainer.train_step()
    assert "world_model/kl" in trainer.train_step(), "the full updates follow"


def test_only_good_episodes_are_cloned(make_episode: Callable[..., Episode]):
    good, bad = make_episode(4, 0), make_episode(5, 1)
    good = Episode(**{**vars(good), "success": True, "cost": np.zeros_like(good.cost)})
    bad = Episode(**{**vars(bad), "success": True, "cost": np.ones_like(bad.cost)})
    good.images[:], bad.images[:] = 10, 200
    images, action = FrameSampler(from_episodes([bad, good])).batch(64)
    assert images.max() == 10
    assert {tuple(a) for a in action.tolist()} <= {tuple(a) for a in good.action[:-1].tolist()}
    assert FrameSampler(from_episodes([bad, good]), all_episodes=True).batch(64)[0].max() == 200, (
        "unless all are asked for"
    )


def test_an_actor_that_sees_past_actions_cannot_be_cloned_from_single_frames():
    with pytest.raises(ValueError, match="does not see the image alone"):
        config(cloning={"share": 0.5}, actor={"sees": "all"})


def test_critics_and_actor_send_no_gradient_into_the_world_model(data: Dataset):
    trainers = []
    for warmup in (0.0, 0.9):
        trainers.append(Trainer(config(world_model_warmup=warmup), data))
        trainers[-1].train_step()
    with_behaviour, alone = trainers
    for name, tensor in with_behaviour.world_model.state_dict().items():
        assert torch.equal(tensor, alone.world_model.state_dict()[name]), name


def test_imagination_trains_without_the_data_losses_changing_meaning(data: Dataset):
    trainer = Trainer(
        config(world_model_warmup=0.0, imagination=ImaginationConfig(weight=1.0, starts=4, horizon=3)), data
    )
    figures = trainer.train_step()
    assert np.isfinite(figures["behaviour/imagined_return"])


def test_a_loss_that_is_not_finite_stops_with_step_and_culprit(make_episode: Callable[..., Episode]):
    broken = make_episode(9, 0)
    broken.reward[1:] = np.nan
    trainer = Trainer(config(), from_episodes([broken]))
    with pytest.raises(TrainingDiverged, match=r"step 0: world_model/reward is nan"):
        trainer.train_step()


def test_the_world_model_learns_one_episode_by_heart(make_episode: Callable[..., Episode]):
    episode = make_episode(6, 0)
    smooth = Episode(**{**vars(episode), "images": np.full_like(episode.images, 60)})
    settings = config(steps=100, learning_rate_warmup=0, world_model={"learning_rate": 3e-3}, world_model_warmup=0.99)
    trainer = Trainer(settings, from_episodes([smooth]))
    losses = [trainer.train_step()["world_model/reconstruction"] for _ in range(100)]
    assert losses[-1] < 0.1 * losses[0]


def test_a_full_disk_is_one_line_and_leaves_the_last_checkpoint_whole(data: Dataset, tmp_path: Path):
    trainer = Trainer(config(), data)
    save_checkpoint(trainer, "key", tmp_path / "checkpoint")
    before = {path.name: path.read_bytes() for path in (tmp_path / "checkpoint").iterdir()}
    trainer.train_step()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(UserError, match="the checkpoint cannot be written"):
            save_checkpoint(trainer, "key", tmp_path / "checkpoint")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_bytes() for path in (tmp_path / "checkpoint").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_a_checkpoint_that_was_being_replaced_when_the_process_ended_is_put_back(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    trainer, checkpoint = Trainer(config(), data), tmp_path / "checkpoint"
    save_checkpoint(trainer, "key", checkpoint)
    before = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    rename = os.rename

    def fail(source: Path, target: Path) -> None:
        if target == checkpoint and ".old" not in source.name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(UserError, match="the checkpoint cannot be written"):
        save_checkpoint(trainer, "key", checkpoint)
    assert {path.name: path.read_bytes() for path in checkpoint.iterdir()} == before
    monkeypatch.setattr(os, "rename", rename)
    checkpoint.rename(tmp_path / ".checkpoint.old")  # a kill at this moment
    with pytest.raises(UserError, match="holds the checkpoint of a run"):
        require_new_run(tmp_path)
    assert read_checkpoint(checkpoint)["step"] == 0


def test_a_gradient_that_is_not_finite_stops_before_any_network_is_touched(data: Dataset):
    trainer = Trainer(config(world_model_warmup=0.0), data)
    before = {name: tensor.clone() for name, tensor in network_tensors(trainer).items()}
    trainer.behaviour.critics.q.q_h.net.output.weight.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(TrainingDiverged, match=r"step 0: the gradient of critics is not finite"):
        trainer.train_step()
    after = network_tensors(trainer)
    weighting = "behaviour.weighting.state"
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items() if name != weighting)
    assert trainer.step == 0


def test_extraction_masks_by_the_threshold_of_the_finished_critics_also_when_resumed(data: Dataset, tmp_path: Path):
    asked: list[torch.Tensor] = []

    def calibrated(model: WorldModel, behaviour: Behaviour) -> float:
        asked.append(next(behaviour.critics.q_target.parameters()).clone())
        return 0.125

    settings = config(
        actor={"eps": "calibrated"}, extraction={"share": 0.5, "batch_size": 2}, success={"enabled": False}
    )
    trainer = Trainer(settings, data, calibrated_eps=calibrated)
    for _ in range(settings.total_steps - 3):
        trainer.train_step()
    assert not asked
    assert trainer.behaviour.weighting.eps == 0.25
    for _ in range(2):
        trainer.train_step()
    assert len(asked) == 1
    assert trainer.behaviour.weighting.eps == 0.125
    save_checkpoint(trainer, "key", tmp_path / "checkpoint")
    trainer.train_step()
    resumed = Trainer(settings, data, calibrated_eps=calibrated)
    load_checkpoint(resumed, "key", tmp_path / "checkpoint")
    resumed.train_step()
    assert same(trainer, resumed)
    assert torch.equal(asked[0], asked[1])
