import math
from collections.abc import Callable

import pytest
import torch
from tiny_networks import TINY
from torch import Tensor, nn, tensor

from fosp_learner import config as learner_config
from fosp_learner.config import LearnerConfig
from fosp_learner.data.bags import Episode
from fosp_learner.data.dataset import from_episodes
from fosp_learner.model.critics import Trajectories
from fosp_learner.model.world_model import RowLatents
from fosp_learner.training.backprop import backprop_loss, detached, frozen, imagined_gain
from fosp_learner.training.behaviour import Behaviour, data_trajectories
from fosp_learner.training.trainer import Trainer

pytestmark = pytest.mark.slow

STARTS, HORIZON = 16, 3


@pytest.fixture(autouse=True)
def tiny_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(learner_config.SIZES, "nano", TINY)


def config(**actor: object) -> LearnerConfig:
    settings = {"objective": "backprop", "multiplier_initial": 1.0, "multiplier_step": 0.0} | actor
    return LearnerConfig.model_validate(
        {
            "steps": 6,
            "batch_size": 2,
            "sequence_length": 5,
            "bf16": False,
            "cloning": {"share": 0.0},
            "refinement": {"share": 0.0},
            "imagination": {"weight": 1.0, "starts": 4, "horizon": HORIZON},
            "actor": settings,
        }
    )


def imagined(
    behaviour: Behaviour, reward: Callable[[Tensor], Tensor], cost: Callable[[Tensor], Tensor]
) -> Trajectories:
    """Rollouts of a world whose latents never change and whose signals depend on the action alone."""
    feature = torch.zeros(STARTS, HORIZON + 1, TINY.feature)
    action = behaviour.actor.sample(feature[:, :-1])
    shape = action.shape[:2]
    cut = torch.zeros(shape, dtype=torch.bool)
    cut[:, -1] = True
    return Trajectories(
        feature=feature,
        action=action,
        followed=action,
        reward=reward(action),
        cost=cost(action),
        violation=cost(action).clamp(0, 1),
        continues=torch.ones(shape),
        cut=cut,
        valid=torch.ones(shape, dtype=torch.bool),
    )


def mean_after(settings: LearnerConfig, reward: Callable[[Tensor], Tensor], cost: Callable[[Tensor], Tensor]) -> float:
    """Where 200 updates bring the first axis of the actor's mean."""
    torch.manual_seed(0)
    behaviour = Behaviour(settings, 2)
    adam = torch.optim.Adam(behaviour.actor.parameters(), lr=1e-2)
    for _ in range(200):
        with frozen(behaviour.critics):
            loss, _ = imagined_gain(behaviour, imagined(behaviour, reward, cost))
        adam.zero_grad()
        loss.backward()
        adam.step()
    return float(behaviour.actor(torch.zeros(1, TINY.feature))[0][0, 0].detach())


def none(action: Tensor) -> Tensor:
    return torch.zeros_like(action[..., 0])


def test_the_actor_climbs_the_reward_of_its_own_imagined_actions():
    mean = mean_after(config(reachability=False), lambda a: -(a[..., 0] - 0.5).square(), none)
    assert mean == pytest.approx(0.5, abs=0.1)


def test_the_multiplier_holds_it_back_from_cost():
    settings = config(reachability=False, multiplier_initial=10.0)
    mean = mean_after(settings, lambda a: a[..., 0], lambda a: a[..., 0].clamp_min(0))
    assert mean < 0.1, "what is gained to the right of 0 costs ten times as much there"


def test_near_the_unsafe_set_it_only_seeks_the_way_out():
    settings = config(reachability=True, multiplier_initial=0.0)
    torch.manual_seed(0)
    behaviour = Behaviour(settings, 2)
    nn.init.constant_(behaviour.critics.v.v_h.net.output.bias, 20.0)  # p = V_h = 1
    dream = imagined(behaviour, lambda a: 100 * a[..., 0], none)
    loss, figures = imagined_gain(behaviour, dream)
    discount, reach = settings.critic.discount, settings.critic.reachability_discount
    weights = sum(discount**t for t in range(HORIZON)) / HORIZON
    expected = weights * settings.actor.eta * reach
    assert float(figures["actor"]) == pytest.approx(expected, rel=1e-3), "no reward in it, eta times V_h beyond"
    spread = settings.actor.entropy_scale * float(figures["entropy"])
    assert float(loss.detach()) == pytest.approx(expected - spread, rel=1e-3)


