"""Episodes without a violation do not teach the critic that all is safe."""

from __future__ import annotations

import torch
from tiny_networks import TINY

from fosp_learner.config import CriticConfig
from fosp_learner.data.dataset import EpisodeIndex
from fosp_learner.finetuning.held_risk import hold_risk, tells_risk
from fosp_learner.model.critics import Critics, Trajectories


def quiet(size: int) -> Trajectories:
    """Transitions without any violation."""
    generator = torch.Generator().manual_seed(0)
    nothing, every = torch.zeros(4, 5), torch.ones(4, 5)
    return Trajectories(
        feature=torch.randn(4, 6, TINY.feature, generator=generator),
        action=torch.zeros(4, 5, size),
        followed=torch.zeros(4, 5, size),
        reward=every,
        cost=nothing,
        violation=nothing,
        continues=every,
        cut=nothing.bool(),
        valid=every.bool(),
    )


def after_some_updates(held: bool) -> tuple[Critics, Critics]:
    torch.manual_seed(0)
    before, critics = Critics(TINY, CriticConfig(), 2), Critics(TINY, CriticConfig(), 2)
    critics.load_state_dict(before.state_dict())
    hold_risk(critics, held)
    optimiser = torch.optim.AdamW(critics.parameters(), lr=1e-2)
    for _ in range(5):
        optimiser.zero_grad(set_to_none=True)
        losses, _ = critics.loss(quiet(2))
        sum(losses.values(), torch.zeros(())).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        critics.update_target()
    return before, critics


def risk(critics: Critics) -> torch.Tensor:
    data = quiet(2)
    return critics.q.reachability(data.feature[:, :-1], data.action)


def test_without_positives_risk_stands_still_and_returns_are_learned_all_the_same() -> None:
    before, critics = after_some_updates(held=True)
    assert torch.equal(risk(critics), risk(before))
    feature = quiet(2).feature
    assert not torch.equal(critics.v.returns(feature), before.v.returns(feature))


def test_where_it_is_not_held_it_moves() -> None:
    before, critics = after_some_updates(held=False)
    assert not torch.equal(risk(critics), risk(before))


def test_it_learns_again_and_the_targets_never_have_gradients() -> None:
    critics = Critics(TINY, CriticConfig(), 2)
    hold_risk(critics, held=True)
    hold_risk(critics, held=False)
    assert all(parameter.requires_grad for parameter in critics.q.parameters())
    assert not any(parameter.requires_grad for parameter in critics.q_target.parameters())


def test_a_source_tells_risk_by_one_violation() -> None:
    quiet_one = EpisodeIndex("a", 0, 5, success=False, violates=False)
    assert not tells_risk([quiet_one])
    assert tells_risk([quiet_one, EpisodeIndex("b", 5, 5, success=False, violates=True)])
