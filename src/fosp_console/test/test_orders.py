"""A page may ask for known orders alone, and whoever engaged is watched."""

from __future__ import annotations

import json

import pytest

from fosp_console.operator_watch import SILENCE_S, OperatorWatch
from fosp_console.orders import ORDERS, Order, parse_order
from fosp_core.errors import UserError


def text(**content: object) -> str:
    return json.dumps(content)


def test_every_order_is_understood() -> None:
    for name in ORDERS:
        order = parse_order(text(order=name, session="abcdefgh", model_id="0123456789ab"))
        assert order.name == name
    assert parse_order(text(order="mark", note="  a\tnote\n\x1b[31m of  it ")).note == "a note [31m of it"
    assert parse_order(text(order="estop")) == Order("estop")


@pytest.mark.parametrize(
    ("request_text", "said"),
    [
        ("", "JSON object"),
        ("[]", "JSON object"),
        ("null", "JSON object"),
        ('{"order": "fly"}', "order must be one of"),
        ('{"order": ["estop"]}', "order must be one of"),
        ('{"order": "estop", "path": "/etc/passwd"}', "no field 'path'"),
        ('{"order": "engage"}', "needs the session"),
        ('{"order": "engage", "session": "../../x"}', "session"),
        ('{"order": "announce"}', "needs model_id"),
        ('{"order": "announce", "model_id": "../models/x"}', "needs model_id"),
        ('{"order": "announce", "model_id": 7}', "model_id is a text"),
        (text(order="mark", note="x" * 201), "at most 200"),
        ("[" * 2000, "JSON object"),
        (text(order="mark", note="x" * 3000), "at most 2048"),
    ],
)
def test_anything_else_is_refused_in_one_line(request_text: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as refused:
        parse_order(request_text)
    assert "\n" not in str(refused.value)


def test_a_watch_ends_when_its_page_falls_silent_or_goes() -> None:
    watch = OperatorWatch()
    assert watch.begin("page-one", 0.0) == ""
    assert watch.grant("page-one")
    watch.hear("page-one", 1.0)
    assert not watch.lapsed(1.0 + SILENCE_S)
    assert watch.lapsed(1.01 + SILENCE_S)
    assert watch.session == ""
    assert not watch.granted
    assert watch.begin("page-one", 5.0) == ""
    assert not watch.left("page-two")
    assert watch.left("page-one")
    assert not watch.left("page-one")


def test_nobody_else_keeps_a_watch_alive_or_takes_it_over() -> None:
    watch = OperatorWatch()
    watch.begin("page-one", 0.0)
    watch.hear("page-two", 10.0)
    assert "another page" in watch.begin("page-two", 1.0)
    assert not watch.grant("page-two")
    assert watch.lapsed(10.0)


def test_a_page_that_went_while_it_engaged_is_not_granted_the_robot() -> None:
    watch = OperatorWatch()
    watch.begin("page-one", 0.0)
    watch.left("page-one")
    assert not watch.grant("page-one")
    assert not watch.grant("")


def test_a_clock_that_jumps_back_ends_the_watch() -> None:
    watch = OperatorWatch()
    watch.begin("page-one", 100.0)
    assert watch.lapsed(50.0)
