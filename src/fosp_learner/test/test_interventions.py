"""Which steps an operator overrode, which the safety monitor changed."""

from __future__ import annotations

import numpy as np
import pytest

from fosp_learner.finetuning.interventions import Answer, Mark, mark_steps

STAMPS = np.arange(4, dtype=np.int64)


def answers(*let_through: float, changed: bool = False, limited: bool = False) -> dict[int, Answer]:
    return {
        stamp: Answer(changed, np.array([value, 0.0], np.float32), limited) for stamp, value in enumerate(let_through)
    }


def executed(*first_axis: float) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.stack([np.array(first_axis), np.zeros(len(first_axis))], 1).astype(np.float32)


def marks(actions: tuple[float, ...], told: dict[int, Answer]) -> list[int]:
    return mark_steps(executed(*actions), STAMPS, told, 0.15).tolist()


def test_what_was_let_through_and_executed_is_as_proposed() -> None:
    assert marks((0.5, 0.5, 0.5, 0.0), answers(0.5, 0.5, 0.5, 0.5)) == [Mark.PROPOSED] * 4


def test_the_way_from_one_verdict_to_the_next_is_no_override() -> None:
    assert marks((0.1, 0.6, -0.2, 0.0), answers(0.5, 0.9, -0.8, 0.0)) == [Mark.PROPOSED] * 4


def test_an_action_that_nobody_let_through_is_an_override() -> None:
    told = answers(0.5, 0.5, 0.5, 0.5)
    assert marks((0.5, -0.6, 0.5, 0.0), told) == [Mark.PROPOSED, Mark.OVERRIDDEN, Mark.PROPOSED, Mark.PROPOSED]


def test_where_hard_limits_were_at_work_nothing_is_said_of_an_operator() -> None:
    assert marks((0.5, -0.6, 0.5, 0.0), answers(0.5, 0.5, 0.5, 0.5, limited=True)) == [Mark.PROPOSED] * 4


def test_what_the_monitor_changed_is_told_apart() -> None:
    assert marks((0.5, 0.5, 0.5, 0.0), answers(0.5, 0.5, 0.5, 0.5, changed=True))[:3] == [Mark.CHANGED] * 3


@pytest.mark.parametrize("told", [{}, {2: Answer(False, np.zeros(2, np.float32), False)}])
def test_without_a_verdict_nobody_proposed_anything_else(told: dict[int, Answer]) -> None:
    assert marks((0.9, 0.9, 0.0, 0.0), told)[:2] == [Mark.PROPOSED] * 2
