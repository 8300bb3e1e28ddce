"""Bringing up, watching and taking down, on a clock that the test turns."""

from __future__ import annotations

import pytest

from fosp_bringup.bringup_sequence import BringupSequence, Deadlines, NodeState, Phase, Request, Transition

NODES = ("camera_node", "encoder_node", "safety_monitor_node")
CAMERA, ENCODER, MONITOR = NODES
DEADLINES = Deadlines(appear_s=10.0, transition_s=5.0, heartbeat_s=0.5, recover_s=3.0)
TICK_S = 0.05


class World:
    """Nodes that beat and obey; `asked` is every request, in order."""

    def __init__(self, respawn: bool = False) -> None:
        self.now = 100.0
        self.sequence = BringupSequence(NODES, DEADLINES, respawn)
        self.state = dict.fromkeys(NODES, NodeState.UNCONFIGURED)
        self.pid = {name: 10 + i for i, name in enumerate(NODES)}
        self.alive = dict.fromkeys(NODES, True)
        self.failing: set[Request] = set()
        self.mute: set[Request] = set()
        self.asked: list[Request] = []

    def run(self, seconds: float) -> World:
        for _ in range(round(seconds / TICK_S)):
            self.now += TICK_S
            for name in NODES:
                if self.alive[name]:
                    self.sequence.heartbeat(name, self.state[name].value, self.pid[name], self.now)
            request = self.sequence.next_request(self.now)
            if request is not None:
                self.asked.append(request)
                self.answer(request)
        return self

    def answer(self, request: Request) -> None:
        if not self.alive[request.node] or request in self.mute:
            return
        success = request not in self.failing
        if success:
            self.state[request.node] = (
                NodeState.ACTIVE if request.transition is Transition.ACTIVATE else NodeState.INACTIVE
            )
        self.sequence.answered(request, success, self.now)

    def restart(self, name: str) -> None:
        self.alive[name], self.state[name] = True, NodeState.UNCONFIGURED
        self.pid[name] += 100


def started(respawn: bool = False) -> World:
    world = World(respawn)
    world.sequence.start(world.now)
    world.run(1.0)
    assert world.sequence.phase is Phase.ACTIVE
    world.asked.clear()
    return world


def test_every_node_is_configured_before_any_is_activated_and_the_monitor_is_last() -> None:
    world = World()
    world.sequence.start(world.now)
    world.run(1.0)
    assert world.asked == [
        *(Request(name, Transition.CONFIGURE) for name in NODES),
        *(Request(name, Transition.ACTIVATE) for name in NODES),
    ]
    assert world.sequence.phase is Phase.ACTIVE


def test_nothing_is_asked_before_the_start_and_before_every_node_has_appeared() -> None:
    world = World().run(1.0)
    world.alive[ENCODER] = False
    world.sequence = BringupSequence(NODES, DEADLINES)
    world.sequence.start(world.now)
    world.run(2.0)
    assert world.asked == []
    world.alive[ENCODER] = True
    world.run(1.0)
    assert world.sequence.phase is Phase.ACTIVE


def test_a_node_that_never_appears_fails_the_start_and_is_named() -> None:
    world = World()
    world.alive[ENCODER] = False
    world.sequence.start(world.now)
    world.run(DEADLINES.appear_s + 0.5)
    assert world.sequence.phase is Phase.FAILED
    assert world.sequence.reason == "encoder_node did not appear within 10 s"


def test_a_transition_that_fails_takes_down_what_was_up() -> None:
    world = World()
    world.failing.add(Request(MONITOR, Transition.ACTIVATE))
    world.sequence.start(world.now)
    world.run(2.0)
    assert world.sequence.phase is Phase.FAILED
    assert "activate of safety_monitor_node failed" in world.sequence.reason
    assert world.asked[-2:] == [Request(ENCODER, Transition.DEACTIVATE), Request(CAMERA, Transition.DEACTIVATE)]


def test_a_transition_that_does_not_end_fails_at_its_deadline_and_not_before() -> None:
    world = World()
    world.mute.add(Request(ENCODER, Transition.CONFIGURE))
    world.sequence.start(world.now)
    world.run(DEADLINES.transition_s - 0.5)
    assert world.sequence.phase is Phase.STARTING
    world.run(1.0)
    assert world.sequence.phase is Phase.FAILED
    assert world.sequence.reason == "configure of encoder_node did not end within 5 s"


def test_a_long_transition_is_no_silence() -> None:
    world = World()
    request = Request(ENCODER, Transition.CONFIGURE)
    world.mute.add(request)
    world.sequence.start(world.now)
    world.run(0.2)
    world.alive[ENCODER] = False  # its executor is busy with the transition
    world.run(3.0)
    world.alive[ENCODER] = True
    world.mute.clear()
    world.answer(request)
    world.run(1.0)
    assert world.sequence.phase is Phase.ACTIVE


def test_a_node_that_falls_silent_stops_the_robot_within_the_heartbeat_timeout() -> None:
    world = started()
    world.alive[ENCODER] = False
    world.run(DEADLINES.heartbeat_s + 2 * TICK_S)
    assert world.asked == [Request(MONITOR, Transition.DEACTIVATE)]
    assert world.sequence.phase is Phase.STOPPED
    assert "encoder_node" in world.sequence.reason


