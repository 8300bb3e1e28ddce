"""The console in a real browser beside a live simulated graph, whose robot moves only when an operator engages."""

from __future__ import annotations

import http.client
import os
import signal
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

import pytest
from conftest import reserved_domain, wait_for
from console_rig import CHROMIUM, TOKEN, ConsoleRig, browser, console_rig

from fosp_bringup.environment import settings
from fosp_core.ros.stamps import seconds
from fosp_msgs.msg import SafetyVerdict

pytest.importorskip("playwright")
pytestmark = [
    pytest.mark.live,
    pytest.mark.timeout(240),
    pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is not installed"),
]
ESTOP_LATENCY_S = 0.150
VETO_LATENCY_S = 0.200
WATCH = """() => {
  window.shown = [];
  const box = document.getElementById("verdict");
  new MutationObserver(() => window.shown.push([box.dataset.decision, Number(box.dataset.decided), Date.now() / 1000]))
    .observe(box, { attributes: true, attributeFilter: ["data-decided"] });
}"""
"""Notes when the page shows which verdict."""


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleRig]:
    """One graph for all tests of this module, which come one after the other."""
    with reserved_domain() as domain_id, pytest.MonkeyPatch.context() as patch:
        variables = {"ROS_DOMAIN_ID": str(domain_id), "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET", **settings()}
        for name, value in variables.items():
            patch.setenv(name, value)
        with console_rig(tmp_path_factory.mktemp("console"), domain_id) as running:
            yield running
            print("\n".join(running.lines[-60:]))


@pytest.fixture(scope="module")
def chromium(rig: ConsoleRig) -> Iterator[Any]:
    with browser() as launched:
        yield launched


@pytest.fixture(scope="module")
def page(rig: ConsoleRig, chromium: Any) -> Any:
    """The page of an operator with the token."""
    opened = chromium.new_context(viewport={"width": 1440, "height": 1000}).new_page()
    opened.set_default_timeout(60_000)
    opened.errors = []
    opened.on("pageerror", lambda error: opened.errors.append(str(error)))
    opened.on("console", lambda said: opened.errors.append(said.text) if said.type == "error" else None)
    opened.goto(f"{rig.address}#token={TOKEN}")
    opened.wait_for_selector("#verdict[data-step]")
    return opened


def drive(rig: ConsoleRig, page: Any) -> None:
    """Let the operator end what is latched, and engage, until the robot moves."""
    until = time.monotonic() + 60.0
    while not rig.moves and time.monotonic() < until:
        if page.is_visible("#latch"):
            page.click("[data-order=reset]")
        page.click("[data-order=engage]")
        if page.get_attribute("[data-order=engage]", "data-confirming"):
            page.click("[data-order=engage]")
        look = time.monotonic() + 3.0
        while not rig.moves and time.monotonic() < look:
            page.wait_for_timeout(20)
    assert rig.moves, page.inner_text("#answer")


def shown(rig: ConsoleRig, page: Any, condition: Any, timeout_s: float = 10.0) -> None:
    """Wait for a condition while the page goes on."""
    until = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < until:
        page.wait_for_timeout(10)
    assert condition(), page.inner_text("#verdict")


def test_the_page_opens_on_the_live_graph_and_the_camera_moves(rig: ConsoleRig, page: Any) -> None:
    shown(rig, page, lambda: page.inner_text("#robot-name") == "sim_arm")
    assert "token" not in page.url, "the token has left the address bar"
    assert not rig.moves, "nothing moves before somebody engages"
    assert "not engaged" in page.inner_text("#verdict-text") or "no episode" in page.inner_text("#verdict-text")
    drive(rig, page)
    page.wait_for_function("() => Number(document.getElementById('camera').dataset.frames) > 1")
    first = page.evaluate("() => document.getElementById('camera').toDataURL()")
    page.wait_for_function("(first) => document.getElementById('camera').toDataURL() !== first", arg=first)
    assert page.errors == []


