"""A way out for a policy that hangs: back along the robot's own trail, then aside. A pure state machine, without ROS.

A policy that sees the same picture proposes the same action. Where that leads nowhere, the robot goes back to where it
came from, and then for a moment by another mode of its actors, which does not lead where it hung. Every action is
judged as any other: by the critics here, and by the safety monitor.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from fosp_core.robot.trail import (
    SAME_TRAP_S,
    WISH_SHARE,
    RobotPlace,
    Standstill,
    Trail,
    TrailPoint,
    WayBack,
    left_s,
    remaining,
)

HANG_WINDOW_S = 0.6
"""Time in which the robot has to get on, s."""
TRAIL_AGE_S = 3.0
"""Greatest age of the places of the trail, s."""
BACK_S = 0.3
"""Length of the first way back, as a time at full speed; the next one is longer by as much."""
BACK_SHARE = 0.5
"""Share of full speed on the way back."""
ASIDE_S = 0.6
"""Time for which the robot goes aside, s."""
BACK_TIMEOUT_S = 2.0
"""Time after which a way back is given up, s."""


@dataclass(frozen=True)
class Guide:
    """The demands of a detour on the choice among candidates."""

    back: tuple[float, ...] = ()
    """Action (n,) back along the trail, to be proposed while it is feasible, or nothing else is; empty: none."""
    blocked: tuple[float, ...] = ()
    """Action (n,) that did not lead on, which is to be avoided; empty: none."""
    aside: tuple[float, ...] = ()
    """Action (n,) that was chosen in its place and is to be kept; empty: none yet."""


NO_GUIDE = Guide()


@dataclass(frozen=True)
class Detour:
    """The trail of the robot, and the detour that it makes, if any."""

    trail: Trail = field(default_factory=Trail)
    still: Standstill = field(default_factory=Standstill)
    left: tuple[TrailPoint, ...] = ()
    """The part of the way back that is left."""
    begun_s: float = 0.0
    blocked: tuple[float, ...] = ()
    """The action that did not lead on; empty outside of a detour."""
    aside: tuple[float, ...] = ()
    aside_until_s: float = 0.0
    tries: int = 0
    """Times in a row that the robot hung in the same place."""
    trap: RobotPlace | None = None
    count: int = 0
    """Detours so far."""

    def after(self, place: RobotPlace, time_s: float, wanted: tuple[float, ...], risk: float, way: WayBack) -> Detour:
        """Return the value with the robot at `place`, after the action `wanted` (n,) was proposed last.

        `risk` is that of the state then: a robot whose risk falls does not hang, however slow it is.
        """
        if self.left:
            left = remaining(self.left, place, way)
            if left and 0.0 <= time_s - self.begun_s <= BACK_TIMEOUT_S:
                return replace(self, left=left)
            reached = (left or self.left[-1:])[0]
            trail = self.trail.gone_back(reached, TrailPoint(place, time_s, True))
            return replace(self, trail=trail, left=(), aside_until_s=time_s + ASIDE_S)
        trail = self.trail.after(place, time_s, True, way, TRAIL_AGE_S)
        if self.blocked and time_s >= self.aside_until_s:
            return replace(self, trail=trail, still=Standstill(), blocked=(), aside=())
        if self.blocked:
            return replace(self, trail=trail)
        moves = max(map(abs, wanted), default=0.0) >= WISH_SHARE
        still = self.still.after(place, time_s, moves, HANG_WINDOW_S, risk)
        if not still.hangs(HANG_WINDOW_S, way):
            return replace(self, trail=trail, still=still)
        same = self.trap is not None and way.lasts(self.trap, place) <= SAME_TRAP_S
        tries = self.tries + 1 if same else 1
        back = trail.back(tries * BACK_S, way)
        came_from = back[-1].place if back else place
        blocked = way.wish(came_from, place, 1.0, 1.0) if way.lasts(came_from, place) > 0.0 else wanted
        return replace(
            self,
            trail=trail,
            still=Standstill(),
            left=back,
            begun_s=time_s,
            blocked=blocked,
            aside=(),
            aside_until_s=time_s + ASIDE_S,
            tries=tries,
            trap=self.trap if same else place,
            count=self.count + 1,
        )

    def guide(self, place: RobotPlace, way: WayBack) -> Guide:
        """Return what the detour asks for with the robot at `place`."""
        if self.left:
            return Guide(back=way.wish(place, self.left[0].place, left_s(self.left, place, way), BACK_SHARE))
        return Guide(blocked=self.blocked, aside=self.aside) if self.blocked else NO_GUIDE

    def chose(self, action: tuple[float, ...]) -> Detour:
        """Return the value after `action` was chosen: aside it is kept."""
        if self.left or not self.blocked or self.aside:
            return self
        return replace(self, aside=action)