def test_a_node_that_was_only_held_up_lets_the_robot_go_on() -> None:
    world = started()
    world.alive[ENCODER] = False
    world.run(1.0)
    world.alive[ENCODER] = True
    world.run(0.5)
    assert world.asked == [Request(MONITOR, Transition.DEACTIVATE), Request(MONITOR, Transition.ACTIVATE)]
    assert world.sequence.phase is Phase.ACTIVE


def test_a_node_that_stays_away_fails_the_graph_which_is_taken_down() -> None:
    world = started()
    world.alive[ENCODER] = False
    world.run(DEADLINES.recover_s + 1.0)
    assert world.sequence.phase is Phase.FAILED
    assert world.asked[-1] == Request(CAMERA, Transition.DEACTIVATE)
    world.alive[ENCODER] = True
    world.run(2.0)
    assert world.sequence.phase is Phase.FAILED, "only a person starts it again"


def test_a_respawned_node_is_brought_up_again_and_the_monitor_last() -> None:
    world = started(respawn=True)
    world.alive[ENCODER] = False
    world.run(1.0)
    world.restart(ENCODER)
    world.run(1.0)
    assert world.asked == [
        Request(MONITOR, Transition.DEACTIVATE),
        Request(ENCODER, Transition.CONFIGURE),
        Request(ENCODER, Transition.ACTIVATE),
        Request(MONITOR, Transition.ACTIVATE),
    ]
    assert world.sequence.phase is Phase.ACTIVE


def test_a_node_respawned_before_its_silence_was_noticed_still_stops_the_robot_first() -> None:
    world = started(respawn=True)
    world.restart(ENCODER)
    world.run(1.0)
    assert world.asked[0] == Request(MONITOR, Transition.DEACTIVATE)
    assert world.sequence.phase is Phase.ACTIVE


def test_without_respawn_a_node_that_was_started_anew_is_not_brought_up() -> None:
    world = started()
    world.restart(ENCODER)
    world.run(1.0)
    assert world.asked == [Request(MONITOR, Transition.DEACTIVATE)]
    world.run(DEADLINES.recover_s + 0.5)
    assert world.sequence.phase is Phase.FAILED


@pytest.mark.parametrize("respawn", [False, True])
def test_a_monitor_that_died_is_never_brought_back_and_the_rest_goes_down(respawn: bool) -> None:
    world = started(respawn)
    world.alive[MONITOR] = False
    world.run(1.0)
    assert world.sequence.phase is Phase.FAILED
    world.restart(MONITOR)
    world.run(5.0)
    assert world.asked == [Request(ENCODER, Transition.DEACTIVATE), Request(CAMERA, Transition.DEACTIVATE)]


def test_a_person_can_start_a_failed_graph_again() -> None:
    world = started()
    world.alive[MONITOR] = False
    world.run(1.0)
    world.restart(MONITOR)
    world.run(1.0)
    world.sequence.start(world.now)
    world.run(1.0)
    assert world.sequence.phase is Phase.ACTIVE


def test_a_node_that_leaves_the_active_state_by_itself_fails_the_graph() -> None:
    world = started()
    world.state[CAMERA] = NodeState.INACTIVE
    world.run(0.5)
    assert world.sequence.phase is Phase.FAILED
    assert world.asked[0] == Request(MONITOR, Transition.DEACTIVATE)


def test_a_heartbeat_older_than_the_answer_does_not_take_the_answer_back() -> None:
    world = started()
    world.sequence.heartbeat(CAMERA, NodeState.INACTIVE.value, world.pid[CAMERA], world.now, age_s=5.0)
    world.sequence.next_request(world.now)
    assert world.sequence.phase is Phase.ACTIVE


def test_a_stall_of_the_watcher_itself_is_no_silence_of_the_nodes() -> None:
    world = started()
    world.now += 2.0
    assert world.sequence.next_request(world.now) is None
    world.run(1.0)
    assert world.sequence.phase is Phase.ACTIVE


def test_on_the_way_down_the_monitor_is_first_and_nobody_waits_for_the_dead() -> None:
    world = started()
    world.alive[ENCODER] = False
    world.sequence.stop(world.now)
    world.run(2.0)
    assert world.asked[0] == Request(MONITOR, Transition.DEACTIVATE)
    assert world.asked[-1] == Request(CAMERA, Transition.DEACTIVATE)
    assert world.sequence.phase is Phase.ENDED


def test_a_node_that_refuses_to_go_down_is_asked_once() -> None:
    world = started()
    refused = Request(ENCODER, Transition.DEACTIVATE)
    world.failing.add(refused)
    world.sequence.stop(world.now)
    world.run(2.0)
    assert world.asked.count(refused) == 1
    assert world.sequence.phase is Phase.ENDED


def test_heartbeats_of_strangers_are_ignored() -> None:
    world = started()
    world.sequence.heartbeat("someone_else", NodeState.INACTIVE.value, 1, world.now)
    assert set(world.sequence.states()) == set(NODES)


