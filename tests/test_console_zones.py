"""The console's page draws protective zones, and tells which one holds the robot back; the graph is told by hand."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from console_rig import CHROMIUM, TOKEN, browser

from fosp_bringup.paths import robot_path
from fosp_console.access import LOOPBACK, Access
from fosp_console.graph_state import GraphState
from fosp_console.orders import Order
from fosp_console.readout import robot_view
from fosp_console.server import Answer, ConsoleServer
from fosp_core.robot.config import read_robot
from fosp_msgs.msg import SafetyVerdict

pytest.importorskip("playwright")
pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is not installed"),
]
ACTS = "zone around (approach): something is 0.31 s ahead, less than 0.5 s"


@pytest.fixture
def told() -> Iterator[tuple[str, GraphState]]:
    """Address of a console, and its state."""

    async def obey(order: Order) -> Answer:
        return False, "there is no graph"

    state = GraphState()
    server = ConsoleServer(Access(LOOPBACK, 0, TOKEN), state, obey)
    server.start()
    yield f"http://{LOOPBACK}:{server.port}/", state
    server.stop()


def test_zones_are_drawn_around_a_base_and_the_one_that_acts_is_told(told: tuple[str, GraphState]) -> None:
    address, state = told
    robot = read_robot(robot_path("sim_base").with_name("sim_base.zones.yaml"))
    state.tell("robot", robot_view(robot))
    values = {"source laser": "fresh", "zone around (approach)": "3 points inside, nearest 0.16 m"}
    status = SimpleNamespace(
        name="safety_monitor_node: safety monitor",
        level=b"\0",
        message="",
        hardware_id="",
        values=[SimpleNamespace(key=key, value=value) for key, value in values.items()],
    )
    state.diagnostics(SimpleNamespace(status=[status]), 0.0)
    passed = SafetyVerdict()
    passed.decided.sec = 1
    state.verdict(passed)
    with browser() as chromium:
        page = chromium.new_page()
        page.goto(address)
        page.wait_for_selector("#zones:visible")
        assert "3 points inside" in page.inner_text("#zones")
        page.wait_for_function("() => document.getElementById('plan-note').textContent === 'around the robot'")
        at_rest = drawn(page)
        acting = SafetyVerdict(reason=SafetyVerdict.REASON_PROTECTIVE_ZONE, reason_text=ACTS)
        acting.decided.sec = 2
        state.verdict(acting)
        page.wait_for_function("() => document.getElementById('zones').textContent.includes('holds the robot back')")
        page.wait_for_function(f"() => {PIXELS} > 2 * {at_rest}")


PIXELS = (
    "((canvas) => { const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;"
    " let count = 0; for (let i = 3; i < data.length; i += 4) count += data[i] > 0; return count; })"
    "(document.getElementById('plan'))"
)
"""How many pixels of the plan are drawn on."""


def drawn(page: Any) -> int:
    return int(page.evaluate(f"() => {PIXELS}"))
