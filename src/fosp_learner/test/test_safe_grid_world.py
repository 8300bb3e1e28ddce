"""The whole offline actor-critic on a world whose best safe policy is known, and what goes wrong without each idea.

    . . . . .       S start     G goal, reward 1, the end
    . . . . .       ~ ice: whatever is tried, it slides to the right
    S ~ ~ ! G       ! hazard: entering it costs 1, and the walk goes on

Straight ahead the goal is 4 steps away, over ice into the hazard; once on the ice there is no way back. The shortest
safe way goes round, in 6 steps. The data hold no careful walker: half of the episodes hurry towards the goal straight
over the ice, the others stagger about at random.

S lies below a kerb: it can be left, not entered, and nobody stands still. For V_r is the return of the data, unsafe
ways included, so a place from which a forbidden way is much shorter is worth more than it should be: given the choice,
the policy may wait there.

Cells are one-hot features in place of the world model's latents. All else is the project's own: sequences with seams,
critics, closed-form weights, actor, with the defaults of the configuration but for what a world of 15 cells makes
sensible (a shorter discount, small networks, large steps, beta 3).
"""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from fosp_learner import config as learner_config
from fosp_learner.config import LearnerConfig, NetworkConfig
from fosp_learner.data.bags import Episode
from fosp_learner.data.dataset import Dataset, from_episodes
from fosp_learner.data.samplers import SequenceSampler
from fosp_learner.training.behaviour import Behaviour, behaviour_loss, data_trajectories

pytestmark = pytest.mark.slow

MAP = [".....", ".....", "S~~!G"]
CELLS = [(row, column) for row in range(3) for column in range(5)]
START, GOAL = (2, 0), (2, 4)
MOVES = {"right": (0, 1), "left": (0, -1), "up": (-1, 0), "down": (1, 0)}
AXES = {"right": (1, 0), "left": (-1, 0), "up": (0, 1), "down": (0, -1)}
"""The action that is recorded for a move: two axes in [-1, 1]."""

Cell = tuple[int, int]


def tile(cell: Cell) -> str:
    return MAP[cell[0]][cell[1]]


def step(cell: Cell, move: str) -> tuple[Cell, float]:
    """Next cell, and the cost of entering it. Walls and the start cannot be entered."""
    down, right = MOVES["right" if tile(cell) == "~" else move]
    following = (cell[0] + down, cell[1] + right)
    if following not in CELLS or following == START:
        return cell, 0.0
    return following, float(tile(following) == "!")


def safe_distances() -> dict[Cell, int]:
    """Steps of the shortest way to the goal without cost, from each cell that has one: the feasible cells."""
    distances, reached = {GOAL: 0}, True
    while reached:
        safe_steps = [(cell, *step(cell, move)) for cell in CELLS for move in MOVES if cell not in distances]
        reached = {
            cell: distances[following] for cell, following, cost in safe_steps if not cost and following in distances
        }
        nearest = min(reached.values(), default=0)
        distances |= {cell: nearest + 1 for cell, distance in reached.items() if distance == nearest}
    return distances


def walk_in_data(rng: np.random.Generator, hurries: bool, time_limit: int = 24) -> tuple[Episode, list[Cell]]:
    """One recorded episode and its cells, from the start or from anywhere. The goal is terminal, the time limit not."""
    cells = [START if rng.random() < 0.5 else CELLS[rng.integers(len(CELLS) - 1)]]
    actions, costs = [], [0.0]
    while cells[-1] != GOAL and len(cells) < time_limit:
        cell = cells[-1]
        possible = [move for move in MOVES if step(cell, move)[0] != cell]
        towards_goal = [move for move, ahead in (("right", cell[1] < 4), ("down", cell[0] < 2)) if ahead]
        move = rng.choice(towards_goal if hurries and rng.random() < 0.8 else possible)
        following, cost = step(cell, move)
        cells.append(following)
        costs.append(cost)
        actions.append(np.clip(AXES[move] + rng.normal(0, 0.1, 2), -1, 1))
    arrived = np.array([cell == GOAL for cell in cells])
    arrived[0] = False
    return Episode(
        name="",
        images=np.zeros((len(cells), 1, 1, 1, 3), np.uint8),
        action=np.array([*actions, (0, 0)], np.float32),
        reward=arrived.astype(np.float32),
        cost=np.array(costs, np.float32),
        is_terminal=arrived,
        success=bool(arrived[-1]),
    ), cells


@cache
def recorded() -> tuple[Dataset, torch.Tensor]:
    """400 episodes, and the one-hot feature of each row."""
    rng = np.random.default_rng(0)
    walks = [walk_in_data(rng, hurries=rng.random() < 0.5) for _ in range(400)]
    cells = torch.tensor([CELLS.index(cell) for _, visited in walks for cell in visited])
    return from_episodes([episode for episode, _ in walks]), torch.eye(len(CELLS))[cells]


