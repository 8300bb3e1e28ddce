"""The keyboard of a terminal as a gamepad: keys become the axes and buttons of config/teleop/gamepad.yaml.

A terminal does not tell when a key is released, so a key counts as held for HOLD_S; the terminal repeats a key that is
held down.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from collections.abc import Callable, Iterator

from sensor_msgs.msg import Joy

from fosp_cli.graph_client import GraphClient
from fosp_core.ros import qos

PERIOD_S = 0.02
HOLD_S = 0.25
AXES = {
    "w": (1, 1.0), "s": (1, -1.0), "a": (0, 1.0), "d": (0, -1.0), "r": (4, 1.0), "f": (4, -1.0),
    "q": (3, 1.0), "e": (3, -1.0),
}  # fmt: skip
"""Key -> axis and deflection: forwards and back, left and right, up and down, turn left and right."""
BUTTONS = {"n": 7, "b": 6, "x": 3, "m": 2, "g": 0, "v": 1, "o": 9, "c": 4}
"""Key -> button: start, stop, discard, mark, success, violation seen, open and close the gripper."""
GRIPPER = ("o", "c")
DEADMAN = 5
HALT = " "
"""Key that holds the robot without moving it."""
HELP = (
    "w/s a/d r/f: move, q/e: turn, o/c: gripper, space: hold, n: start, b: stop, g: success, v: violation, x: discard, "
    "m: mark"
)
_AXIS_COUNT, _BUTTON_COUNT = 6, 10


class KeyboardDevice:
    """Turns key presses into the axes and buttons of a gamepad. It is pure: time is passed in."""

    def __init__(self) -> None:
        self._held: dict[str, float] = {}

    def press(self, key: str, now_s: float) -> None:
        if key == HALT:
            self._held = {HALT: now_s}
        elif key in AXES or key in BUTTONS:
            self._held[key] = now_s

    def state(self, now_s: float) -> tuple[list[float], list[int]]:
        """Return axes (6,) and buttons (10,). A key that moves, or the space bar, holds the deadman button."""
        held = [key for key, pressed_s in self._held.items() if now_s - pressed_s <= HOLD_S]
        axes, buttons = [0.0] * _AXIS_COUNT, [0] * _BUTTON_COUNT
        for key in held:
            if key in AXES or key in GRIPPER or key == HALT:
                buttons[DEADMAN] = 1
            if key in AXES:
                axis, deflection = AXES[key]
                axes[axis] = deflection
            elif key in BUTTONS:
                buttons[BUTTONS[key]] = 1
        return axes, buttons


@contextlib.contextmanager
def keys_of_terminal() -> Iterator[Callable[[], tuple[list[float], list[int]]]]:
    """Yield a function that reads the keys pressed since its last call and returns the gamepad's axes and buttons."""
    import termios
    import tty

    device, descriptor = KeyboardDevice(), sys.stdin.fileno()
    saved = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)

    def poll() -> tuple[list[float], list[int]]:
        while select.select([descriptor], [], [], 0.0)[0]:
            key = os.read(descriptor, 1).decode(errors="replace")
            if not key:
                break
            device.press(key, time.monotonic())
        return device.state(time.monotonic())

    try:
        yield poll
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, saved)


def publish_keys(namespace: str) -> None:
    """Publish the keys of this terminal on `joy` at 50 Hz until Ctrl-C."""
    with contextlib.closing(GraphClient("keyboard", namespace)) as client, keys_of_terminal() as poll:
        publisher = client.node.create_publisher(Joy, "joy", qos.STEP)
        print(HELP, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                axes, buttons = poll()
                message = Joy(axes=axes, buttons=buttons)
                message.header.stamp = client.node.get_clock().now().to_msg()
                publisher.publish(message)
                client.spin(PERIOD_S)
