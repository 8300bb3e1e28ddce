"""The wishes of a person who can take the robot over, as the messages on fosp/operator tell them. No ROS."""

from __future__ import annotations

from dataclasses import dataclass

from fosp_core.clock import Received


@dataclass(frozen=True)
class OperatorInput:
    """The last message of the device by which a person can take the robot over, and how often it was let go."""

    received: Received | None = None
    """None: nothing was heard of a device."""
    holds: bool = False
    """The dead-man's button is held: the robot is the person's."""
    action: tuple[float, ...] = ()
    """Wanted action (n,), normalised; as it came, so that it may be malformed."""
    fault: str = ""
    """Why the device cannot be followed; empty while it can."""
    device: str = ""
    """Topic of the device."""
    releases: int = 0
    """How often the device was seen to be let go while it had no fault."""

    def after(
        self, holds: bool, action: tuple[float, ...], fault: str, device: str, received: Received
    ) -> OperatorInput:
        """Return the input after a message.

        A message that asks for motion under a stamp that is not later than the last one is a repetition, and none. What
        lets go of the robot, or tells a fault, counts whatever its stamp is.
        """
        asks = holds and not fault
        if asks and self.received is not None and not received.stamp_s > self.received.stamp_s:
            return self
        let_go = not holds and not fault and (self.holds or bool(self.fault) or self.received is None)
        return OperatorInput(received, holds, action, fault, device, self.releases + int(let_go))
