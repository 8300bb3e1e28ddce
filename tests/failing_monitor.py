"""safety_monitor_node whose command publisher raises from the hundredth command on: what a broken middleware does."""

from __future__ import annotations

import itertools
from typing import Any

from fosp_core.processes import end_process
from fosp_core.ros.lifecycle import run_node
from fosp_safety_monitor.command.robot_side import RobotSide
from fosp_safety_monitor.safety_monitor_node import SafetyMonitorNode

GOOD_COMMANDS = 100


def main() -> None:
    send, count = RobotSide.send, itertools.count(1)

    def failing(side: RobotSide, *command: Any) -> None:
        if next(count) > GOOD_COMMANDS:
            raise RuntimeError("the publisher is broken")
        send(side, *command)

    RobotSide.send = failing  # type: ignore[method-assign]
    end_process(run_node(SafetyMonitorNode))


if __name__ == "__main__":
    main()
