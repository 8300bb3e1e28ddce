"""The actor by the gradient of an ensemble of critics: what its two losses do."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_networks import TINY

from fosp_core.errors import UserError
from fosp_learner import config as learner_config
from fosp_learner.config import LearnerConfig
from fosp_learner.data.bags import Episode
from fosp_learner.data.dataset import from_episodes
from fosp_learner.finetuning.config import FinetuneConfig, SettlingConfig
from fosp_learner.finetuning.fine_tuner import FineTuner
from fosp_learner.finetuning.settling import settle, sources
from fosp_learner.model.critics import Trajectories
from fosp_learner.model.losses import two_hot_mean
from fosp_learner.training.behaviour import Behaviour
from fosp_learner.training.critic_gradient import ascent_loss, mean_return, one_step_return_loss
from fosp_learner.training.trainer import Trainer

FEATURE = LearnerConfig().network.feature


def behaviour_of(**changes: object) -> Behaviour:
    torch.manual_seed(0)
    described = {"critic": {"heads": 3}, "actor": {"entropy_scale": 0.0}, "success": {"enabled": False}}
    return Behaviour(LearnerConfig.model_validate({**described, **changes}), 2)


def data(number: int = 6) -> Trajectories:
    generator = torch.Generator().manual_seed(1)
    zeros, yes = torch.zeros(number, 1), torch.ones(number, 1, dtype=torch.bool)
    return Trajectories(
        feature=torch.rand(number, 2, FEATURE, generator=generator),
        action=torch.rand(number, 1, 2, generator=generator),
        followed=torch.zeros(number, 1, 2),
        reward=torch.rand(number, 1, generator=generator),
        cost=zeros,
        violation=zeros,
        continues=1 - zeros,
        cut=yes,
        valid=yes,
    )


def constant(behaviour: Behaviour, values: list[float]) -> None:
    """Let each head of Q'_r say one return everywhere."""
    every = [behaviour.critics.q_target, *behaviour.critics.q_target.further]
    with torch.no_grad():
        for head, value in zip(every, values, strict=True):
            bins = head.q_r.net.output.bias
            logits = torch.full_like(bins, -40.0)
            place = (two_hot_mean(torch.eye(len(bins)) * 80) - value).abs().argmin()
            logits[place] = 40.0
            bins.copy_(logits)
            head.q_r.net.output.weight.zero_()


def test_the_target_is_one_step_and_the_worst_of_the_heads():
    behaviour, drawn = behaviour_of(), data()
    constant(behaviour, [3.0, 1.0, 2.0])
    optimiser = torch.optim.Adam(behaviour.critics.q.return_heads.parameters(), 0.01)
    ended = Trajectories(**{**vars(drawn), "continues": torch.zeros(6, 1)})
    for batch, beyond in ((drawn, 1.0), (ended, 0.0)):
        for _ in range(150):
            optimiser.zero_grad()
            one_step_return_loss(behaviour, batch, batch.feature).backward()
            optimiser.step()
        with torch.no_grad():
            logits, _, _ = behaviour.critics.q(batch.feature[:, :-1], batch.action)
        worst = behaviour.critics.q_target.values(batch.feature[:, 1:], batch.action)[0]
        expected = batch.reward + behaviour.config.critic.discount * beyond * worst
        for head in logits:
            assert float((two_hot_mean(head) - expected).abs().mean()) < 0.15, "every head learns it"
    assert 0.8 < float(worst.mean()) < 1.2, "the least of 3, 1 and 2"


def test_the_actor_climbs_the_mean_of_the_heads_and_touches_no_critic():
    behaviour, drawn = behaviour_of(), data(32)
    for number, head in enumerate([behaviour.critics.q_target, *behaviour.critics.q_target.further]):
        torch.nn.init.normal_(head.q_r.net.output.weight, std=0.3 + 0.1 * number)
    before = {name: tensor.clone() for name, tensor in behaviour.critics.state_dict().items()}

    @torch.no_grad()
    def of_mean() -> float:
        mean, _ = behaviour.actor(drawn.feature[:, :-1])
        return float(mean_return(behaviour.critics, drawn.feature[:, :-1], mean).mean())

    begun = of_mean()
    optimiser = torch.optim.Adam(behaviour.actor.parameters(), 0.003)
    for _ in range(60):
        optimiser.zero_grad()
        ascent_loss(behaviour, drawn, drawn.feature).backward()
        optimiser.step()
    assert of_mean() > begun + 0.05
    assert all(torch.equal(tensor, before[name]) for name, tensor in behaviour.critics.state_dict().items())
    assert all(parameter.grad is None for parameter in behaviour.critics.q.parameters())


def test_where_it_is_dangerous_the_actor_flees_the_risk_whatever_the_return():
    behaviour, drawn = behaviour_of(), data(32)
    with torch.no_grad():
        behaviour.critics.v.v_h.net.output.bias.fill_(30.0)  # V_h = 1 everywhere
    for head in [behaviour.critics.q_target, *behaviour.critics.q_target.further]:
        torch.nn.init.normal_(head.q_h.net.output.weight, std=1.0)

    @torch.no_grad()
    def risk() -> float:
        mean, _ = behaviour.actor(drawn.feature[:, :-1])
        return float(behaviour.critics.q_target.reachability(drawn.feature[:, :-1], mean).mean())

    begun = risk()
    optimiser = torch.optim.Adam(behaviour.actor.parameters(), 0.003)
    for _ in range(60):
        optimiser.zero_grad()
        ascent_loss(behaviour, drawn, drawn.feature).backward()
        optimiser.step()
    assert risk() < begun - 0.02


@pytest.mark.slow
def test_settling_by_the_gradient_trains_ensemble_and_actor_on_all_episodes(
    episodes: list[Episode], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(learner_config.SIZES, "nano", TINY)
    described = {"critic": {"heads": 2}, "success": {"enabled": False}, "batch_size": 2, "sequence_length": 5}
    data = from_episodes(episodes)
    trainer = Trainer(LearnerConfig.model_validate(described), data)
    config = SettlingConfig(updates=3, sequence_length=4, batch_size=4)
    phases: list[str] = []
    settled = settle(
        trainer.world_model,
        trainer.behaviour,
        0.2,
        sources(data, data, 0.5, config, np.random.default_rng(0)),
        config,
        np.random.default_rng(0),
        progress=lambda phase, done, total: phases.append(phase),
        by_gradient=True,
    )
    assert phases == ["critics"] * 3 + ["ensemble"] * 3
    assert settled is not None
    before = trainer.behaviour.state_dict()
    changed = {name for name, tensor in settled.state_dict().items() if not torch.equal(tensor, before[name])}
    for part in (
        "actor.net.output.weight",
        "critics.q.q_r.net.output.weight",
        "critics.q.further.0.q_r.net.output.weight",
    ):
        assert part in changed


def test_one_critic_alone_is_no_ensemble():
    calibration = SimpleNamespace(eps=0.2, spread_weight=None, horizon_steps=1)
    described = {"id": "0" * 64, "size": "nano", "decision_period_s": 0.05, "critic_outputs": (), "training": {}}
    manifest = SimpleNamespace(calibration=calibration, **described)
    settings = FinetuneConfig(objective="critic_gradient")
    with pytest.raises(UserError, match=r"needs critics of 2 heads or more, found 1: train .* critic\.heads"):
        FineTuner(manifest, {}, __file__, settings, None, None)  # type: ignore[arg-type]