def test_a_verdict_that_does_not_pass_is_shown_at_once(rig: ConsoleRig, page: Any) -> None:
    drive(rig, page)
    page.evaluate(WATCH)
    page.click("[data-order=disengage]")
    page.wait_for_function("() => window.shown.filter(([decision]) => decision !== 'PASS').length > 10")
    delays = [at - decided for decision, decided, at in page.evaluate("() => window.shown") if decision != "PASS"]
    print(f"verdict to page: median {median(delays) * 1e3:.0f} ms, worst of {len(delays)} {max(delays) * 1e3:.0f} ms")
    assert median(delays) < VETO_LATENCY_S
    shown(rig, page, lambda: rig.stands)


@pytest.mark.long
def test_a_bundle_is_announced_and_rolled_back_from_the_page(rig: ConsoleRig, page: Any) -> None:
    """The nodes load and test the bundle and take it over; the one before comes back in the same way."""
    drive(rig, page)
    for wanted, order, name in ((rig.second, "announce", "second"), (rig.first, "roll_back", "first")):
        if order == "announce":
            page.select_option("#bundle-choice", wanted)
        page.click(f"[data-order={order}]")
        page.click(f"[data-order={order}][data-confirming]")
        page.wait_for_function(f"() => document.getElementById('answer').textContent.startsWith('announced {name}')")
        shown(rig, page, lambda: rig.verdicts[-1].model_id == wanted, 60.0)  # noqa: B023
        page.wait_for_function(f"() => document.getElementById('model').textContent.includes('{name} (')")
        page.wait_for_function("() => document.getElementById('trial').textContent.startsWith('No other bundle')")
    assert "second" in page.inner_text("#bundle-choice")


def estop_latency(rig: ConsoleRig, page: Any) -> float:
    """Press the space bar while the robot moves. Return the time to the decision that begins to brake, s."""
    drive(rig, page)
    pressed_s = time.time()
    page.keyboard.press("Space")
    shown(rig, page, lambda: rig.verdict(SafetyVerdict.LATCH, SafetyVerdict.REASON_ESTOP, pressed_s) is not None)
    verdict = rig.verdict(SafetyVerdict.LATCH, SafetyVerdict.REASON_ESTOP, pressed_s)
    assert verdict is not None
    shown(rig, page, lambda: rig.stands)
    return seconds(verdict.decided) - pressed_s


def test_the_space_bar_stops_the_robot(rig: ConsoleRig, page: Any) -> None:
    page.focus("[data-order=begin]")
    latencies = [estop_latency(rig, page) for _ in range(3)]
    print(f"space bar to braking command: {', '.join(f'{one * 1e3:.0f} ms' for one in latencies)}")
    assert median(latencies) < ESTOP_LATENCY_S
    page.wait_for_selector("#latch:visible")
    assert "emergency stop" in page.inner_text("#latch-cause")


@pytest.mark.long
def test_ninety_nine_of_a_hundred_emergency_stops_are_in_time(rig: ConsoleRig, page: Any) -> None:
    latencies = sorted(estop_latency(rig, page) for _ in range(40))
    print(
        f"space bar to braking command: p50 {median(latencies) * 1e3:.0f} ms, worst of 40 {latencies[-1] * 1e3:.0f} ms"
    )
    assert latencies[-1] < ESTOP_LATENCY_S


def test_a_refused_reset_shows_the_cause_and_what_speaks_against_it(rig: ConsoleRig, page: Any) -> None:
    drive(rig, page)
    stranger = rig.foreign_commander()
    page.wait_for_selector("#latch:visible")
    page.click("[data-order=reset]")
    page.wait_for_selector("#latch-refusal:visible")
    assert "refused" in page.inner_text("#answer")
    assert "command" in page.inner_text("#latch-cause")
    assert "publish" in page.inner_text("#latch-refusal")
    rig.client.node.destroy_publisher(stranger)
    drive(rig, page)
    assert not page.is_visible("#latch")


