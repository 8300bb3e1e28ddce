"""Episodes of random rows, for tests that train on anything."""

from __future__ import annotations

import numpy as np

from fosp_learner.data.bags import Episode


def random_episode(length: int, seed: int, violates: bool = False, size: int = 32) -> Episode:
    """Return an episode of `length` random rows; a violating one has cost at its end."""
    rng = np.random.default_rng(seed)
    cost, terminal = np.zeros(length, np.float32), np.zeros(length, np.bool_)
    if violates:
        cost[-2:] = 1
    else:
        terminal[-1] = True
    return Episode(
        name=f"episode_{seed}",
        images=rng.integers(0, 256, (length, 1, size, size, 3), np.uint8),
        action=rng.uniform(-1, 1, (length, 3)).astype(np.float32),
        reward=np.concatenate([[0], rng.normal(0, 0.1, length - 1)]).astype(np.float32),
        cost=cost,
        is_terminal=terminal,
        success=not violates,
    )
