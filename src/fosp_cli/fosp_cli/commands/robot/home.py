"""`fosp home`: send an arm to its home pose between episodes."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from fosp_cli.commands.options import Namespace

if TYPE_CHECKING:
    from fosp_cli.operator_client import OperatorClient

PERIOD_S = 0.3


def home(namespace: Namespace = "") -> int:
    """Send the robot of the running graph to its home pose, and wait until it is there.

    The robot file names the pose (`home`). The robot goes there slowly and in a straight line, under all limits, with
    no model to judge what is in the way: keep clear, and a hand on the emergency stop. It needs an operator who has
    engaged, and no episode may run; with a person at the controls, let go of them. Ctrl-C stops the robot, too.
    """
    from fosp_cli.operator_client import OperatorClient

    with OperatorClient(namespace) as client:
        good, answer = drive_home(client)
    print(answer)
    return 0 if good else 1


def drive_home(client: OperatorClient) -> tuple[bool, str]:
    """Order the way home, and return whether the robot arrived, and what its monitor says; Ctrl-C disengages."""
    from fosp_safety_monitor.operator.home_order import ON_THE_WAY

    good, answer = client.ask_monitor("home")
    if not good:
        return False, answer
    print(answer, file=sys.stderr)
    try:
        while True:
            arrived, said = client.ask_monitor("home_status")
            if not said.startswith(ON_THE_WAY):
                return arrived, said
            time.sleep(PERIOD_S)
    except KeyboardInterrupt:
        client.ask_monitor("disengage")
        raise
