import math

import pytest
import torch
from torch import tensor

from fosp_learner.losses import (
    balanced_kl,
    categorical_kl,
    expectile_weight,
    lambda_return,
    masked_mean,
    multiplier_update,
    policy_weight,
    reachability_target,
    symexp,
    symlog,
    two_hot,
    two_hot_mean,
    two_hot_nll,
    two_hot_positive,
)


def test_two_hot_round_trip_gives_the_value_back():
    values = tensor([-500.0, -3.3, -0.01, 0.0, 0.2, 1.0, 77.0])
    logits = torch.log(two_hot(values) + 1e-30)
    torch.testing.assert_close(two_hot_mean(logits), values, rtol=1e-3, atol=1e-4)


def test_two_hot_of_zero_is_the_middle_bin_alone():
    encoded = two_hot(tensor([0.0]))[0]
    assert encoded[127] == 1
    assert encoded.sum() == 1


def test_untrained_two_hot_head_says_zero():
    assert two_hot_mean(torch.zeros(3, 255)).abs().max() < 1e-5


def test_two_hot_nll_is_least_at_the_target():
    logits = torch.log(two_hot(tensor([1.5])) + 1e-6)
    assert two_hot_nll(logits, tensor([1.5])) < two_hot_nll(logits, tensor([1.3]))


def test_probability_of_a_positive_value_is_the_mass_above_zero():
    logits = torch.log(0.25 * two_hot(tensor([1.0])) + 0.75 * two_hot(tensor([0.0])) + 1e-30)
    torch.testing.assert_close(two_hot_positive(logits), tensor([0.25]))


def test_symexp_undoes_symlog():
    values = tensor([-1e4, -0.5, 0.0, 2.0])
    torch.testing.assert_close(symexp(symlog(values)), values)


def expectile(samples: torch.Tensor, tau: float, upper: bool) -> float:
    """Fixed point of the weighted mean."""
    value = samples.mean()
    for _ in range(500):
        weight = expectile_weight(samples, value.expand_as(samples), tau, upper)
        value = (weight * samples).sum() / weight.sum()
    return float(value)


def test_upper_expectile_lies_above_the_mean_and_lower_below():
    # Two equally likely values 0 and 1: the tau-expectile is tau (upper) or 1 - tau (lower).
    samples = tensor([0.0, 1.0])
    assert expectile(samples, 0.8, upper=True) == pytest.approx(0.8, abs=1e-4)
    assert expectile(samples, 0.8, upper=False) == pytest.approx(0.2, abs=1e-4)


def test_expectile_weights_have_the_right_sign():
    target, value = tensor([2.0, 0.0]), tensor([1.0, 1.0])
    torch.testing.assert_close(expectile_weight(target, value, 0.9, upper=True), tensor([0.9, 0.1]))
    torch.testing.assert_close(expectile_weight(target, value, 0.9, upper=False), tensor([0.1, 0.9]))


def test_lambda_return_by_hand():
    reward, value = tensor([[1.0, 2.0]]), tensor([[10.0, 20.0]])
    goes_on, cut = torch.ones(1, 2), tensor([[False, True]])
    second = 2 + 0.9 * 20
    first = 1 + 0.9 * (0.5 * 10 + 0.5 * second)
    returns = lambda_return(reward, goes_on, value, cut, discount=0.9, lambda_=0.5)
    torch.testing.assert_close(returns, tensor([[first, second]]))


def test_a_terminal_ends_the_return_and_a_time_limit_bootstraps():
    reward, value = tensor([[1.0], [1.0]]), tensor([[10.0], [10.0]])
    goes_on, cut = tensor([[0.0], [1.0]]), tensor([[True], [True]])
    returns = lambda_return(reward, goes_on, value, cut, discount=0.9, lambda_=0.95)
    torch.testing.assert_close(returns, tensor([[1.0], [1 + 0.9 * 10]]))


