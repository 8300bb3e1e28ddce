"""The demonstrators' planner."""

from __future__ import annotations

import numpy as np
import pytest

from fosp_sim.task.drivers import Route, Terrain

TERRAIN = Terrain(lower=(0.0, 0.0), upper=(1.0, 1.0), cell=0.02, hard=0.05, soft=0.12)
GOAL = np.array([0.9, 0.5])


def pillar(points: np.ndarray) -> np.ndarray:
    """Clearance of a pillar of radius 0.1 in the middle."""
    return np.asarray(np.hypot(points[:, 0] - 0.5, points[:, 1] - 0.5) - 0.1)


def follow(route: Route, start: np.ndarray) -> np.ndarray:
    track = [start]
    for _ in range(400):
        target, _ = route.ahead(track[-1], 0.1)
        way = target - track[-1]
        track.append(track[-1] + way * min(1.0, 0.01 / max(np.hypot(*way), 1e-9)))
        if np.hypot(*(GOAL - track[-1])) < 0.02:
            break
    return np.array(track)


def test_the_way_without_obstacles_is_straight() -> None:
    route = Route(TERRAIN, lambda points: np.full(len(points), np.inf), GOAL)
    target, length = route.ahead(np.array([0.1, 0.5]), 0.2)
    assert target[1] == pytest.approx(0.5, abs=0.02)
    assert length == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("y", [0.3, 0.47, 0.5, 0.53, 0.7])
def test_the_way_leads_around_an_obstacle_with_room_to_spare(y: float) -> None:
    track = follow(Route(TERRAIN, pillar, GOAL), np.array([0.1, y]))
    assert np.hypot(*(track[-1] - GOAL)) < 0.02
    assert pillar(track).min() > TERRAIN.hard
    assert np.hypot(*np.diff(track, axis=0).T).sum() < 1.3


def test_from_too_near_the_way_leads_out() -> None:
    track = follow(Route(TERRAIN, pillar, GOAL), np.array([0.38, 0.5]))
    clearances = pillar(track)
    assert clearances[0] < TERRAIN.hard
    assert clearances[20:].min() > TERRAIN.hard