def test_the_gain_of_one_step_is_the_hand_computed_one():
    behaviour = Behaviour(config(reachability=False, entropy_scale=0.0, range_rate=1.0, advantage_floor=2.0), 2)
    base = imagined(behaviour, none, none)
    one = Trajectories(**(vars(detached(base)) | {"reward": base.reward + 1.0, "cost": base.cost + 0.25}))
    _, figures = imagined_gain(behaviour, one)
    g, lam = behaviour.config.critic.discount, behaviour.config.critic.lambda_
    # V is 0 at the start: R_t = r (1 + g lam + (g lam)^2 + ...), divided by 2; the multiplier is 1.
    weighted = sum(g**t * sum((g * lam) ** k for k in range(HORIZON - t)) for t in range(HORIZON)) / HORIZON
    assert float(figures["actor"]) == pytest.approx(-weighted * (1.0 - 0.25) / 2.0, rel=1e-4)


def test_the_gradient_of_the_actor_reaches_the_actor_alone(episodes: list[Episode]):
    trainer = Trainer(config(), from_episodes(episodes))
    model, behaviour = trainer.world_model, trainer.behaviour
    batch = trainer.sampler.batch(2)
    _, latents = model.loss(batch)
    data = data_trajectories(batch, latents.feature.detach())
    loss = backprop_loss(behaviour, model, data, latents)
    loss.actor.backward()
    assert all(p.grad is None for p in [*model.parameters(), *behaviour.critics.parameters()])
    assert all(p.grad is not None for p in behaviour.actor.parameters())
    assert all(p.requires_grad for p in model.parameters()), "frozen only while the actor looks through it"
    loss.critics.backward()
    assert behaviour.critics.v.v_r.net.output.weight.grad is not None


def test_the_gradient_comes_through_the_dynamics(episodes: list[Episode]):
    """With a reward that only later states tell of, the first action still has one."""
    trainer = Trainer(config(), from_episodes(episodes))
    model = trainer.world_model
    recurrent, stoch = (x.expand(2, -1).detach() for x in model.rssm.initial_state())
    state = RowLatents(recurrent, stoch, torch.zeros(2, trainer.config.network.embed), torch.zeros(2, 0))
    action = torch.zeros(2, 3, requires_grad=True)
    with frozen(model):
        for step in range(3):
            state = model.imagine_step(state, action if step == 0 else torch.zeros(2, 3))
    state.recurrent.sum().backward()
    assert action.grad is not None
    assert float(action.grad.abs().sum()) > 0
    assert math.isfinite(float(action.grad.abs().sum()))


def test_it_trains_and_says_what_it_imagines(episodes: list[Episode]):
    trainer = Trainer(config(), from_episodes(episodes))
    before = [p.clone() for p in trainer.behaviour.actor.parameters()]
    figures = trainer.train_step()
    assert {"behaviour/actor", "behaviour/imagined_return", "behaviour/imagined_cost"} <= figures.keys()
    assert all(math.isfinite(value) for value in figures.values())
    assert any(not torch.equal(a, b) for a, b in zip(before, trainer.behaviour.actor.parameters(), strict=True))


def test_an_action_beyond_the_limits_keeps_its_gradient():
    behaviour = Behaviour(config(std_min=0.9), 2)
    feature = torch.zeros(64, TINY.feature)
    action = behaviour.actor.sample(feature)
    assert float(action.detach().abs().max()) == 1.0
    assert tensor(1.0) == torch.autograd.grad(action.sum(), behaviour.actor.net.output.bias)[0].isfinite().all()


def test_refinement_of_an_actor_by_backprop_is_refused():
    with pytest.raises(ValueError, match=r"refinement\.actor must be false"):
        LearnerConfig.model_validate({"actor": {"objective": "backprop"}, "refinement": {"actor": True}})
