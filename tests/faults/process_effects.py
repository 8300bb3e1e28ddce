"""Effects on processes, clocks and the network: each begins when it is called with the graph, as in effects.py."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from effects import Begun, Effect, settle
from graph_under_fault import GraphUnderFault, wait
from relay import changed, wall_s

from fosp_bringup.environment import environment
from fosp_core import topics
from fosp_core.ros.stamps import time_message

NETWORK_UP = "ip link set lo up && ip link set lo multicast on && ip route replace 224.0.0.0/4 dev lo"
_HOG = """
import os, time
os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
end = time.monotonic() + 10
while time.monotonic() < end: pass
"""


def killed(name: str) -> Effect:
    """SIGKILL; the supervisor starts it anew."""

    def begin(graph: GraphUnderFault) -> Begun:
        before, since_s = graph.supervisor.pid(name), wall_s()
        graph.signal(name, signal.SIGKILL)
        return Begun(since_s, lambda: wait(lambda: graph.supervisor.pid(name) != before, 20.0, f"a new {name}"))

    return begin


def hung(name: str, seconds: float) -> Effect:
    """SIGSTOP, and SIGCONT after a while."""

    def begin(graph: GraphUnderFault) -> Begun:
        since_s = wall_s()
        graph.signal(name, signal.SIGSTOP)
        timer = threading.Timer(seconds, graph.signal, (name, signal.SIGCONT))
        timer.start()
        return Begun(since_s, timer.join)

    return begin


def ended(name: str) -> Effect:
    """SIGKILL to a process that takes the stack down with it."""

    def begin(graph: GraphUnderFault) -> Begun:
        since_s = wall_s()
        graph.signal(name, signal.SIGKILL)
        return Begun(since_s, lambda: wait(lambda: not graph.supervisor.alive, 10.0, "the end of the stack"))

    return begin


def full_disk(name: str) -> Effect:
    """Every write of the process to a file fails, while there is something to write."""

    def begin(graph: GraphUnderFault) -> Begun:
        since_s, pid = wall_s(), graph.supervisor.pid(name)
        unlimited = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, unlimited[1]))
        return Begun(since_s, lambda: resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited) and None)

    return begin


def starved(count: int) -> Effect:
    """So many processes that only count, at normal priority and for ten seconds at most."""

    def begin(graph: GraphUnderFault) -> Begun:
        since_s = wall_s()
        hogs = [subprocess.Popen([sys.executable, "-S", "-c", _HOG]) for _ in range(count)]

        def end() -> None:
            for hog in hogs:
                hog.kill()
                hog.wait()

        return Begun(since_s, end)

    return begin


def on_one_core(graph: GraphUnderFault) -> Begun:
    """Let every thread of the graph run on one core, and the simulator, which is the robot, where it likes."""
    since_s = wall_s()
    threads = [
        int(entry.name)
        for process in graph.supervisor.stack.processes
        if process.name != "sim_node"
        for entry in Path(f"/proc/{graph.supervisor.pid(process.name)}/task").iterdir()
    ]
    before = {thread: os.sched_getaffinity(thread) for thread in threads}
    one = min(os.sched_getaffinity(0))
    for thread in threads:
        os.sched_setaffinity(thread, {one})

    def end() -> None:
        for thread, cores in before.items():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(thread, cores)

    return Begun(since_s, end)


def network_down(seconds: float) -> Effect:
    """No packet goes from any process to any other. Only in a network namespace of our own (run_faults.py)."""

    def begin(graph: GraphUnderFault) -> Begun:
        since_s = wall_s()
        subprocess.run(["ip", "link", "set", "lo", "down"], check=True)
        settle(seconds)
        subprocess.run(["sh", "-c", NETWORK_UP], check=True)
        return Begun(since_s, lambda: None)

    return begin


def clock_jump(offset_s: float) -> Effect:
    """The simulated clock, and no stamp, is off from now on."""

    def begin(graph: GraphUnderFault) -> Begun:
        def change(message: Any) -> None:
            ns = message.clock.sec * 1_000_000_000 + message.clock.nanosec + round(offset_s * 1e9)
            message.clock = time_message(max(ns, 0))

        since_s = wall_s()
        graph.relay.tamper(topics.CLOCK, changed(change))
        return Begun(since_s, graph.relay.mend)

    return begin


def second_monitor() -> Effect:
    """A second monitor is started and configured; the fault begins when its publisher appears."""

    def begin(graph: GraphUnderFault) -> Begun:
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        name = "second_monitor"
        arguments = ["--ros-args", "-r", f"__node:={name}"]
        arguments += ["-p", f"bundle:={graph.directory / 'bundle'}", "-p", f"robot:={graph.directory / 'robot.yaml'}"]
        process = subprocess.Popen(
            [sys.executable, "-m", "fosp_safety_monitor.safety_monitor_node", *arguments],
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
        )
        request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
        answers: list[Any] = []
        caller = threading.Thread(
            target=lambda: answers.append(graph.call(ChangeState, f"{name}/change_state", request, 30.0))
        )
        caller.start()
        wait(lambda: graph.node.count_publishers(graph.robot.command_topic) > 1, 60.0, "a second publisher")
        since_s = wall_s()

        def end() -> None:
            caller.join()
            process.send_signal(signal.SIGINT)
            process.wait(20.0)

        return Begun(since_s, end)

    return begin
