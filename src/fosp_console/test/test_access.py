"""The token, the origin of a request, and how often somebody may try."""

from __future__ import annotations

import pytest

from fosp_console.access import Access, Allowance, RateLimit, access, is_loopback, new_token
from fosp_core.errors import UserError

TOKEN = "a-token-of-some-length"
HERE = Access("127.0.0.1", 8420, TOKEN)
EVERYWHERE = Access("0.0.0.0", 8420, TOKEN)


@pytest.mark.parametrize("wrong", ["", TOKEN[:-1], TOKEN + " ", TOKEN.upper(), "\udcff", None, 7, ["x"]])
def test_only_the_whole_token_lets_a_page_act(wrong: object) -> None:
    assert HERE.knows(TOKEN)
    assert not HERE.knows(wrong)


@pytest.mark.parametrize(
    "bad", ["short", "with a space in it, long", "ünlautig-und-lang-genug", "has-a-#-in-the-middle", "a" * 15]
)
def test_a_token_that_cannot_be_sent_or_is_guessed_is_refused(bad: str) -> None:
    with pytest.raises(UserError, match="token"):
        Access("127.0.0.1", 1, bad)


def test_tokens_are_drawn_anew_and_long() -> None:
    assert len({new_token() for _ in range(50)}) == 50
    assert access("127.0.0.1", 1, "").token != access("127.0.0.1", 1, "").token


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "robot.local", ""])
def test_other_computers_get_in_with_a_token_alone(host: str) -> None:
    with pytest.raises(UserError, match="--token"):
        access(host, 1, "")
    assert access(host, 1, TOKEN).token == TOKEN


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("127.9.9.9", True),
        ("10.0.0.1", False),
        ("x", False),
    ],
)
def test_loopback_is_known(host: str, local: bool) -> None:
    assert is_loopback(host) is local


@pytest.mark.parametrize("name", ["127.0.0.1:8420", "localhost:8420", "LOCALHOST", "[::1]:8420"])
def test_a_local_server_answers_to_the_names_of_this_computer(name: str) -> None:
    assert HERE.answers_to(name)


@pytest.mark.parametrize(
    "name",
    [
        None,
        "",
        "evil.example",
        "evil.example:8420",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "a@127.0.0.1",
        "127.0.0.1/x",
        "[::1",
        "127.0.0.1:x",
        "localhost.evil.example",
    ],
)
def test_a_name_that_is_made_to_point_here_gets_no_answer(name: str | None) -> None:
    assert not HERE.answers_to(name)


def test_a_server_for_all_answers_to_addresses_and_to_no_name() -> None:
    assert EVERYWHERE.answers_to("192.168.1.5:8420")
    assert not EVERYWHERE.answers_to("evil.example:8420")
    assert not Access("192.168.1.5", 1, TOKEN).answers_to("192.168.1.6")
    assert Access("robot.local", 1, TOKEN).answers_to("robot.local:1")


def test_requests_come_from_this_servers_own_page() -> None:
    assert HERE.comes_from_here("http://127.0.0.1:8420", "127.0.0.1:8420")
    assert HERE.comes_from_here("https://localhost:8420", "localhost:8420")
    for origin in (
        None,
        "",
        "null",
        "http://evil.example",
        "http://127.0.0.1",
        "http://127.0.0.1:8421",
        "http://localhost:8420",
        "file://",
    ):
        assert not HERE.comes_from_here(origin, "127.0.0.1:8420"), origin
    assert not HERE.comes_from_here("http://evil.example", "evil.example")


def test_tries_are_limited_and_come_back_with_time() -> None:
    limit = RateLimit(Allowance(burst=3, per_s=1.0))
    assert [limit.take("a", 0.0) for _ in range(4)] == [True, True, True, False]
    assert limit.take("b", 0.0), "another caller has tries of its own"
    assert not limit.take("a", 0.5)
    assert limit.take("a", 1.1)
    assert not limit.take("a", -100.0), "a clock that jumps back gives nothing"


def test_callers_are_forgotten_so_that_memory_stays_bounded() -> None:
    limit = RateLimit(Allowance(burst=1, per_s=0.0))
    for number in range(1000):
        limit.take(str(number), 0.0)
    assert len(limit._left) == 256
