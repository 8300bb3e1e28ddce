"""Properties of the commands of stream and verdicts, in whatever order and however close they come."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PERIOD_S = 0.01
common = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
any_speed = st.one_of(st.sampled_from([-1.0, 1.0]), st.floats(-1, 1))
phases = st.one_of(st.none(), st.sampled_from([1e-6, 1e-4, 0.5, 0.9999]), st.floats(1e-6, 0.9999))
"""Share of a period after which a verdict's command follows a tick of the grid; None: no verdict comes."""


@common
@given(
    st.tuples(*[st.floats(0, 1)] * 3),
    st.lists(st.tuples(phases, st.tuples(*[any_speed] * 3), st.integers(1, 20)), min_size=1, max_size=30),
    st.sampled_from([None, 60.0, 300.0, 1000.0]),
)
def test_speed_acceleration_jerk_and_walls_hold_for_the_true_times_of_all_commands(
    make_scene, arm, begin, orders, jerk
):
    limits = {name: axis.model_copy(update={"jerk": jerk}) for name, axis in arm.limits.items()}
    # The norm's limit, which takes precedence over that of jerk, stays out of the way: test_limits.py has it.
    scene = make_scene(robot={"limits": limits, "linear_speed": 1.0})
    lower, upper = np.array(arm.workspace.lower), np.array(arm.workspace.upper)
    position, command, slope = lower + np.array(begin) * (upper - lower), np.zeros(3), np.zeros(3)
    scene.hear_from_robot(tuple(position.tolist()))
    scene.tick()

    def command_after(elapsed_s, action=None):
        nonlocal position, command, slope
        scene.wait(elapsed_s)
        position = position + elapsed_s * command
        scene.hear_from_robot(tuple(position.tolist()))
        if action is not None:
            scene.judge(scene.proposal([action]))
        after = np.array(scene.tick().command)
        assert (np.abs(after) <= scene.limits.speed + 1e-9).all()
        change = np.abs(after - command)
        assert (change <= scene.limits.deceleration * elapsed_s + 1e-9).all()
        # An acceleration is the mean between two commands. Only near a wall does it change faster than the jerk limit.
        far = ((position - lower > 0.1) & (upper - position > 0.1)).all()
        if jerk is not None and far:
            most = jerk * max(elapsed_s, 0.5 * PERIOD_S)
            assert (np.abs((after - command) / elapsed_s - slope) <= most + 1e-3).all()
        command, slope = after, (after - command) / elapsed_s
        assert (lower - 1e-6 <= position).all()
        assert (position <= upper + 1e-6).all()

    for phase, action, ticks in orders:
        for index in range(ticks):
            if phase is None or index > 0:
                command_after(PERIOD_S)
            else:
                command_after(phase * PERIOD_S, action)
                command_after((1.0 - phase) * PERIOD_S)


@common
@given(st.lists(phases, min_size=1, max_size=40), st.sampled_from([None, 300.0]))
def test_a_stop_never_reverses_the_motion_and_takes_no_longer_for_commands_in_between(make_scene, arm, gaps, jerk):
    limits = {name: axis.model_copy(update={"jerk": jerk}) for name, axis in arm.limits.items()}
    scene = make_scene(robot={"limits": limits})
    scene.drive(0.5, proposal=lambda: scene.proposal([[1.0, -1.0, 0.2]]))
    begun_s, before = scene.monotonic_s, np.array(scene.state.command)
    scene.robot = scene.robot.__class__(**{**vars(scene.robot), "estop_pressed": True})
    for phase in [*gaps, *[None] * 20]:
        for elapsed_s in [PERIOD_S] if phase is None else [phase * PERIOD_S, (1.0 - phase) * PERIOD_S]:
            scene.wait(elapsed_s)
            command = np.array(scene.tick().command)
            assert (command * before >= 0.0).all()
            assert (np.abs(command) <= np.abs(before) + 1e-9).all()
            before = command
        if scene.monotonic_s - begun_s > 0.12:
            assert not command.any()
