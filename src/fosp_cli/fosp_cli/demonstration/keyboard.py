"""The keyboard as a gamepad: keys to the axes and buttons of config/teleop/gamepad.yaml. Time is passed in.

A terminal does not tell when a key is let go, so a key counts as held for a moment only; while it is held down, the
keyboard repeats it, and it goes on.
"""

from __future__ import annotations

HOLD_S = 0.25
AXES = {
    "w": (1, 1.0), "s": (1, -1.0), "a": (0, 1.0), "d": (0, -1.0), "r": (4, 1.0), "f": (4, -1.0),
    "q": (3, 1.0), "e": (3, -1.0),
}  # fmt: skip
"""Key -> axis and deflection: forwards and back, left and right, up and down, turn left and right."""
BUTTONS = {"n": 7, "b": 6, "x": 3, "m": 2, "g": 0, "v": 1}
"""Key -> button: start, stop, discard, mark, success, violation seen."""
DEADMAN = 5
HELP = "w/s a/d r/f: move, q/e: turn, space: halt, n: start, b: stop, g: success, v: violation, x: discard, m: mark"
_AXIS_COUNT, _BUTTON_COUNT = 6, 8


class KeyboardDevice:
    """Told of key presses, gives the axes and buttons that a gamepad would."""

    def __init__(self) -> None:
        self._held: dict[str, float] = {}

    def press(self, key: str, now_s: float) -> None:
        if key == " ":
            self._held.clear()
        elif key in AXES or key in BUTTONS:
            self._held[key] = now_s

    def state(self, now_s: float) -> tuple[list[float], list[int]]:
        """Axes (6,) and buttons (8,); the deadman button is held while a key moves the robot."""
        held = [key for key, pressed_s in self._held.items() if now_s - pressed_s <= HOLD_S]
        axes, buttons = [0.0] * _AXIS_COUNT, [0] * _BUTTON_COUNT
        for key in held:
            if key in AXES:
                axis, deflection = AXES[key]
                axes[axis] = deflection
                buttons[DEADMAN] = 1
            else:
                buttons[BUTTONS[key]] = 1
        return axes, buttons
