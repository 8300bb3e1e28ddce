"""`fosp reset`: end a latched stop of the running graph."""

from __future__ import annotations

import os
import sys

from fosp_cli.commands.options import Namespace


def reset(namespace: Namespace = "") -> int:
    """End a latched stop, once you have seen to its cause; the robot may move at once.

    Exit 1 when the safety monitor refuses, as it does while the cause persists.
    """
    from fosp_bringup.stack import environment
    from fosp_cli.operator_client import OperatorClient

    os.environ.update(environment())
    with OperatorClient(namespace) as client:
        done, said = client.reset()
    print(said, file=sys.stdout if done else sys.stderr)
    return 0 if done else 1