def test_a_request_that_did_not_reach_a_node_is_made_again() -> None:
    """The node goes on beating in its old state; one that works on a request does not beat."""
    world = World()
    configure = Request(ENCODER, Transition.CONFIGURE)
    world.mute.add(configure)
    world.sequence.start(world.now)
    world.run(0.9)
    assert world.asked.count(configure) == 1
    world.run(0.6)
    assert world.asked.count(configure) == 2
    world.mute.clear()
    world.run(2.0)
    assert world.sequence.phase is Phase.ACTIVE


def test_a_node_that_never_hears_of_a_request_fails_the_graph_within_the_deadline_all_the_same() -> None:
    world = World()
    world.mute.add(Request(ENCODER, Transition.CONFIGURE))
    world.sequence.start(world.now)
    world.run(DEADLINES.transition_s + 1.0)
    assert world.sequence.phase is Phase.FAILED
    assert world.sequence.reason == "configure of encoder_node did not end within 5 s"


# -- a dispensable node ------------------------------------------------------------------------------
def started_with_a_dispensable_camera() -> World:
    world = World()
    world.sequence = BringupSequence(NODES, DEADLINES, dispensable=frozenset({CAMERA}))
    world.sequence.start(world.now)
    world.run(1.0)
    assert world.sequence.phase is Phase.ACTIVE
    world.asked.clear()
    world.sequence.events.clear()
    return world


def test_a_dispensable_node_has_to_be_there_at_the_start() -> None:
    world = World()
    world.sequence = BringupSequence(NODES, DEADLINES, dispensable=frozenset({CAMERA}))
    world.alive[CAMERA] = False
    world.sequence.start(world.now)
    world.run(11.0)
    assert world.sequence.phase is Phase.FAILED


def test_the_graph_goes_on_while_a_dispensable_node_pauses_and_tells_it_once() -> None:
    world = started_with_a_dispensable_camera()
    world.alive[CAMERA] = False
    world.run(20.0)
    assert (world.sequence.phase, world.asked) == (Phase.ACTIVE, [])
    assert world.sequence.events == ["no heartbeat of camera_node: the others go on without it"]
    world.alive[CAMERA] = True
    world.run(1.0)
    assert (world.sequence.phase, world.asked) == (Phase.ACTIVE, [])


def test_a_dispensable_node_that_was_started_anew_is_brought_up_beside_the_others() -> None:
    world = started_with_a_dispensable_camera()
    world.restart(CAMERA)
    world.run(1.0)
    assert world.asked == [Request(CAMERA, Transition.CONFIGURE), Request(CAMERA, Transition.ACTIVATE)]
    assert (world.sequence.phase, world.state[CAMERA]) == (Phase.ACTIVE, NodeState.ACTIVE)
    assert world.sequence.events[-1] == "camera_node is back"


def test_a_dispensable_node_that_refuses_is_given_up_and_the_graph_goes_on() -> None:
    world = started_with_a_dispensable_camera()
    world.failing.add(Request(CAMERA, Transition.CONFIGURE))
    world.restart(CAMERA)
    world.run(5.0)
    assert world.asked == [Request(CAMERA, Transition.CONFIGURE)]
    assert world.sequence.phase is Phase.ACTIVE


def test_a_dispensable_node_that_hangs_in_its_transition_hides_no_node_that_is_missing() -> None:
    world = started_with_a_dispensable_camera()
    world.mute.add(Request(CAMERA, Transition.CONFIGURE))
    world.restart(CAMERA)
    world.run(0.5)
    world.alive[ENCODER] = False
    world.run(1.0)
    assert world.asked[-1] == Request(MONITOR, Transition.DEACTIVATE)
    assert world.sequence.phase is Phase.STOPPED


def test_the_others_come_back_without_a_dispensable_node() -> None:
    world = started_with_a_dispensable_camera()
    world.alive[CAMERA] = world.alive[ENCODER] = False
    world.run(1.0)
    world.alive[ENCODER] = True
    world.run(1.0)
    assert (world.sequence.phase, world.state[MONITOR]) == (Phase.ACTIVE, NodeState.ACTIVE)


def test_after_a_failure_a_persons_start_brings_the_dispensable_node_up_again_as_well() -> None:
    world = started_with_a_dispensable_camera()
    world.alive[ENCODER] = False
    world.run(6.0)
    assert (world.sequence.phase, world.state[CAMERA]) == (Phase.FAILED, NodeState.INACTIVE)
    world.alive[ENCODER] = True
    world.sequence.start(world.now)
    world.run(2.0)
    assert world.sequence.phase is Phase.ACTIVE
    assert set(world.state.values()) == {NodeState.ACTIVE}


def test_the_monitor_is_never_dispensable() -> None:
    world = World()
    world.sequence = BringupSequence(NODES, DEADLINES, dispensable=frozenset({MONITOR}))
    world.sequence.start(world.now)
    world.run(1.0)
    world.alive[MONITOR] = False
    world.run(1.0)
    assert world.sequence.phase is Phase.FAILED
