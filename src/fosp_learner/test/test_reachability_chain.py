"""Reachability on a chain whose feasible set is known: why V_h is a lower expectile.

    ledge                     slope
    v                         > > > > > >
    0   1   2   3   4   |   5 6 7 8 9 10        a step over either end is a violation, and the end of the episode

On the flat cells 0 to 4 a step goes where it wants to. On the slope every step goes down to the right, so a violation
is certain from cell 5 on, however far away it still is. The data are of careless walkers: near an edge they step
towards it three times of four. So what a state's risk is *on average over the data* says nothing about what could be
done there: on the ledge most data fall at once, though one step back is safe.

States are one-hot features, so the networks are tables, and their fixed point is computed beside them.
"""

from functools import cache

import pytest
import torch

from fosp_learner.config import CriticConfig, NetworkConfig
from fosp_learner.model.critics import Critics, Trajectories
from fosp_learner.model.losses import expectile_weight, lambda_return, reachability_target

pytestmark = pytest.mark.slow

FLAT, CELLS = 5, 11
DISCOUNT = CriticConfig().reachability_discount
CARELESS = {0: (3, 1), 1: (3, 1), 2: (2, 2), 3: (1, 3), 4: (1, 3)}
"""Steps out of four from a flat cell: to the left, to the right."""


def step(cell: int, direction: int) -> tuple[int, bool]:
    """Next cell, and whether it was a violation (the chain is left, the cell stays)."""
    following = cell + (direction if cell < FLAT else 1)
    violation = not 0 <= following < CELLS
    return (cell if violation else following), violation


def viable_cells() -> set[int]:
    """Largest set of cells that can be stayed in without violation: the others are struck out, over and over."""
    viable, struck = set(range(CELLS)), True
    while struck:
        going_on = {c for c in viable for d in (-1, 1) if not step(c, d)[1] and step(c, d)[0] in viable}
        struck, viable = going_on != viable, going_on
    return viable


def careless_steps() -> list[tuple[int, int]]:
    """(cell, direction) as often as the data hold it."""
    left_and_right = {cell: CARELESS.get(cell, (2, 2)) for cell in range(CELLS)}
    return [
        (c, d) for c, counts in left_and_right.items() for d, n in zip((-1, 1), counts, strict=True) for _ in range(n)
    ]


