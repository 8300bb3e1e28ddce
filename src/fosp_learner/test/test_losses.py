"""Every target and loss of the algorithm on cases small enough to be computed by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import tensor

from fosp_learner.model.losses import (
    balanced_kl,
    bin_centres,
    binary_nll,
    categorical_kl,
    expectile_weight,
    lambda_return,
    masked_mean,
    multiplier_update,
    policy_weight,
    reachability_target,
    scaled_means,
    symexp,
    symlog,
    two_hot,
    two_hot_mean,
    two_hot_nll,
    two_hot_positive,
)

same_every_time = settings(deadline=None, derandomize=True, max_examples=60)


@same_every_time
@given(st.floats(-1e6, 1e6, width=32))
def test_two_hot_round_trip_gives_the_value_back(value: float):
    encoded = two_hot(tensor([value]))
    assert encoded.min() >= 0
    assert float(encoded.sum()) == pytest.approx(1)
    assert 1 <= int((encoded > 0).sum()) <= 2
    assert float(two_hot_mean(torch.log(encoded))[0]) == pytest.approx(value, rel=1e-4, abs=1e-5)


@same_every_time
@given(st.floats(-1e6, 1e6, width=32))
def test_two_hot_treats_gains_and_losses_alike(value: float):
    torch.testing.assert_close(two_hot(tensor([-value])), two_hot(tensor([value])).flip(-1), rtol=0, atol=1e-4)


def test_two_hot_shares_a_value_between_its_neighbours_by_closeness():
    low, high = symexp(bin_centres()[[130, 131]])
    between = symexp(symlog(low) + 0.25 * (symlog(high) - symlog(low)))
    encoded = two_hot(between)
    assert float(encoded[130]) == pytest.approx(0.75, abs=1e-4)
    assert float(encoded[131]) == pytest.approx(0.25, abs=1e-4)


def test_what_lies_beyond_the_bins_is_held_at_the_last_one():
    assert two_hot(tensor([1e12, -1e12, math.inf]))[[0, 1, 2], [254, 0, 254]].tolist() == [1, 1, 1]


def test_nan_is_not_encoded_as_a_number():
    assert two_hot(tensor([math.nan])).isnan().any()


def test_the_value_of_a_mixture_is_its_mean_in_symlog_space_which_rare_extremes_move_less():
    # One time in ten a cost of 9, else none: the mean is 0.9, the head's value 10^0.1 - 1.
    logits = torch.log(0.1 * two_hot(tensor([9.0])) + 0.9 * two_hot(tensor([0.0])))
    assert float(two_hot_mean(logits)[0]) == pytest.approx(10**0.1 - 1, abs=1e-3)


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
    for _ in range(50):
        weight = expectile_weight(samples, value.expand_as(samples), tau, upper)
        value = (weight * samples).sum() / weight.sum()
    return float(value)


def test_upper_expectile_lies_above_the_mean_and_lower_below():
    # Two equally likely values 0 and 1: the tau-expectile is tau (upper) or 1 - tau (lower).
    samples = tensor([0.0, 1.0])
    assert expectile(samples, 0.8, upper=True) == pytest.approx(0.8, abs=1e-4)
    assert expectile(samples, 0.8, upper=False) == pytest.approx(0.2, abs=1e-4)


finite = st.floats(-100, 100, width=32)


@same_every_time
@given(st.lists(finite, min_size=2, max_size=6), st.floats(0.05, 0.95))
def test_the_lower_expectile_is_the_upper_one_of_what_is_turned_round(samples: list[float], tau: float):
    turned = expectile(-tensor(samples), tau, upper=False)
    assert -turned == pytest.approx(expectile(tensor(samples), tau, upper=True), abs=1e-2)


@pytest.mark.parametrize("upper", [True, False])
def test_at_one_half_the_expectile_is_the_mean(upper: bool):
    assert expectile(tensor([0.0, 1.0, 5.0]), 0.5, upper) == pytest.approx(2.0)


def test_reward_wants_the_best_that_was_done_and_risk_the_least():
    # Nine of ten times the action is a bad one: Q 0 instead of 1, risk 1 instead of 0.
    q_r, q_h = tensor([0.0] * 9 + [1.0]), tensor([1.0] * 9 + [0.0])
    assert expectile(q_r, 0.99, upper=True) > 0.9
    assert expectile(q_h, 0.99, upper=False) < 0.1


def test_expectile_weights_send_no_gradient():
    value = tensor([0.5], requires_grad=True)
    assert not expectile_weight(tensor([1.0]), value, 0.8, upper=True).requires_grad


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


def test_with_lambda_zero_only_the_next_value_counts_and_with_one_only_the_last():
    reward, value = tensor([[1.0, 2.0, 4.0]]), tensor([[10.0, 20.0, 30.0]])
    goes_on, cut = torch.ones(1, 3), tensor([[False, False, True]])
    one_step = lambda_return(reward, goes_on, value, cut, discount=0.5, lambda_=0.0)
    torch.testing.assert_close(one_step, tensor([[1 + 5.0, 2 + 10.0, 4 + 15.0]]))
    all_steps = lambda_return(reward, goes_on, value, cut, discount=0.5, lambda_=1.0)
    torch.testing.assert_close(all_steps, tensor([[1 + 0.5 * (2 + 0.5 * 19.0), 2 + 0.5 * 19.0, 19.0]]))


def test_a_terminal_in_the_midst_of_a_sequence_ends_the_return_there():
    reward, value = tensor([[1.0, 2.0, 64.0]]), torch.full((1, 3), 64.0)
    goes_on, cut = tensor([[1.0, 0.0, 1.0]]), tensor([[False, True, True]])
    returns = lambda_return(reward, goes_on, value, cut, discount=0.5, lambda_=1.0)
    assert returns[0, :2].tolist() == [1 + 0.5 * 2, 2]


def test_a_time_limit_in_the_midst_of_a_sequence_bootstraps_with_the_value_of_the_last_row():
    reward, value = tensor([[1.0, 2.0, 64.0]]), tensor([[99.0, 8.0, 99.0]])
    goes_on, cut = torch.ones(1, 3), tensor([[False, True, True]])
    returns = lambda_return(reward, goes_on, value, cut, discount=0.5, lambda_=1.0)
    assert returns[0, :2].tolist() == [1 + 0.5 * (2 + 0.5 * 8), 2 + 0.5 * 8]


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


def test_risk_is_the_greater_of_now_and_later_and_never_their_sum():
    violation, later = tensor([0.5, 1.0]), tensor([1.0, 1.0])
    assert reachability_target(violation, torch.ones(2), later, discount=0.9).tolist() == [pytest.approx(0.9), 1.0]


def test_a_violation_n_steps_ahead_is_worth_the_discount_to_the_nth():
    risk = tensor([0.0])
    for violation in (1.0, 0.0, 0.0, 0.0):
        risk = reachability_target(tensor([violation]), tensor([1.0]), risk, discount=0.95)
    assert float(risk) == pytest.approx(0.95**3)


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


def test_where_nothing_can_happen_risk_does_not_count():
    assert weight(a_r=1.0, a_c=0.0, q_h=0.2, v_h=0.0) == pytest.approx(weight(a_r=1.0, a_c=0.0, q_h=0.0, v_h=0.0))


def test_where_it_is_unsafe_the_way_out_weighs_more():
    assert weight(a_r=0.0, a_c=0.0, q_h=0.5, v_h=0.8) > 1 > weight(a_r=0.0, a_c=0.0, q_h=0.9, v_h=0.8)


def test_the_eps_boundary_belongs_to_what_is_feasible():
    assert weight(a_r=0.0, a_c=0.0, q_h=0.2, v_h=0.1) > 0
    assert weight(a_r=0.0, a_c=0.0, q_h=0.9, v_h=0.2) == 0


def test_without_temperature_every_action_that_is_left_weighs_the_same():
    a_r, q_h = tensor([-3.0, 4.0, 4.0]), tensor([0.1, 0.1, 0.9])
    zero = torch.zeros(3)
    cloning = policy_weight(a_r, zero, q_h, zero, multiplier=0.5, beta=0.0, eta=3.0, eps=0.2, limit=100.0)
    assert cloning.tolist() == [1, 1, 0]


advantages = st.lists(st.floats(-1, 1, width=32), min_size=3, max_size=3)


@same_every_time
@given(advantages, st.lists(st.floats(-1, 1, width=32), min_size=3, max_size=3))
def test_weights_times_behaviour_are_the_best_policy_that_stays_close_to_it(a_r: list[float], other: list[float]):
    # Closed form: pi ~ mu * w is where E_pi[A] - KL[pi || mu] / beta is greatest; any other policy has less.
    behaviour, beta = tensor([0.5, 0.3, 0.2]), 2.0
    zero = torch.zeros(3)
    w = policy_weight(tensor(a_r), zero, zero, zero, multiplier=0.0, beta=beta, eta=0.0, eps=0.2, limit=100.0)

    def objective(policy: torch.Tensor) -> float:
        return float((policy * (tensor(a_r) - torch.log(policy / behaviour) / beta)).sum())

    best = behaviour * w / (behaviour * w).sum()
    assert objective(best) >= objective(torch.softmax(torch.log(best) + tensor(other), 0)) - 1e-5


def test_multiplier_grows_with_violation_and_stops_at_zero():
    assert multiplier_update(1.0, 0.5, 0.2) == (pytest.approx(1.1), pytest.approx(0.5 * (1 + 1e-5)))
    assert multiplier_update(0.05, 1.0, -0.2) == (0.0, 1.0)


def test_penalty_grows_slowly_and_no_further_than_one():
    penalty = 0.99
    for _ in range(2000):
        _, penalty = multiplier_update(0.0, penalty, 0.0)
    assert penalty == 1.0


def test_multiplier_settles_where_the_constraint_holds():
    # A policy whose cost falls as 1 - multiplier, and a limit of 0.25.
    multiplier, penalty = 0.0, 0.1
    for _ in range(200):
        multiplier, penalty = multiplier_update(multiplier, penalty, violation=(1 - multiplier) - 0.25)
    assert multiplier == pytest.approx(0.75)


def test_kl_of_equal_distributions_is_zero_and_free_nats_hold():
    log_p = torch.log_softmax(torch.randn(4, 3, 5), -1)
    assert categorical_kl(log_p, log_p).abs().max() < 1e-6
    torch.testing.assert_close(balanced_kl(log_p, log_p, 1.0, 0.5, 0.1), torch.full((4,), 0.6))


def log_probabilities(*probabilities: float) -> torch.Tensor:
    """One variable: (1, 1, classes)."""
    return torch.log(tensor([[probabilities]]))


def test_kl_by_hand():
    kl = categorical_kl(log_probabilities(0.5, 0.5), log_probabilities(0.25, 0.75))
    assert float(kl) == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))


def test_kl_is_summed_over_the_variables_of_a_state_and_not_over_states():
    posterior = log_probabilities(0.9, 0.1).expand(4, 3, 2)
    prior = log_probabilities(0.1, 0.9).expand(4, 3, 2)
    torch.testing.assert_close(categorical_kl(posterior, prior), torch.full((4,), 3 * 0.8 * math.log(9)))


def test_kl_balance_weighs_both_directions_of_the_gradient():
    posterior, prior = log_probabilities(0.9, 0.1).requires_grad_(), log_probabilities(0.1, 0.9).requires_grad_()
    loss = balanced_kl(posterior, prior, 1.0, 0.5, 0.1)
    assert float(loss.detach()) == pytest.approx(0.6 * 0.8 * math.log(9))
    to_posterior, to_prior = torch.autograd.grad(loss.sum(), (posterior, prior))
    plain_posterior, plain_prior = torch.autograd.grad(categorical_kl(posterior, prior).sum(), (posterior, prior))
    torch.testing.assert_close(to_posterior, 0.1 * plain_posterior)
    torch.testing.assert_close(to_prior, 0.5 * plain_prior)


def test_below_the_free_nats_nothing_is_pushed():
    posterior, prior = log_probabilities(0.6, 0.4).requires_grad_(), log_probabilities(0.4, 0.6).requires_grad_()
    loss = balanced_kl(posterior, prior, 1.0, 0.5, 0.1)
    assert float(loss.detach()) == pytest.approx(0.6)
    for gradient in torch.autograd.grad(loss.sum(), (posterior, prior)):
        assert gradient.abs().max() == 0


def test_masked_mean_leaves_out_and_survives_an_empty_mask():
    assert masked_mean(tensor([1.0, 5.0]), tensor([True, False])) == 1
    assert masked_mean(tensor([1.0]), tensor([False])) == 0


def test_binary_nll_by_hand_and_least_at_its_soft_target():
    logit = tensor([0.0, math.log(3), math.log(9)], requires_grad=True)
    loss = binary_nll(logit, tensor([1.0, 0.75, 0.75]))
    assert float(loss[0].detach()) == pytest.approx(math.log(2))
    (gradient,) = torch.autograd.grad(loss.sum(), logit)
    torch.testing.assert_close(gradient, tensor([-0.5, 0.0, 0.15]))


def test_each_loss_is_averaged_and_scaled_and_one_without_a_scale_is_an_error():
    losses = {"reward": tensor([1.0, 3.0]), "cost": tensor([4.0])}
    scaled = scaled_means(losses, {"reward": 0.5, "cost": 2.0})
    assert {name: float(loss) for name, loss in scaled.items()} == {"reward": 1.0, "cost": 8.0}
    with pytest.raises(ValueError, match="differ in cost"):
        scaled_means(losses, {"reward": 0.5})
    with pytest.raises(ValueError, match="differ in embed"):
        scaled_means(losses, {"reward": 0.5, "cost": 2.0, "embed": 1.0})
