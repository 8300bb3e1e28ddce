"""A person at a gamepad who can take the robot over from the policy, and what can go wrong with the gamepad."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import yaml
from effects import Begun, Effect
from graph_under_fault import POLICY_ACTION, GraphUnderFault, wait
from relay import wall_s
from sensor_msgs.msg import Joy

from fosp_bringup.paths import teleop_path
from fosp_core.ros import qos
from fosp_core.specs import read_yaml
from fosp_msgs.msg import SafetyVerdict

PERIOD_S = 0.02
REPEAT_S = 0.5
_TAKEN_S = 5.0

GamepadFault = Literal["", "silent", "hangs", "nan", "short"]


def device(directory: Path) -> dict[str, Any]:
    """Return the options of a stack whose person has the shipped gamepad, which may repeat itself for REPEAT_S."""
    path = directory / "gamepad.yaml"
    path.write_text(yaml.safe_dump({**read_yaml(teleop_path("gamepad")), "repeat_s": REPEAT_S}))
    return {"teleop": str(path), "take_over": True}


class Hands:
    """The gamepad says all the time that it is let go, or held with the stick where the policy would go, too."""

    def __init__(self, node: Any) -> None:
        layout = read_yaml(teleop_path("gamepad"))
        self._node, self._deadman = node, int(layout["deadman"])
        self._stick = int(layout["axes"]["linear.y"]["axis"])
        self._joy = node.create_publisher(Joy, layout["topic"], qos.STEP)
        self.holds, self.fault, self.way = False, "", 1.0
        """`way` is 1 where the person drives as the policy does, and -1 where they drive the other way."""
        self._count, self._kept = 0, Joy()
        node.create_timer(PERIOD_S, self._say)

    def _say(self) -> None:
        self._count += 1
        message = Joy(axes=[0.0] * 8, buttons=[0] * 11)
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.buttons[self._deadman] = int(self.holds)
        message.axes[self._stick] = self.way * (POLICY_ACTION[1] + 0.01 * (self._count % 7)) * self.holds
        if self.fault == "hangs":
            message.axes, message.buttons = self._kept.axes, self._kept.buttons
        elif self.fault == "nan":
            message.axes[self._stick] = math.nan
        elif self.fault == "short":
            message.axes = message.axes[: self._stick]
        if self.fault != "silent":
            self._kept = message
            self._joy.publish(message)


def taken(then: Effect | None = None) -> Effect:
    """A person has taken the robot over when the effect `then` begins; they let go when it ends."""

    def begin(graph: GraphUnderFault) -> Begun:
        since_s, hands = wall_s(), graph.hands
        hands.holds = True
        wait(lambda: graph.verdicts[-1][1].source == SafetyVerdict.SOURCE_OPERATOR, _TAKEN_S, "a person who drives")
        begun = Begun(since_s, lambda: None) if then is None else then(graph)

        def end() -> None:
            begun.end()
            hands.holds, hands.fault = False, ""

        return Begun(begun.since_s, end)

    return begin


def gamepad(fault: GamepadFault) -> Effect:
    """The gamepad says something else, or nothing."""

    def begin(graph: GraphUnderFault) -> Begun:
        since_s = wall_s()
        graph.hands.fault = fault
        return Begun(since_s, lambda: None)

    return begin


def let_go(then: Callable[[GraphUnderFault], Begun] | None = None) -> Effect:
    """A person lets the robot go, and the effect `then` begins."""

    def begin(graph: GraphUnderFault) -> Begun:
        begun = None if then is None else then(graph)
        since_s = wall_s()
        graph.hands.holds = False
        return Begun(since_s, lambda: None if begun is None else begun.end())

    return begin


def second_gamepad() -> Effect:
    """Another node publishes what the first gamepad may say."""

    def begin(graph: GraphUnderFault) -> Begun:
        since_s = wall_s()
        publisher = graph.node.create_publisher(Joy, "joy", qos.STEP)
        return Begun(since_s, lambda: graph.node.destroy_publisher(publisher) and None)

    return begin
