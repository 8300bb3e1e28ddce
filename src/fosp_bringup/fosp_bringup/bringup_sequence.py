"""State machine that brings a graph of managed nodes up in order, watches it, and takes it down.

It knows nothing of ROS, and time is an argument. The order is what keeps the robot safe: every node is configured
before any is activated, and the safety monitor is the last in the list, so nothing moves before everything else works.
On the way down the monitor is the first.

When the heartbeat of a node is missing, the robot stops: the monitor is deactivated. It is activated again when the
node is back. A node that was started anew counts as back only with `respawn`, and a monitor that died never does. When
a node stays away too long the graph fails, and waits for a person (`start`).

A dispensable node has to be there at the start, and never again: the graph goes on without it, and brings it up beside
the others when its process was started anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

LOST_S = 1.0
"""Time after a request, s, at which a node that still beats in its old state is taken not to have received it.

A node does not beat while it changes its state. A request that is sent at the moment in which a process appears may
reach only the process that died before it.
"""


class NodeState(Enum):
    """Primary lifecycle states with their numbers in lifecycle_msgs/State."""

    UNCONFIGURED = 1
    INACTIVE = 2
    ACTIVE = 3
    FINALIZED = 4


class Transition(Enum):
    """Transitions that the sequence requests, with their numbers in lifecycle_msgs/Transition."""

    CONFIGURE = 1
    ACTIVATE = 3
    DEACTIVATE = 4


_RESULT = {
    Transition.CONFIGURE: NodeState.INACTIVE,
    Transition.ACTIVATE: NodeState.ACTIVE,
    Transition.DEACTIVATE: NodeState.INACTIVE,
}


class Phase(Enum):
    """Phase of the graph as a whole."""

    IDLE = "not started"
    STARTING = "starting"
    ACTIVE = "active"
    STOPPED = "stopped: a node is missing"
    FAILED = "failed"
    ENDING = "going down"
    ENDED = "down"


@dataclass(frozen=True)
class Deadlines:
    """Longest time, s, that each step may take."""

    appear_s: float = 30.0
    """Time from the start until every node has sent a heartbeat."""
    transition_s: float = 20.0
    """Duration of one transition; loading a model onto a GPU takes seconds."""
    heartbeat_s: float = 0.5
    """Silence of a node, which beats ten times per second."""
    recover_s: float = 10.0
    """Absence of a node; a longer one fails the graph, a shorter one stops the robot only while it lasts."""


@dataclass(frozen=True)
class Request:
    """Request to a node to change its state; the answer goes to `BringupSequence.answered`."""

    node: str
    transition: Transition


@dataclass
class _Node:
    name: str
    state: NodeState | None = None
    pid: int | None = None
    heard_s: float = float("-inf")
    answered_s: float = float("-inf")
    replaced: bool = False
    """Its process is not the one that was brought up; or it is dispensable, and to be brought up beside the others."""
    given_up: bool = False
    """It refused a request that is not vital, and is not asked again before the next start of it or of the graph."""
    away: bool = False
    """It is dispensable and silent, and that was told."""


class BringupSequence:
    """Sequence of the nodes in bring-up order, the monitor last.

    The caller reports heartbeats and answers, and calls `next_request`.
    """

    def __init__(
        self,
        nodes: tuple[str, ...],
        deadlines: Deadlines,
        respawn: bool = False,
        dispensable: frozenset[str] = frozenset(),
    ) -> None:
        self._dispensable = dispensable - {nodes[-1]}
        self._was_active = False
        self._nodes = {name: _Node(name) for name in nodes}
        self._monitor = nodes[-1]
        self._deadlines, self._respawn = deadlines, respawn
        self._pending: tuple[Request, float] | None = None
        """Request that waits for its answer, and the time at which it was first sent."""
        self._sent_s, self._lost = 0.0, False
        """Time at which the pending request was sent last; True when the node shows that it did not receive it."""
        self._since_s = 0.0
        self._polled_s: float | None = None
        self.phase = Phase.IDLE
        self.reason = ""
        """One line that says why the graph is stopped or failed."""
        self.events: list[str] = []
        """Lines for the log; the caller empties the list."""

    def states(self) -> dict[str, NodeState | None]:
        """Return the last known state of each node; None for a node that never sent a heartbeat."""
        return {node.name: node.state for node in self._nodes.values()}

    # -- orders and reports --------------------------------------------------------------------------
    def start(self, now_s: float) -> None:
        """Bring every node up from whatever state it is in; this also ends FAILED."""
        for node in self._nodes.values():
            node.replaced, node.given_up = self._may_be_away(node.name), False
        self._enter(Phase.STARTING, "", now_s)

    def stop(self, now_s: float) -> None:
        """Take every node down in reverse order, once the pending request is answered; the last phase is ENDED."""
        self._enter(Phase.ENDING, self.reason, now_s)

    def heartbeat(self, name: str, state: int, pid: int, now_s: float, age_s: float = 0.0) -> None:
        """Take in a heartbeat that is `age_s` old by its stamp; heartbeats of nodes outside of the list are ignored.

        A state from before the node's last answer is ignored: the answer is newer.
        """
        node = self._nodes.get(name)
        if node is None:
            return
        if node.pid is not None and node.pid != pid:
            self.events.append(f"{name} was started anew (process {node.pid} is now {pid})")
            node.answered_s, node.replaced, node.given_up = float("-inf"), True, False
            if self._pending is not None and self._pending[0].node == name:
                self._pending = None
        node.pid, node.heard_s = pid, now_s
        if self._pending is not None and self._pending[0].node == name and node.state is not None:
            self._lost = state == node.state.value and now_s - age_s - self._sent_s > LOST_S
        if now_s - max(age_s, 0.0) >= node.answered_s and state in {s.value for s in NodeState}:
            node.state = NodeState(state)

    def answered(self, request: Request, success: bool, now_s: float) -> None:
        """Take in a node's answer to a request; an answer that is not awaited any more is ignored."""
        if self._pending is None or self._pending[0] != request:
            return
        self._pending = None
        node = self._nodes[request.node]
        node.heard_s = now_s
        if success:
            node.state, node.answered_s = _RESULT[request.transition], now_s
        else:
            self._refused(request, now_s, "failed; its log says why")

    def next_request(self, now_s: float) -> Request | None:
        """Return the request to send now, or None. Call this after each report, and 20 times per second."""
        self._forgive_own_stall(now_s)
        if self._pending is not None and not self._overdue(now_s):
            if not self._beside():
                return self._again(now_s)
            self._watch(now_s)
            if self.phase is Phase.ACTIVE:
                return self._again(now_s)
            self._pending = None  # the others come first
        else:
            self._watch(now_s)
        request = self._choose(now_s)
        if request is not None:
            self._pending, self._sent_s, self._lost = (request, now_s), now_s, False
        return request

    def _again(self, now_s: float) -> Request | None:
        """Return the pending request once more, within its deadline, when the node shows that it did not receive it."""
        if not self._lost or self._pending is None:
            return None
        request = self._pending[0]
        self.events.append(f"{request.node} did not hear of {request.transition.name.lower()}: asking again")
        self._sent_s, self._lost = now_s, False
        return request

    # -- watching ------------------------------------------------------------------------------------
    def _forgive_own_stall(self, now_s: float) -> None:
        """Excuse the nodes for the time in which this process itself was held up: their heartbeats waited unread."""
        stall_s = 0.0 if self._polled_s is None else now_s - self._polled_s
        self._polled_s = now_s
        if stall_s > 0.5 * self._deadlines.heartbeat_s:
            for node in self._nodes.values():
                node.heard_s += stall_s

    def _silent(self, node: _Node, now_s: float) -> bool:
        return now_s - node.heard_s > self._deadlines.heartbeat_s

    def _foreign(self, node: _Node) -> bool:
        """Return whether the node was started anew, and must not be brought up again without a person's order."""
        return node.replaced and not (self._respawn and node.name != self._monitor)

    def _may_be_away(self, name: str) -> bool:
        return self._was_active and name in self._dispensable

    def _beside(self) -> bool:
        """Return whether the pending request brings a dispensable node up beside an active graph."""
        pending = self._pending[0].node if self._pending is not None else ""
        return self.phase is Phase.ACTIVE and self._may_be_away(pending)

    def _missing(self, now_s: float) -> list[str]:
        """Return the nodes that are silent, or whose new process may not take the place of the one brought up."""
        return [
            node.name
            for node in self._nodes.values()
            if not self._may_be_away(node.name) and (self._silent(node, now_s) or self._foreign(node))
        ]

    def _watch(self, now_s: float) -> None:
        missing = self._missing(now_s)
        if self.phase is Phase.STARTING:
            self._watch_start(missing, now_s)
        elif self.phase is Phase.ACTIVE:
            fallen = [
                name
                for name, state in self.states().items()
                if state is not NodeState.ACTIVE and not self._may_be_away(name)
            ]
            if missing:
                self._lose(missing, now_s)
            elif any(self._nodes[name].replaced for name in fallen):
                self._enter(Phase.STOPPED, f"{', '.join(fallen)} must be brought up again", now_s)
            elif fallen:
                self._enter(Phase.FAILED, f"{', '.join(fallen)} left the active state", now_s)
        elif self.phase is Phase.STOPPED:
            if not missing and self._nodes[self._monitor].state is not NodeState.ACTIVE:
                self._enter(Phase.STARTING, "", now_s)
            elif self._monitor in missing:
                self._lose(missing, now_s)
            elif missing and now_s - self._since_s > self._deadlines.recover_s:
                self._enter(Phase.FAILED, f"{', '.join(missing)} did not come back", now_s)

    def _watch_start(self, missing: list[str], now_s: float) -> None:
        if not missing:
            return
        known = [name for name in missing if self._nodes[name].pid is not None]
        if known and not self._respawn:
            self._enter(Phase.FAILED, f"{', '.join(known)} died while the graph was starting", now_s)
        elif now_s - self._since_s > self._deadlines.appear_s:
            self._enter(
                Phase.FAILED, f"{', '.join(missing)} did not appear within {self._deadlines.appear_s:g} s", now_s
            )

    def _lose(self, missing: list[str], now_s: float) -> None:
        silent = [name for name in missing if self._silent(self._nodes[name], now_s)]
        anew = [name for name in missing if name not in silent]
        what = f"no heartbeat of {', '.join(silent)} for {self._deadlines.heartbeat_s:g} s" if silent else ""
        if anew:
            what = f"{what + '; ' if what else ''}{', '.join(anew)} died and was started anew"
        self._enter(Phase.FAILED if self._monitor in missing else Phase.STOPPED, what, now_s)

    def _overdue(self, now_s: float) -> bool:
        """Give the pending request up when it is late; return whether it was. On the way down a node may end first."""
        assert self._pending is not None
        request, asked_s = self._pending
        late = now_s - asked_s > self._deadlines.transition_s
        gone = self.phase is Phase.ENDING and self._silent(self._nodes[request.node], now_s)
        if late or gone:
            self._pending = None
        if late:
            self._refused(request, now_s, f"did not end within {self._deadlines.transition_s:g} s")
        return late or gone

    def _refused(self, request: Request, now_s: float, how: str) -> None:
        what = f"{request.transition.name.lower()} of {request.node} {how}"
        self._nodes[request.node].state = None  # unknown until its next heartbeat
        if self._may_be_away(request.node):
            self.events.append(f"{what}: the others go on without it")
            self._nodes[request.node].given_up = True
        elif self.phase in (Phase.STARTING, Phase.ACTIVE, Phase.STOPPED):
            self._enter(Phase.FAILED, what, now_s)
        else:
            self.events.append(what)
            self._nodes[request.node].given_up = True

    def _enter(self, phase: Phase, reason: str, now_s: float) -> None:
        self.phase, self.reason, self._since_s = phase, reason, now_s
        self.events.append(f"{phase.value}: {reason}" if reason else phase.value)

    # -- requests ------------------------------------------------------------------------------------
    def _choose(self, now_s: float) -> Request | None:
        if self.phase is Phase.STARTING:
            return self._upwards(now_s)
        if self.phase is Phase.ACTIVE:
            return self._upwards_beside(now_s)
        if self.phase is Phase.STOPPED:
            active = self._nodes[self._monitor].state is NodeState.ACTIVE
            return Request(self._monitor, Transition.DEACTIVATE) if active else None
        if self.phase in (Phase.FAILED, Phase.ENDING):
            return self._downwards(now_s)
        return None

    def _upwards(self, now_s: float) -> Request | None:
        """Configure the nodes in order; once all are configured, activate them in order."""
        if self._missing(now_s):
            return None
        steps = ((NodeState.UNCONFIGURED, Transition.CONFIGURE), (NodeState.INACTIVE, Transition.ACTIVATE))
        for state, transition in steps:
            for node in self._nodes.values():
                if node.state is state and not self._may_be_away(node.name):
                    return Request(node.name, transition)
        if all(node.state is NodeState.ACTIVE or self._may_be_away(node.name) for node in self._nodes.values()):
            for node in self._nodes.values():
                node.replaced = node.replaced and self._may_be_away(node.name)
            self._was_active = True
            self._enter(Phase.ACTIVE, "", now_s)
        return None

    def _upwards_beside(self, now_s: float) -> Request | None:
        """Bring a dispensable node up whose process was started anew. Its death is told once, and so is its return."""
        for node in (node for node in self._nodes.values() if self._may_be_away(node.name)):
            if self._silent(node, now_s):
                if not node.away:
                    self.events.append(f"no heartbeat of {node.name}: the others go on without it")
                node.away = True
                continue
            node.away = False
            if not node.replaced or node.given_up:
                continue
            if node.state is NodeState.UNCONFIGURED:
                return Request(node.name, Transition.CONFIGURE)
            if node.state is NodeState.INACTIVE:
                return Request(node.name, Transition.ACTIVATE)
            if node.state is NodeState.ACTIVE:
                node.replaced = False
                self.events.append(f"{node.name} is back")
        return None

    def _downwards(self, now_s: float) -> Request | None:
        """Deactivate the nodes that are active and alive, the monitor first."""
        for node in reversed(self._nodes.values()):
            if node.state is NodeState.ACTIVE and not self._silent(node, now_s) and not node.given_up:
                return Request(node.name, Transition.DEACTIVATE)
        if self.phase is Phase.ENDING:
            self._enter(Phase.ENDED, "", now_s)
        return None
