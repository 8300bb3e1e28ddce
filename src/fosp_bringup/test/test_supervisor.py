"""Real processes, but no ROS: they print, obey, disobey or die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fosp_bringup import supervisor as module
from fosp_bringup.stack import MANAGER, Stack, StackProcess
from fosp_bringup.supervisor import Supervisor

pytestmark = pytest.mark.slow

OBEDIENT = """
import signal, sys, time
print("up", flush=True)
try:
    while True:
        time.sleep(60)
except KeyboardInterrupt:
    print("down", flush=True)
"""
STUBBORN = """
import signal, time
for s in (signal.SIGINT, signal.SIGTERM):
    signal.signal(s, signal.SIG_IGN)
print("up", flush=True)
while True:
    time.sleep(60)
"""
FAILING = "print('up', flush=True)\nraise SystemExit(3)\n"


class Output(list[str]):
    """Lines so far."""

    def wait_for(self, line: str, count: int = 1) -> None:
        wait_until(lambda: self.count(line) >= count, f"{count} x '{line}' in {self}")


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.005)


@pytest.fixture
def output() -> Output:
    return Output()


@pytest.fixture
def make(tmp_path: Path, output: Output) -> Callable[..., Supervisor]:
    """Supervisor of processes that run the given sources, named by the keywords."""

    def supervisor(use_respawn: bool = False, **sources: str) -> Supervisor:
        for name, source in sources.items():
            (tmp_path / f"{name}.py").write_text(source)
        processes = tuple(
            StackProcess(name, "test", name, is_robot=name == "robot", respawn=name == "mortal") for name in sources
        )
        described = Stack(processes, use_respawn=use_respawn)
        return Supervisor(described, {"PYTHONPATH": str(tmp_path)}, output.append, colour=False)

    return supervisor


def test_every_line_comes_with_the_name_of_its_process(make: Callable[..., Supervisor], output: Output) -> None:
    with make(one=OBEDIENT, other=OBEDIENT):
        output.wait_for("[one]   up")
        output.wait_for("[other] up")


def test_what_a_stack_warns_of_is_the_first_line(make: Callable[..., Supervisor], output: Output) -> None:
    supervisor = make(one=OBEDIENT)
    supervisor.stack = replace(supervisor.stack, warning="the speed is capped")
    with supervisor:
        output.wait_for("[one] up")
    assert output[0] == "[fosp] the speed is capped"


def test_a_stop_interrupts_all_and_gives_zero(make: Callable[..., Supervisor], output: Output) -> None:
    supervisor = make(one=OBEDIENT, two=OBEDIENT)
    supervisor.start()
    output.wait_for("[one] up")
    output.wait_for("[two] up")
    assert supervisor.alive
    assert supervisor.stop() == 0
    assert not supervisor.alive
    assert {"[one] down", "[two] down"} < set(output)


def test_the_manager_goes_first_and_the_robot_last(make: Callable[..., Supervisor], output: Output) -> None:
    supervisor = make(robot=OBEDIENT, node=OBEDIENT, **{MANAGER: OBEDIENT})
    supervisor.start()
    for name in ("robot", "node", MANAGER):
        output.wait_for(f"{f'[{name}]'.ljust(len(MANAGER) + 2)} up")
    assert supervisor.stop() == 0
    order = [line.split()[0] for line in output if line.endswith("down")]
    assert order == [f"[{MANAGER}]", "[node]", "[robot]"]


def test_a_process_that_dies_ends_all_and_gives_one(make: Callable[..., Supervisor], output: Output) -> None:
    supervisor = make(one=OBEDIENT, two=OBEDIENT)
    supervisor.start()
    output.wait_for("[one] up")
    output.wait_for("[two] up")
    os.kill(supervisor.pid("two"), signal.SIGKILL)
    output.wait_for("[one] down")
    assert supervisor.stop() == 1
    assert supervisor.died == "two ended with SIGKILL"


def test_a_process_that_ends_by_itself_ends_all_too(make: Callable[..., Supervisor], output: Output) -> None:
    supervisor = make(one=OBEDIENT, two=FAILING)
    assert supervisor.run() == 1
    assert supervisor.died == "two ended with exit code 3"


def test_what_does_not_obey_is_killed_and_that_is_no_success(
    make: Callable[..., Supervisor], output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience = tuple((signum, 0.2 if signum != signal.SIGKILL else 5.0) for signum, _ in module.ESCALATION)
    monkeypatch.setattr(module, "ESCALATION", patience)
    supervisor = make(one=STUBBORN)
    supervisor.start()
    output.wait_for("[one] up")
    pid = supervisor.pid("one")
    assert supervisor.stop() == 1
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_with_respawn_a_process_that_may_starts_anew_and_any_other_ends_all(
    make: Callable[..., Supervisor], output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESPAWN_DELAY_S", 0.01)
    supervisor = make(use_respawn=True, mortal=OBEDIENT, vital=OBEDIENT)
    supervisor.start()
    output.wait_for("[mortal] up")
    output.wait_for("[vital]  up")
    os.kill(supervisor.pid("mortal"), signal.SIGKILL)
    output.wait_for("[mortal] up", count=2)
    assert supervisor.alive
    os.kill(supervisor.pid("vital"), signal.SIGKILL)
    output.wait_for("[mortal] down")
    assert supervisor.stop() == 1


def test_a_process_that_keeps_dying_ends_all(
    make: Callable[..., Supervisor], output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESPAWN_DELAY_S", 0.01)
    supervisor = make(use_respawn=True, mortal=FAILING)
    assert supervisor.run() == 1
    assert output.count("[mortal] up") == module.MOST_RESPAWNS + 1


PARENT = """
import threading
from fosp_bringup.stack import StackProcess, Stack
from fosp_bringup.supervisor import Supervisor
spoken = threading.Event()
def write(line):
    print(line, flush=True)
    spoken.set()
supervisor = Supervisor(Stack((StackProcess('node', 'test', 'node'),)), write=write, colour=False)
"""


def start_parent(folder: Path, last_line: str) -> tuple[subprocess.Popen[str], int]:
    """A process with a supervisor of one node, and the node's id; it ends with `last_line`."""
    (folder / "node.py").write_text("import os\nprint('pid', os.getpid(), flush=True)\n" + OBEDIENT)
    (folder / "parent.py").write_text(PARENT + last_line + "\n")
    path = f"{folder}{os.pathsep}{os.environ['PYTHONPATH']}"
    parent = subprocess.Popen(
        [sys.executable, "-m", "parent"], env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    return parent, int(parent.stdout.readline().split()[-1])


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists() or "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()


def test_processes_do_not_outlive_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    parent, pid = start_parent(tmp_path, "supervisor.run()")
    parent.kill()
    parent.communicate()
    wait_until(lambda: gone(pid), f"the end of process {pid}")


def test_processes_go_down_with_a_main_thread_that_ends_without_a_word(tmp_path: Path) -> None:
    parent, pid = start_parent(tmp_path, "supervisor.start()\nspoken.wait()")
    parent.communicate(timeout=20.0)
    assert gone(pid)
    assert parent.returncode == 0
