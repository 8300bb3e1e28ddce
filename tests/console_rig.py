"""A simulated arm with its console, whose robot moves only when an operator engages, and a browser that looks on."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from conftest import wait_for
from geometry_msgs.msg import TwistStamped

from fosp_bringup.stack import MONITOR, default_bundle, stack
from fosp_bringup.stack_options import StackOptions
from fosp_bringup.supervisor import Supervisor
from fosp_cli.graph_client import GraphClient
from fosp_core import topics
from fosp_core.bundle.bundle import read_manifest, write_bundle
from fosp_core.processes import CONTROL_PRIORITY
from fosp_core.ros import qos
from fosp_core.ros.stamps import seconds
from fosp_msgs.msg import SafetyVerdict

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
TOKEN = "a-token-for-tests-alone"
MOVING_M_S = 0.02


@dataclass
class ConsoleRig:
    """The graph, what it said, and a probe that hears verdicts and commands."""

    supervisor: Supervisor
    client: GraphClient
    lines: list[str]
    first: str
    """Id of the bundle that the graph begins with."""
    second: str
    """Id of its child, which lies beside it."""
    verdicts: list[SafetyVerdict] = field(default_factory=list)
    commands: list[tuple[float, float]] = field(default_factory=list)
    """Moment of receipt, Unix time, s, and speed, m/s."""
    command_topic: str = ""

    @property
    def address(self) -> str:
        """Address of the page without the token, of the console that was started last."""
        found = re.findall(r"http://127\.0\.0\.1:\d+/", " ".join(self.lines))
        return found[-1] if found else ""

    @property
    def moves(self) -> bool:
        return bool(self.commands) and self.commands[-1][1] > MOVING_M_S

    @property
    def stands(self) -> bool:
        """True when every command of the last 0.3 s was zero, and there were some."""
        recent = [speed for at, speed in list(self.commands) if at > time.time() - 0.3]
        return len(recent) > 5 and max(recent) == 0.0

    def verdict(self, decision: int, reason: int, after_s: float) -> SafetyVerdict | None:
        """Return the first verdict of this kind that was decided after `after_s`, Unix time."""
        for verdict in list(self.verdicts):
            if verdict.decision == decision and verdict.reason == reason and seconds(verdict.decided) > after_s:
                return verdict
        return None

    def foreign_commander(self) -> Any:
        """Return a second publisher on the robot's command topic, which latches the robot while it lives."""
        return self.client.node.create_publisher(TwistStamped, self.command_topic, qos.COMMAND)


def two_bundles(folder: Path) -> tuple[str, str]:
    """Write the shipped bundle, and one with the same networks that names it as its parent; return their ids."""
    shipped = default_bundle("safe_reach")
    manifest = read_manifest(shipped)
    files = {name: shipped / name for name in manifest.files}
    first = write_bundle(folder / "first", manifest, files)
    second = write_bundle(folder / "second", manifest.model_copy(update={"parent_id": first.id}), files)
    return first.id, second.id


@contextmanager
def console_rig(folder: Path, domain_id: int) -> Iterator[ConsoleRig]:
    """Run the graph in `domain_id`, and wait until it is active and the console listens."""
    parameters = folder / "parameters.yaml"
    parameters.write_text(
        f"{MONITOR}: {{ros__parameters: {{engage: operator}}}}\nconsole_node: {{ros__parameters: {{port: 0}}}}\n"
        "encoder_node: {ros__parameters: {swap_steps: 40, swap_least_steps: 10}}\n"
    )
    first, second = two_bundles(folder / "models")
    options = StackOptions(
        simulator="mujoco", scenario="safe_reach", console=True, params_file=parameters, bundle=folder / "models/first"
    )
    lines: list[str] = []
    described = replace(stack(options), stays_here=True)
    with (
        Supervisor(described, {"FOSP_CONSOLE_TOKEN": TOKEN}, write=lines.append, colour=False) as supervisor,
        GraphClient("probe", domain_id=domain_id) as client,
    ):
        rig = ConsoleRig(supervisor, client, lines, first, second)
        robot = next(process for process in described.processes if process.name == MONITOR).parameters["robot"]
        from fosp_core.robot.config import read_robot

        rig.command_topic = read_robot(Path(str(robot))).command_topic

        def on_command(message: TwistStamped) -> None:
            linear = message.twist.linear
            rig.commands.append((time.time(), math.hypot(linear.x, linear.y, linear.z)))

        client.node.create_subscription(SafetyVerdict, topics.VERDICT, rig.verdicts.append, qos.STEP)
        client.node.create_subscription(TwistStamped, rig.command_topic, on_command, qos.COMMAND_HISTORY)
        client.spin_in_thread(CONTROL_PRIORITY)
        assert client.wait_active(90.0, lambda: supervisor.alive) == "", "\n".join(lines[-30:])
        wait_for(lambda: rig.address, 30.0, "the console's address")
        yield rig


@contextmanager
def browser() -> Iterator[Any]:
    """Run Debian's Chromium under a fresh profile."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=str(CHROMIUM), headless=True, args=FLAGS)
        yield launched
        launched.close()