def chain_data() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Cell, direction, next cell and 1[violation] of every step of the data, each (transitions,)."""
    steps = careless_steps()
    outcomes = [step(*s) for s in steps]
    cell, direction = torch.tensor(steps).T
    return cell, direction, torch.tensor([o[0] for o in outcomes]), torch.tensor([float(o[1]) for o in outcomes])


def expectiles(q: torch.Tensor, cell: torch.Tensor, tau: float, upper: bool, sweeps: int = 50) -> torch.Tensor:
    """Expectile of q in each cell, (transitions,) -> (CELLS,)."""
    value = torch.zeros(CELLS)
    for _ in range(sweeps):
        weight = expectile_weight(q, value[cell], tau, upper)
        total = torch.zeros(CELLS).index_add_(0, cell, weight * q)
        value = total / torch.zeros(CELLS).index_add_(0, cell, weight)
    return value


@cache
def tabular_risk(tau: float) -> torch.Tensor:
    """Fixed point of V_h, by sweeps over a table: (CELLS,)."""
    cell, _, following, violation = chain_data()
    value = torch.zeros(CELLS)
    for _ in range(100):
        value = expectiles(reachability_target(violation, 1 - violation, value[following], DISCOUNT), cell, tau, False)
    return value


@cache
def learned_risk(tau: float) -> torch.Tensor:
    """V_h as the project's critics learn it from the same data: (CELLS,)."""
    torch.manual_seed(0)
    cell, direction, following, violation = chain_data()
    one_hot, nothing = torch.eye(CELLS), torch.zeros(len(cell), 1)
    data = Trajectories(
        feature=one_hot[torch.stack([cell, following], 1)],
        action=direction.reshape(-1, 1, 1).float(),
        followed=direction.reshape(-1, 1, 1).float(),
        reward=nothing,
        cost=violation[:, None],
        violation=violation[:, None],
        continues=1 - violation[:, None],
        cut=torch.ones(len(cell), 1, dtype=torch.bool),
        valid=torch.ones(len(cell), 1, dtype=torch.bool),
    )
    size = NetworkConfig(recurrent=CELLS, variables=0, classes=0, cnn_depth=0, units=32, keypoints=0)
    critics = Critics(size, CriticConfig(layers=1, reachability_expectile=tau, target_rate=0.2), action=1)
    optimiser = torch.optim.Adam([p for p in critics.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(300):
        losses, _ = critics.loss(data)
        optimiser.zero_grad()
        (losses["q_h"] + losses["v_h"]).backward()
        optimiser.step()
        critics.update_target()
    with torch.no_grad():
        risk: torch.Tensor = critics.v.values(one_hot)[2]
    return risk


def margin(risk: torch.Tensor) -> float:
    """How far the least risk of an infeasible cell lies above the greatest of a feasible one."""
    viable = sorted(viable_cells())
    doomed = sorted(set(range(CELLS)) - set(viable))
    return float(risk[doomed].min() - risk[viable].max())


def test_the_flat_cells_are_the_largest_feasible_set():
    assert viable_cells() == {0, 1, 2, 3, 4}


def test_on_the_slope_risk_is_the_discount_to_the_number_of_steps_left():
    expected = torch.tensor([DISCOUNT ** (CELLS - 1 - cell) for cell in range(FLAT, CELLS)])
    torch.testing.assert_close(tabular_risk(0.9)[FLAT:], expected)


@pytest.mark.parametrize("tau", [0.9, 0.5])
def test_the_critics_find_the_fixed_point_of_the_table(tau: float):
    torch.testing.assert_close(learned_risk(tau), tabular_risk(tau), rtol=0, atol=0.05)


def test_the_lower_expectile_separates_feasible_from_infeasible_cells():
    assert margin(tabular_risk(0.9)) > 0.2
    assert margin(learned_risk(0.9)) > 0.2


def test_the_mean_over_the_data_takes_the_ledge_for_worse_than_the_slope():
    assert margin(tabular_risk(0.5)) < 0
    assert margin(learned_risk(0.5)) < 0


def test_the_upper_expectile_sees_no_way_out_anywhere():
    assert margin(learned_risk(0.1)) < 0
    assert learned_risk(0.1).min() > 0.7


def test_the_lower_the_expectile_the_nearer_to_the_true_feasible_set():
    on_the_flat = [float(tabular_risk(tau)[:FLAT].max()) for tau in (0.5, 0.9, 0.99, 0.999)]
    assert on_the_flat == sorted(on_the_flat, reverse=True)
    assert on_the_flat[-1] < 0.01


def test_the_upper_expectile_of_reward_values_the_best_way_through_careless_data():
    # 1 for stepping over the right end. Always to the right would take CELLS - cell steps.
    cell, direction, following, left = chain_data()
    reward, ends = left * (direction > 0), torch.ones(len(cell), 1, dtype=torch.bool)

    def start_value(tau: float, upper: bool) -> float:
        value = torch.zeros(CELLS)
        for _ in range(100):
            q = lambda_return(reward[:, None], 1 - left[:, None], value[following][:, None], ends, 0.9, 0.95)[:, 0]
            value = expectiles(q, cell, tau, upper)
        return float(value[1])

    best = 0.9 ** (CELLS - 2)
    assert start_value(0.999, upper=True) == pytest.approx(best, rel=0.02)
    assert start_value(0.8, upper=True) > 1.5 * start_value(0.5, upper=True) > 2 * start_value(0.8, upper=False)