def ask(rig: ConsoleRig, method: str, path: str, body: str = "", **headers: str) -> tuple[int, str]:
    host = rig.address.removeprefix("http://").rstrip("/")
    connection = http.client.HTTPConnection(host, timeout=10.0)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body or None, {"Content-Type": "application/json", **sent})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_orders_of_strangers_are_refused(rig: ConsoleRig, page: Any) -> None:
    here, order = rig.address.rstrip("/"), '{"order": "mark"}'
    assert ask(rig, "POST", "/order", order, Origin=here, X_Fosp_Token=TOKEN)[0] == 200
    assert ask(rig, "POST", "/order", order, Origin="http://evil.example", X_Fosp_Token=TOKEN)[0] == 403
    assert ask(rig, "POST", "/order", order, X_Fosp_Token=TOKEN)[0] == 403
    assert ask(rig, "POST", "/order", order, Origin=here)[0] == 401
    assert ask(rig, "POST", "/order", order, Origin=here, X_Fosp_Token=TOKEN, Content_Type="text/plain")[0] == 415
    assert ask(rig, "POST", "/order", '{"order": "mark", "path": "x"}', Origin=here, X_Fosp_Token=TOKEN)[0] == 400
    assert ask(rig, "POST", "/order", "x" * 9999, Origin=here, X_Fosp_Token=TOKEN)[0] == 413
    assert ask(rig, "GET", "/", Host="evil.example")[0] == 421
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec_WebSocket_Version": "13"}
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    assert ask(rig, "GET", "/ws", Origin="http://evil.example", Sec_WebSocket_Key=key, **upgrade)[0] == 403
    for path in (
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/vendor/../server.py",
        "/README.md",
        "//etc/passwd",
    ):
        assert ask(rig, "GET", path)[0] == 404
    tries = [ask(rig, "POST", "/order", order, Origin=here, X_Fosp_Token="wrong")[0] for _ in range(12)]
    assert tries[0] == 401
    assert tries[-1] == 429
    assert ask(rig, "POST", "/order", order, Origin=here, X_Fosp_Token=TOKEN)[0] == 200, "the right token still counts"


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), pytest.param(2560, "dark", marks=pytest.mark.long)])
def test_nobody_is_kept_from_using_the_page(rig: ConsoleRig, chromium: Any, width: int, scheme: str) -> None:
    """A page without the token, which shows and does not act; axe finds nothing serious, and nothing runs over."""
    from axe_playwright_python.sync_playwright import Axe

    context = chromium.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    page.goto(rig.address)
    page.wait_for_selector("#verdict[data-step]")
    page.wait_for_selector("#diagnostics details")
    assert page.is_disabled("[data-order=reset]")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    found = Axe().run(page).response["violations"]
    serious = [
        f"{one['id']}: {one['nodes'][0]['html'][:120]}" for one in found if one["impact"] in ("serious", "critical")
    ]
    assert serious == []
    page.keyboard.press("Space")
    page.wait_for_selector("#notice:visible")
    assert "Not stopped" in page.inner_text("#notice"), "who may not stop the robot is told so"
    context.close()


def test_a_console_that_is_killed_while_engaged_releases_and_stops_the_robot(rig: ConsoleRig, page: Any) -> None:
    drive(rig, page)
    before = len([line for line in rig.lines if "#token=" in line])
    killed_s = time.time()
    os.kill(rig.supervisor.pid("console_node"), signal.SIGKILL)
    verdict = wait_for(
        lambda: rig.verdict(SafetyVerdict.STOP, SafetyVerdict.REASON_NOT_ENGAGED, killed_s), 5.0, "the release"
    )
    print(f"killed to braking command: {(seconds(verdict.decided) - killed_s) * 1e3:.0f} ms")
    assert seconds(verdict.decided) - killed_s < 1.0
    assert "console" in verdict.reason_text
    wait_for(lambda: rig.stands, 5.0, "a standing robot")
    assert rig.supervisor.alive, "the graph goes on without its console"
    wait_for(lambda: len([line for line in rig.lines if "#token=" in line]) > before, 30.0, "the console anew")
    assert rig.stands, "a console that is back moves nothing"
