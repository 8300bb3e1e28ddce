"""The memory of the encoder for the command stream."""

import math

import numpy as np

from fosp_perception.command_memory import COMMAND_MEMORY, CommandMemory


def test_the_newest_commands_are_kept_in_order_however_many_come():
    memory = CommandMemory(2)
    for number in range(5 * COMMAND_MEMORY + 7):
        memory.append(0.01 * number, np.array([number, -number], np.float64))
        assert memory.newest_s == 0.01 * number
        stamps, commands = memory.since(0.0)
        assert len(stamps) == min(number + 1, COMMAND_MEMORY)
        oldest = max(0, number + 1 - COMMAND_MEMORY)
        assert commands[0].tolist() == [oldest, -oldest]
    assert (np.diff(stamps) > 0.0).all()
    assert commands[-1].tolist() == [number, -number]


def test_commands_since_a_moment_include_one_of_that_very_moment():
    memory = CommandMemory(1)
    for stamp_s in (1.0, 2.0, 3.0):
        memory.append(stamp_s, np.array([stamp_s]))
    assert memory.since(2.0)[0].tolist() == [2.0, 3.0]
    assert memory.since(3.1)[0].tolist() == []


def test_nothing_is_left_after_clearing():
    memory = CommandMemory(1)
    memory.append(5.0, np.array([1.0]))
    memory.clear()
    assert memory.newest_s == -math.inf
    assert len(memory.since(0.0)[0]) == 0
    memory.append(1.0, np.array([2.0]))
    assert memory.since(0.0)[1].tolist() == [[2.0]]
