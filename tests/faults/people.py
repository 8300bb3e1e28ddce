"""A person at an enabling switch, and the controller and force sensor of a real robot, played by the tester's node."""

from __future__ import annotations

import math
from typing import Any, Literal

from geometry_msgs.msg import Vector3, WrenchStamped
from sensor_msgs.msg import Joy
from std_msgs.msg import Bool

from fosp_core.ros import qos

JOY, PROGRAM, HEALTH, WRENCH = "joy", "program_running", "controller_health", "wrench"
BUTTON = 4
REPEAT_S = 2.0
READY_TIMEOUT_S = 0.3
PROTECTIVE_N = 20.0
_SWITCH_S, _WRENCH_S = 0.02, 0.01
_RELEASED_MESSAGES = 5
"""Messages for which the switch is let go of before it is pressed anew."""

SwitchFault = Literal["", "released", "tapped", "silent", "repeated", "old", "nan", "short"]
ForceFault = Literal["", "strong", "nan", "silent", "frozen", "saturated"]


def consenting() -> dict[str, Any]:
    """Return the keys of a robot file that ask for every consent."""
    return {
        "enabling": {"topic": JOY, "type": "Joy", "button": BUTTON, "repeat_s": REPEAT_S},
        "ready": [
            {"kind": "bool", "topic": PROGRAM, "transient_local": True},
            {"kind": "bool", "topic": HEALTH, "timeout_s": READY_TIMEOUT_S},
        ],
        "protective_force_n": PROTECTIVE_N,
        "wrench_topic": WRENCH,
        "home": {"position": [0.5, -0.25, 0.2], "speed": 0.3},
    }


class People:
    """By default the switch is held, a stick moves now and then, and the robot is ready and touches nothing."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self.switch: SwitchFault = ""
        self.force: ForceFault = ""
        self.healthy = True
        self._count, self._releases, self._samples = 0, _RELEASED_MESSAGES, 0
        self._kept = Joy()

    def begin(self) -> None:
        """Begin to speak."""
        node = self._node
        self._joy = node.create_publisher(Joy, JOY, qos.STEP)
        self._wrench = node.create_publisher(WrenchStamped, WRENCH, qos.STEP)
        self._health = node.create_publisher(Bool, HEALTH, qos.STEP)
        self.start_program()
        node.create_timer(_SWITCH_S, self._say_switch)
        node.create_timer(_WRENCH_S, self._say_force)

    # -- the controller ------------------------------------------------------------------------------
    def start_program(self) -> None:
        """Publish once that the robot can be commanded; late subscribers hear it, too."""
        self._program = self._node.create_publisher(Bool, PROGRAM, qos.LATCHED)
        self.say_program(True)

    def say_program(self, running: bool) -> None:
        self._program.publish(Bool(data=running))

    def end_program(self) -> None:
        """Take the publisher away, as a driver that ends does."""
        self._node.destroy_publisher(self._program)

    # -- the switch ----------------------------------------------------------------------------------
    @property
    def lets_go(self) -> bool:
        """Return True while the switch is let go of, to be pressed anew."""
        return self._releases >= 0

    def let_go(self) -> None:
        """Let go of the switch, and press it again after a moment."""
        self._releases = _RELEASED_MESSAGES

    def _say_switch(self) -> None:
        if self.healthy:
            self._health.publish(Bool(data=True))
        self._count += 1
        held = self._releases <= 0
        self._releases -= 1
        message = Joy(axes=[0.1 * (self._count // 25 % 2), 0.0], buttons=[0, 0, 0, 0, int(held), 0])
        message.header.stamp = self._node.get_clock().now().to_msg()
        how = self.switch
        if how in ("released", "tapped"):
            message.buttons[BUTTON] = 0
            self.switch = "" if how == "tapped" else how
        elif how == "repeated":
            message.axes = self._kept.axes
        elif how == "old":
            message = self._kept
        elif how == "nan":
            message.axes[1] = math.nan
        elif how == "short":
            message.buttons = message.buttons[:BUTTON]
        if how != "silent":
            self._kept = message
            self._joy.publish(message)

    # -- the force -----------------------------------------------------------------------------------
    def _say_force(self) -> None:
        self._samples += 1
        noise = 0.01 * (self._samples % 7)
        force = Vector3(x=noise, y=2.0 * noise, z=-9.0 + noise)
        if self.force == "strong":
            force.y = 25.0
        elif self.force == "nan":
            force.x = math.nan
        elif self.force == "frozen":
            force = Vector3(x=0.01, y=0.02, z=-9.0)
        elif self.force == "saturated":
            force.y = 15.0
        message = WrenchStamped()
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.wrench.force = force
        if self.force != "silent":
            self._wrench.publish(message)
