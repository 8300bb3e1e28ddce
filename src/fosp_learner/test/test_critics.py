"""Targets of the critics on sequences with seams, terminals and time limits."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fosp_core.bundle.risk import judged_risk
from fosp_learner.config import CriticConfig, LearnerConfig, NetworkConfig
from fosp_learner.data.batch import Batch
from fosp_learner.model.critics import ActionValues, Critics, over_heads
from fosp_learner.model.losses import binary_nll, two_hot_mean
from fosp_learner.training.behaviour import data_trajectories

SIZE = NetworkConfig(recurrent=4, variables=0, classes=0, cnn_depth=0, units=8, keypoints=0)
FIRST, SECOND = slice(0, 4), slice(4, 7)
"""Rows of two episodes: the first ends by a time limit, the second at a terminal."""


@pytest.fixture
def critics() -> Critics:
    torch.manual_seed(0)
    critics = Critics(SIZE, CriticConfig(layers=1), action=2)
    for head in (critics.q.q_r, critics.q.q_c, critics.v.v_r, critics.v.v_c):
        torch.nn.init.normal_(head.net.output.weight)  # zero at the start: values would all be the same
    critics.q_target.load_state_dict(critics.q.state_dict())
    return critics


def sequence() -> tuple[Batch, torch.Tensor]:
    """One sequence of both episodes, one after the other, and its features."""
    generator = torch.Generator().manual_seed(1)
    flags = torch.zeros(3, 1, 7, dtype=torch.bool)
    first, last, terminal = flags[0], flags[1], flags[2]
    first[0, [0, 4]] = last[0, [3, 6]] = terminal[0, 6] = True
    batch = Batch(
        images=torch.empty(0, dtype=torch.uint8),
        action_prev=torch.rand(1, 7, 2, generator=generator),
        followed_prev=torch.zeros(1, 7, 2),
        reward=torch.rand(1, 7, generator=generator),
        cost=torch.tensor([[0.0, 0, 1, 0, 0, 0, 1]]),
        is_first=first,
        is_terminal=terminal,
        is_last=last,
    )
    return batch, torch.rand(1, 7, 4, generator=generator)


def part(batch: Batch, rows: slice) -> Batch:
    return replace(batch, **{name: value[:, rows] for name, value in vars(batch).items() if name != "images"})


def losses(critics: Critics, batch: Batch, feature: torch.Tensor) -> dict[str, float]:
    return {name: float(loss.detach()) for name, loss in critics.loss(data_trajectories(batch, feature))[0].items()}


def test_a_transition_has_the_action_and_all_that_arrives_with_the_row_after_it():
    batch, feature = sequence()
    data = data_trajectories(batch, feature)
    assert torch.equal(data.feature, feature)
    assert torch.equal(data.action[0, 1], batch.action_prev[0, 2])
    assert data.reward[0, 1] == batch.reward[0, 2]
    assert data.cost.tolist() == [[0, 1, 0, 0, 0, 1]]
    assert data.continues.tolist() == [[1, 1, 1, 1, 1, 0]]
    assert data.cut.tolist() == [[False, False, True, False, False, True]]
    assert data.valid.tolist() == [[True, True, True, False, True, True]]


def test_a_sequence_of_two_episodes_costs_exactly_what_the_two_cost_apart(critics: Critics):
    batch, feature = sequence()
    together = losses(critics, batch, feature)
    one = losses(critics, part(batch, FIRST), feature[:, FIRST])
    other = losses(critics, part(batch, SECOND), feature[:, SECOND])
    for name, value in together.items():  # 3 and 2 transitions; the one across the seam is none
        assert value == pytest.approx((3 * one[name] + 2 * other[name]) / 5, rel=1e-4), name


def test_what_lies_beyond_a_terminal_does_not_matter(critics: Critics):
    batch, feature = sequence()
    changed = feature.clone()
    changed[0, 6] += 1
    assert losses(critics, batch, changed) == losses(critics, batch, feature)


def test_beyond_a_time_limit_every_critic_bootstraps(critics: Critics):
    batch, feature = sequence()
    changed = feature.clone()
    changed[0, 3] += 1
    before, after = losses(critics, batch, feature), losses(critics, batch, changed)
    assert {name for name in before if before[name] != after[name]} == {"q_r", "q_c", "q_h"}


def test_the_last_row_of_a_sequence_that_is_cut_off_bootstraps_too(critics: Critics):
    batch, feature = part(sequence()[0], slice(0, 3)), sequence()[1][:, :3]
    changed = feature.clone()
    changed[0, 2] += 1
    assert losses(critics, batch, changed)["q_r"] != losses(critics, batch, feature)["q_r"]


def test_any_cost_is_a_violation_and_its_size_counts_for_the_cost_critic_alone():
    batch, feature = sequence()
    larger = data_trajectories(replace(batch, cost=3 * batch.cost), feature)
    assert torch.equal(larger.violation, data_trajectories(batch, feature).violation)
    assert larger.cost.max() == 3


@pytest.mark.slow
def test_v_is_high_for_reward_and_low_for_cost_and_risk(critics: Critics, monkeypatch: pytest.MonkeyPatch):
    # In one state half of the actions have Q_r 1, Q_c 1, Q_h 0.9, and half 0, 0, 0.1. Expectiles of two equally likely
    # values share the way between them as tau to 1 - tau; for returns in symlog space, where the heads live.
    batch, _ = sequence()
    action = torch.tensor([1.0, -1.0] * 3).reshape(1, 6, 1).expand(1, 6, 2)
    state = torch.ones(1, 7, 4)
    data = replace(data_trajectories(batch, state), action=action, valid=torch.ones(1, 6, dtype=torch.bool))

    def two_actions(_: torch.Tensor, action: torch.Tensor) -> tuple[torch.Tensor, ...]:
        good = (action[..., 0] > 0).float()
        return good, good, 0.1 + 0.8 * good

    monkeypatch.setattr(critics.q_target, "values", two_actions)
    optimiser = torch.optim.Adam(critics.v.parameters(), lr=0.02)
    for _ in range(200):
        found, _ = critics.loss(data)
        optimiser.zero_grad()
        (found["v_r"] + found["v_c"] + found["v_h"]).backward()
        optimiser.step()
    with torch.no_grad():
        v_r, v_c, v_h = (float(v) for v in critics.v.values(state[0, 0]))
    assert v_r == pytest.approx(2**0.8 - 1, abs=0.03)
    assert v_c == pytest.approx(2**0.2 - 1, abs=0.03)
    assert v_h == pytest.approx(0.1 + 0.1 * 0.8, abs=0.03)


def test_the_values_of_q_are_those_of_the_moving_average(critics: Critics):
    feature, action = torch.rand(5, 4), torch.rand(5, 2)
    before = critics.values(feature, action)
    with torch.no_grad():
        for parameter in critics.q.parameters():
            parameter.add_(1)
    assert torch.equal(critics.values(feature, action).q_r, before.q_r)
    expected = [
        0.98 * old + 0.02 * new for old, new in zip(critics.q_target.parameters(), critics.q.parameters(), strict=True)
    ]
    critics.update_target()
    for target, value in zip(critics.q_target.parameters(), expected, strict=True):
        torch.testing.assert_close(target, value)


def test_risk_is_a_probability_and_cost_is_not_negative(critics: Critics):
    values = critics.values(10 * torch.randn(50, 4), torch.randn(50, 2))
    for risk in (values.q_h, values.v_h):
        assert risk.min() >= 0
        assert risk.max() <= 1
    assert min(values.q_c.min(), values.v_c.min()) >= 0


def test_targets_move_by_two_percent_of_the_way_at_each_update(critics: Critics):
    weight = critics.q.q_h.net.output.weight
    target = critics.q_target.q_h.net.output.weight
    before = target.clone()
    with torch.no_grad():
        weight += 1.0
    moved = before + 0.02 * (weight.detach() - before)
    critics.update_target()
    torch.testing.assert_close(target, moved)
    assert not target.requires_grad


def test_of_several_heads_the_most_pessimistic_speaks(critics: Critics):
    one, three = critics.q, ActionValues(SIZE, action=2, layers=1, heads=3)
    feature, action = torch.rand(5, 4), torch.rand(5, 2)
    for number, heads in enumerate([three, *three.further]):
        torch.nn.init.normal_(heads.q_r.net.output.weight, std=1.0 + number)
        torch.nn.init.normal_(heads.q_c.net.output.weight, std=1.0 + number)
    q_r, q_c, q_h = three(feature, action)
    assert (q_r.shape, q_c.shape, q_h.shape) == ((3, 5, 255), (3, 5, 255), (3, 5))
    found = three.values(feature, action)
    torch.testing.assert_close(found[0], two_hot_mean(q_r).amin(0))
    torch.testing.assert_close(found[1], two_hot_mean(q_c).amax(0).clamp_min(0))
    torch.testing.assert_close(found[2], torch.sigmoid(q_h).amax(0))
    torch.testing.assert_close(three.reachability(feature, action), found[2])
    assert not torch.equal(q_h[0], q_h[1]), "they differ by their first weights"
    spread = torch.sigmoid(q_h).amax(0) - torch.sigmoid(q_h).amin(0)
    torch.testing.assert_close(three.spread(feature, action), spread)
    assert torch.equal(three.risk(feature, action, None), found[2])
    judged = judged_risk({"q_h": found[2].detach().numpy(), "q_h_spread": spread.detach().numpy()}, 3.0)
    np.testing.assert_allclose(three.risk(feature, action, 3.0).detach().numpy(), judged, rtol=1e-6)
    assert (three.tells_spread, one.tells_spread) == (True, False)
    assert {name.split(".")[0] for name in one.state_dict()} == {"q_r", "q_c", "q_h"}, "one head is what it was"


def test_every_head_learns_from_the_same_target():
    torch.manual_seed(0)
    several = Critics(SIZE, CriticConfig(layers=1, heads=2), action=2)
    batch, feature = sequence()
    found, _ = several.loss(data_trajectories(batch, feature))
    sum(found.values(), torch.zeros(())).backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in several.q.further[0].q_h.parameters())
    assert len(several.q.return_heads) == 2
    logits, target = torch.randn(2, 4), torch.rand(4)
    torch.testing.assert_close(
        over_heads(binary_nll, logits, target), (binary_nll(logits[0], target) + binary_nll(logits[1], target)) / 2
    )


def test_the_disagreement_of_heads_counts_only_where_it_is_asked_for_and_needs_several():
    def weight(heads: int, **calibration: object) -> float | None:
        return LearnerConfig.model_validate({"critic": {"heads": heads}, "calibration": calibration}).spread_weight

    assert weight(2, spread="added", spread_weight=0.5) == 0.5
    assert weight(2) is None
    with pytest.raises(ValueError, match="one head cannot disagree"):
        weight(1, spread="added")
    with pytest.raises(ValueError, match="spread_weight"):
        weight(2, spread="added", spread_weight=0)


def test_one_step_targets_see_no_further_than_the_next_state(critics: Critics):
    # critic.lambda_ 0: what comes after row t + 1 tells Q_r at t nothing but by the value of that row (IQL).
    batch, feature = part(sequence()[0], FIRST), sequence()[1][:, FIRST]
    later = replace(batch, reward=batch.reward + torch.tensor([[0.0, 0, 5, 5]]))
    one_step = Critics(SIZE, CriticConfig(layers=1, lambda_=0.0), action=2)
    one_step.load_state_dict(critics.state_dict())
    first = replace(data_trajectories(batch, feature), valid=torch.tensor([[True, False, False]]))
    changed = replace(first, reward=data_trajectories(later, feature).reward)
    assert float(one_step.loss(first)[0]["q_r"]) == float(one_step.loss(changed)[0]["q_r"])
    assert float(critics.loss(first)[0]["q_r"]) != float(critics.loss(changed)[0]["q_r"])