@cache
def learned(**switches: float) -> Behaviour:
    """Trained from the data, with some settings ("<part>__<name>") other than usual."""
    torch.manual_seed(0)
    settings: dict[str, dict[str, Any]] = {
        "critic": {"discount": 0.9, "layers": 1, "target_rate": 0.1},
        "actor": {"sees": "all", "layers": 1, "units": None, "components": 1, "beta": 3.0, "multiplier_step": 1e-3},
        "cloning": {"share": 0.0},
    }
    for switch, value in switches.items():
        part, name = switch.split("__")
        settings[part][name] = value
    one_hot = NetworkConfig(recurrent=len(CELLS), variables=0, classes=0, cnn_depth=0, units=32, keypoints=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(learner_config.SIZES, "nano", one_hot)
        behaviour = Behaviour(LearnerConfig.model_validate(settings), action=2)
    data, feature = recorded()
    sampler = SequenceSampler(data, length=8, seed=0)
    optimiser = torch.optim.Adam([p for p in behaviour.parameters() if p.requires_grad], lr=5e-3, fused=True)
    decay = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda i: min(1.0, 2 - i / 125 + 0.02))
    for _ in range(250):
        rows, batch = sampler.rows(32)
        loss = behaviour_loss(behaviour, data_trajectories(batch, feature[rows]))
        optimiser.zero_grad()
        (loss.critics + loss.actor).backward()
        optimiser.step()
        decay.step()
        behaviour.critics.update_target()
    return behaviour


def walk(behaviour: Behaviour, cell: Cell) -> tuple[bool, int, float]:
    """Follow the mean of the policy: whether the goal was reached within 20 steps, how many it took, and their cost."""
    steps, total = 0, 0.0
    while cell != GOAL and steps < 20:
        with torch.no_grad():
            x, y = behaviour.actor(torch.eye(len(CELLS))[CELLS.index(cell)])[0].tolist()
        cell, cost = step(cell, max(MOVES, key=lambda move: x * AXES[move][0] + y * AXES[move][1]))
        steps, total = steps + 1, total + cost
    return cell == GOAL, steps, total


def risk(behaviour: Behaviour) -> dict[Cell, float]:
    """V_h of each cell."""
    with torch.no_grad():
        v_h = behaviour.critics.v.values(torch.eye(len(CELLS)))[2]
    return dict(zip(CELLS, v_h.tolist(), strict=True))


def test_the_safe_way_is_the_longer_one_and_the_ice_alone_is_infeasible():
    distances = safe_distances()
    assert distances[START] == 6
    assert {tile(cell) for cell in CELLS if cell not in distances} == {"~"}
    cell, cost = START, 0.0
    for _ in range(4):
        cell, entering = step(cell, "right")
        cost += entering
    assert (cell, cost) == (GOAL, 1.0)


def test_the_data_are_mostly_unsafe_and_seldom_good():
    data, _ = recorded()
    assert data.share("violates") > 0.6
    assert data.share("success") < 0.3


def test_the_policy_takes_the_shortest_safe_way_from_every_feasible_cell():
    behaviour = learned()
    for cell, distance in safe_distances().items():
        assert walk(behaviour, cell) == (True, distance, 0.0) or cell == GOAL, cell


def test_v_h_tells_feasible_from_infeasible_cells():
    behaviour, feasible = learned(), safe_distances()
    eps = behaviour.config.actor.eps
    values = risk(behaviour)
    del values[GOAL]  # the end: nothing is done there
    assert {cell for cell, value in values.items() if value <= eps} == set(feasible) - {GOAL}


def test_cloning_the_behaviour_goes_over_the_ice():
    _, _, cost = walk(learned(actor__beta=0.0, actor__reachability=False), START)
    assert cost > 0


def test_cloning_what_the_feasibility_filter_leaves_is_safe_and_gets_nowhere():
    arrived, _, cost = walk(learned(actor__beta=0.0), START)
    assert (arrived, cost) == (False, 0)


def test_without_reachability_the_short_and_dangerous_way_is_taken():
    assert walk(learned(actor__reachability=False), START) == (True, 4, 1.0)


@pytest.mark.parametrize("tau", [0.5, 0.1])
def test_with_risk_averaged_over_the_data_or_worse_safe_cells_look_unsafe_and_the_goal_is_not_reached(tau: float):
    behaviour = learned(critic__reachability_expectile=tau)
    assert risk(behaviour)[(1, 1)] > behaviour.config.actor.eps
    arrived, _, cost = walk(behaviour, START)
    assert (arrived, cost) == (False, 0)
