"""The success critic: its targets, its phase, and what tells it from the return."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_networks import TINY

from fosp_learner import config as learner_config
from fosp_learner.bundling.validation import EndedEpisode, auc_by_step, success_metrics
from fosp_learner.config import LearnerConfig, NetworkConfig
from fosp_learner.data.bags import Episode
from fosp_learner.data.batch import Batch
from fosp_learner.data.dataset import Dataset, from_episodes
from fosp_learner.model.critics import Trajectories
from fosp_learner.model.success import SuccessCritic
from fosp_learner.phase_config import SuccessConfig
from fosp_learner.training.behaviour import data_trajectories
from fosp_learner.training.checkpoint import load_checkpoint, network_tensors, save_checkpoint
from fosp_learner.training.trainer import Trainer

SIZE = NetworkConfig(recurrent=4, variables=0, classes=0, cnn_depth=0, units=16, keypoints=0)
STEPS, DISCOUNT = 4, 0.9
Ended = tuple[Batch, torch.Tensor, torch.Tensor]
"""A batch, its features, and the rows that reached the goal."""


def ended(outcome: str) -> Ended:
    """One episode of STEPS transitions."""
    flags = torch.zeros(3, 1, STEPS + 1, dtype=torch.bool)
    flags[0, 0, 0] = flags[1, 0, -1] = True
    flags[2, 0, -1] = outcome == "arrives"
    cost = torch.zeros(1, STEPS + 1)
    cost[0, 2] = float(outcome == "violates")
    batch = Batch(
        images=torch.empty(0, dtype=torch.uint8),
        action_prev=torch.zeros(1, STEPS + 1, 2),
        followed_prev=torch.zeros(1, STEPS + 1, 2),
        reward=torch.ones(1, STEPS + 1),
        cost=cost,
        is_first=flags[0],
        is_terminal=flags[2],
        is_last=flags[1],
    )
    kind = {"arrives": 0, "hangs": 1, "violates": 2}[outcome]
    feature = torch.zeros(1, STEPS + 1, 4)
    feature[..., kind] = 1.0
    feature[..., 3] = torch.arange(STEPS + 1) / STEPS
    return batch, feature, flags[2]


def joined(
    episodes: list[tuple[Batch, torch.Tensor, torch.Tensor]], along: int
) -> tuple[Trajectories, torch.Tensor, torch.Tensor]:
    """Return the transitions of all episodes, side by side (0) or one after the other (1), and how these ended."""
    parts = [vars(batch) for batch, _, _ in episodes]
    batch = Batch(**{n: torch.cat([p[n] for p in parts], along) if x.ndim > 1 else x for n, x in parts[0].items()})
    feature, reached = (torch.cat([one[i] for one in episodes], along) for i in (1, 2))
    return data_trajectories(batch, feature), reached[:, 1:], batch.is_last[:, 1:]


def descend(critic: SuccessCritic, ended: tuple[Trajectories, torch.Tensor, torch.Tensor], updates: int) -> None:
    optimiser = torch.optim.Adam([p for p in critic.parameters() if p.requires_grad], 0.02)
    for _ in range(updates):
        optimiser.zero_grad()
        sum(critic.loss(*ended).values(), torch.zeros(())).backward()
        optimiser.step()
        critic.update_target()


def critic_of(**settings: float) -> SuccessCritic:
    torch.manual_seed(0)
    config = SuccessConfig(discount=DISCOUNT, target_rate=0.2, layers=1, **settings)  # type: ignore[arg-type]
    return SuccessCritic(SIZE, config, action=2)


@pytest.mark.parametrize("lambda_", [0.0, 1.0])
def test_success_is_discounted_from_where_it_comes_and_hanging_and_violations_are_failures(lambda_: float):
    critic = critic_of(lambda_=lambda_)
    episodes = joined([ended(outcome) for outcome in ("arrives", "hangs", "violates")], 0)
    descend(critic, episodes, 250)
    data = episodes[0]
    with torch.no_grad():
        arrives, hangs, violates = critic.probability(data.feature[:, :-1], data.action).tolist()
    assert arrives == pytest.approx([DISCOUNT**3, DISCOUNT**2, DISCOUNT, 1.0], abs=0.06)
    assert max(hangs + violates) < 0.05, "equal rewards, and nothing beyond the time limit"


@torch.no_grad()
def test_nothing_flows_over_from_the_episode_that_follows():
    episodes, critic = [ended("hangs"), ended("arrives")], critic_of()
    together = critic.loss(*joined(episodes, 1))
    apart = [critic.loss(*joined([one], 1)) for one in episodes]
    for name, loss in together.items():
        assert float(loss) == pytest.approx(sum(float(one[name]) for one in apart) / 2, rel=1e-4)


def test_an_upper_expectile_of_v_tells_of_the_best_that_was_recorded(monkeypatch: pytest.MonkeyPatch):
    data, reached, last = joined([ended("hangs")], 0)
    data = replace(data, feature=torch.ones_like(data.feature))
    found = []
    for expectile in (0.1, 0.9):
        critic = critic_of(expectile=expectile)
        monkeypatch.setattr(critic, "probability", lambda feature, action: torch.tensor([[0.2, 0.8, 0.2, 0.8]]))
        descend(critic, (data, reached, last), 100)
        found.append(float(critic.of_state(data.feature[0, 0]).detach()))
    assert found == pytest.approx([0.2 + 0.6 * 0.1, 0.2 + 0.6 * 0.9], abs=0.03)


def test_the_area_under_the_curve_is_that_of_arriving_against_hanging():
    rng = np.random.default_rng(0)
    episodes = [
        EndedEpisode(
            arrives, rng.uniform(0, 1, length).astype(np.float32) + arrives, -np.full(length, arrives, np.float32)
        )
        for arrives, length in [(True, 6)] * 4 + [(False, 10)] * 4
    ]
    assert success_metrics(episodes) == {"q_s_auc": 1.0, "q_r_success_auc": 0.0}
    assert auc_by_step(episodes, "q_s").tolist() == [1.0] * 6, "none of those that arrive lasts longer"
    assert auc_by_step(episodes, "q_r").tolist() == [0.0] * 6
    assert np.isnan(success_metrics(episodes[:4])["q_s_auc"])
    assert len(auc_by_step(episodes[:6], "q_s")) == 0, "two that hang tell nothing"
    none = [EndedEpisode(True, np.zeros(0, np.float32), np.zeros(2, np.float32))]
    assert np.isnan(success_metrics(none)["q_s_auc"])


def test_a_data_set_knows_where_its_episodes_arrived(episodes: list[Episode]):
    data = from_episodes(episodes)
    rows = {e.start + e.length - 1 for e in data.episodes if e.success}
    assert set(np.flatnonzero(data.reached)) == rows
    assert data.tells_success
    only = data.of([e for e in data.episodes if e.success])
    assert not only.tells_success
    assert not replace(data, episodes=tuple(e for e in data.episodes if not e.success)).reached.any()


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, episodes: list[Episode]) -> Dataset:
    monkeypatch.setitem(learner_config.SIZES, "nano", TINY)
    return from_episodes(episodes)


def config(success: dict[str, object]) -> LearnerConfig:
    phases = {name: {"share": 0.5, "batch_size": 2} for name in ("cloning", "refinement", "extraction")}
    described = {"steps": 2, "batch_size": 2, "sequence_length": 5, "bf16": False, **phases}
    return LearnerConfig.model_validate({**described, "success": success})


def trained(data: Dataset, settings: LearnerConfig, steps: int) -> Trainer:
    trainer = Trainer(settings, data)
    for _ in range(steps):
        trainer.train_step()
    return trainer


@pytest.mark.slow
def test_its_phase_comes_last_and_trains_nothing_else(tiny: Dataset):
    settings = config({"share": 1.5})
    assert settings.named_phases[-1] == ("success", 3)
    assert config({"enabled": False}).named_phases[-1] == ("success", 0)
    trainer = trained(tiny, settings, settings.total_steps - 3)
    before = {name: tensor.clone() for name, tensor in network_tensors(trainer).items()}
    figures = [trainer.train_step() for _ in range(3)]
    changed = {name for name, tensor in network_tensors(trainer).items() if not torch.equal(tensor, before[name])}
    assert changed
    assert all(name.startswith("behaviour.success.") for name in changed)
    assert any(name.startswith("behaviour.success.q_target.") for name in changed)
    assert {"behaviour/q_s", "behaviour/v_s", "gradient/success"} <= figures[-1].keys()


@pytest.mark.slow
def test_a_run_that_ended_without_one_has_only_that_left_to_do(tiny: Dataset, tmp_path: Path):
    off, on = config({"enabled": False}), config({})
    finished = trained(tiny, off, off.total_steps)
    assert not any("success" in name for name in network_tensors(finished))
    save_checkpoint(finished, "key", tmp_path / "checkpoint")
    resumed = Trainer(on, tiny)
    load_checkpoint(resumed, "key", tmp_path / "checkpoint")
    assert on.total_steps - resumed.step == 1
    resumed.train_step()
    tensors = network_tensors(resumed)
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in network_tensors(finished).items())
    fresh = network_tensors(Trainer(on, tiny))
    assert not torch.equal(
        tensors["behaviour.success.q.head.net.output.weight"], fresh["behaviour.success.q.head.net.output.weight"]
    )


@pytest.mark.slow
def test_the_phase_is_resumed_exactly(tiny: Dataset, tmp_path: Path):
    settings = config({"share": 1.0})
    straight = trained(tiny, settings, settings.total_steps)
    half = trained(tiny, settings, settings.total_steps - 1)
    save_checkpoint(half, "key", tmp_path / "checkpoint")
    resumed = Trainer(settings, tiny)
    load_checkpoint(resumed, "key", tmp_path / "checkpoint")
    resumed.train_step()
    tensors = network_tensors(resumed)
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in network_tensors(straight).items())


def test_the_settings_of_an_older_run_have_the_default_so_that_it_is_resumed_as_it_was():
    older = LearnerConfig().model_dump(mode="json")
    del older["success"]
    assert LearnerConfig.model_validate(older) == LearnerConfig()


@pytest.mark.parametrize(
    ("steps", "share", "trains"), [(100, 0.6, True), (100, 0.0, False), (1, 0.4, False), (1, 0.6, True)]
)
def test_a_success_critic_that_would_get_no_update_is_not_made(steps: int, share: float, trains: bool) -> None:
    config = LearnerConfig(steps=steps, success=SuccessConfig(share=share))
    assert config.trains_success is trains
    assert not LearnerConfig(steps=steps, success=SuccessConfig(share=share, enabled=False)).trains_success
