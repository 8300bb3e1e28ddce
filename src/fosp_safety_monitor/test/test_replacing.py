"""A value with some fields changed is what dataclasses.replace makes of it."""

from __future__ import annotations

import dataclasses

import pytest

from fosp_safety_monitor.replacing import replaced


@dataclasses.dataclass(frozen=True)
class Point:
    x: float
    y: float = 0.0
    tags: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Positive:
    x: float

    def __post_init__(self) -> None:
        if self.x <= 0:
            raise ValueError("not positive")


def test_a_replaced_value_is_that_of_the_standard_library():
    point = Point(1.0, 2.0, ("a",))
    changed = replaced(point, y=3.0)
    assert changed == dataclasses.replace(point, y=3.0)
    assert type(changed) is Point
    assert hash(changed) == hash(Point(1.0, 3.0, ("a",)))
    assert point == Point(1.0, 2.0, ("a",))


def test_a_replaced_value_is_frozen_and_shares_nothing_that_can_change_with_its_origin():
    point = Point(1.0)
    changed = replaced(point)
    with pytest.raises(dataclasses.FrozenInstanceError):
        changed.x = 2.0
    object.__setattr__(changed, "x", 5.0)
    assert point.x == 1.0


def test_a_field_that_does_not_exist_is_refused():
    with pytest.raises(TypeError, match="Point has no field z"):
        replaced(Point(1.0), z=1.0)


def test_a_value_that_checks_itself_is_checked():
    with pytest.raises(ValueError, match="not positive"):
        replaced(Positive(1.0), x=-1.0)