def test_nothing_flows_over_from_the_next_episode():
    value, goes_on, cut = torch.zeros(1, 3), torch.ones(1, 3), tensor([[True, False, True]])
    calm = lambda_return(tensor([[1.0, 0.0, 0.0]]), goes_on, value, cut, 0.9, 0.95)
    wild = lambda_return(tensor([[1.0, 99.0, 99.0]]), goes_on, value, cut, 0.9, 0.95)
    assert calm[0, 0] == wild[0, 0] == 1


def test_reachability_target_is_one_at_a_violation_and_decays_before_it():
    violation, goes_on = tensor([1.0, 0.0, 0.0]), tensor([1.0, 1.0, 0.0])
    target = reachability_target(violation, goes_on, tensor([0.3, 0.5, 0.5]), discount=0.9)
    torch.testing.assert_close(target, tensor([1.0, 0.45, 0.0]))


def test_a_violation_on_the_terminal_step_still_counts():
    assert reachability_target(tensor([1.0]), tensor([0.0]), tensor([0.0]), 0.9) == 1


def weight(a_r: float, a_c: float, q_h: float, v_h: float) -> float:
    values = (tensor([value]) for value in (a_r, a_c, q_h, v_h))
    return float(policy_weight(*values, multiplier=0.5, beta=2.0, eta=3.0, eps=0.2, limit=100.0))


def test_policy_weight_by_hand():
    expected = math.exp(2.0 * (0.6 * (1.0 - 0.5 * 0.4) - 0.4 * 3.0 * (0.5 - 0.4)))
    assert weight(a_r=1.0, a_c=0.4, q_h=0.5, v_h=0.4) == pytest.approx(expected)


def test_an_infeasible_action_in_a_feasible_state_has_no_weight():
    assert weight(a_r=5.0, a_c=0.0, q_h=0.21, v_h=0.1) == 0
    assert weight(a_r=5.0, a_c=0.0, q_h=0.19, v_h=0.1) > 0
    assert weight(a_r=5.0, a_c=0.0, q_h=0.9, v_h=0.3) > 0


def test_policy_weight_is_clipped_and_finite():
    assert weight(a_r=1e6, a_c=0.0, q_h=0.0, v_h=0.0) == pytest.approx(100.0)
    assert weight(a_r=-1e6, a_c=0.0, q_h=0.0, v_h=0.0) == 0


def test_where_it_is_unsafe_reward_does_not_count():
    assert weight(a_r=9.0, a_c=0.0, q_h=0.9, v_h=1.0) == pytest.approx(weight(a_r=-9.0, a_c=0.0, q_h=0.9, v_h=1.0))


def test_multiplier_grows_with_violation_and_stops_at_zero():
    assert multiplier_update(1.0, 0.5, 0.2) == (pytest.approx(1.1), pytest.approx(0.5 * (1 + 1e-5)))
    assert multiplier_update(0.05, 1.0, -0.2) == (0.0, 1.0)


def test_kl_of_equal_distributions_is_zero_and_free_nats_hold():
    log_p = torch.log_softmax(torch.randn(4, 3, 5), -1)
    assert categorical_kl(log_p, log_p).abs().max() < 1e-6
    torch.testing.assert_close(balanced_kl(log_p, log_p, 1.0, 0.5, 0.1), torch.full((4,), 0.6))


def test_kl_balance_trains_prior_and_posterior_by_their_scales():
    posterior = torch.log(tensor([[[0.99, 0.01]]])).requires_grad_()
    prior = torch.log(tensor([[[0.01, 0.99]]])).requires_grad_()
    balanced_kl(posterior, prior, 1.0, 0.5, 0.0).sum().backward()
    assert posterior.grad is None or posterior.grad.abs().max() == 0
    assert prior.grad is not None
    assert prior.grad.abs().max() > 0


def test_masked_mean_leaves_out_and_survives_an_empty_mask():
    assert masked_mean(tensor([1.0, 5.0]), tensor([True, False])) == 1
    assert masked_mean(tensor([1.0]), tensor([False])) == 0
