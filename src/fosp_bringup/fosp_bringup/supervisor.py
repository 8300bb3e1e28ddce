"""Supervisor that runs a stack without `ros2 launch`: starts its processes, shows their output, takes them down.

Runners of Procfiles (honcho and the like) lack what matters here: the first process that dies ends all others at once,
the lifecycle manager ends first on the way down, chosen processes are started anew, and the shared memory that Fast DDS
leaves behind is removed.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType

from fosp_bringup.environment import environment
from fosp_bringup.neighbours import MANAGER
from fosp_bringup.shared_memory import clean_shared_memory
from fosp_bringup.stack import MOST_RESPAWNS, Stack, StackProcess

POLL_S = 0.05
REAP_S = 0.05
"""Time, s, to wait for a process to end after its output ended: its death must stop the robot at once."""
MANAGER_PATIENCE_S = 6.0
"""Time, s, for the manager to take the graph down; it allows itself 4 s."""
ESCALATION = ((signal.SIGINT, 5.0), (signal.SIGTERM, 2.0), (signal.SIGKILL, 5.0))
"""Signals that a process is sent in turn, and the time, s, that it may take to end after each."""
RESPAWN_DELAY_S = 1.0
_COLOURS = (36, 32, 33, 35, 34, 96, 92, 93)


@dataclass
class _Child:
    process: StackProcess
    popen: subprocess.Popen[bytes]
    label: str
    partial: bytes = b""
    respawns: int = 0
    again_at: float | None = None
    """Monotonic time at which it is started anew; None while it runs, and when it has ended for good."""
    code: int | None = None


@dataclass
class Supervisor:
    """Processes of one stack, as a context manager or, with `run`, in the foreground.

    A thread of its own starts and reaps them. It takes them down when it is told to, when one of them dies, and when
    the main thread ends, as it does on a second Ctrl-C. `write` takes each line of output, with the name of its process
    in front. `variables` are added to the environment of every process.
    """

    stack: Stack
    variables: Mapping[str, str] = field(default_factory=dict)
    write: Callable[[str], None] = lambda line: print(line, flush=True)
    colour: bool = field(default_factory=lambda: sys.stdout.isatty())

    def __post_init__(self) -> None:
        self._children: dict[str, _Child] = {}
        self._selector = selectors.DefaultSelector()
        self._stopping = threading.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="supervisor")
        self._died = ""
        self._forced = False
        self._error: BaseException | None = None

    # -- for the caller ------------------------------------------------------------------------------
    def start(self) -> None:
        """Start every process, and return when all have been forked."""
        self._thread.start()
        self._started.wait()

    @property
    def alive(self) -> bool:
        """True while the stack runs and none of its processes has died for good."""
        return self._thread.is_alive() and not self._died and not self._stopping.is_set()

    @property
    def died(self) -> str:
        """Name of the process whose death ended the stack, and how it died; empty when none did."""
        return self._died

    def pid(self, name: str) -> int:
        """Return the process id of a node's newest process."""
        return self._children[name].popen.pid

    def stop(self) -> int:
        """Take everything down and return the exit code: 0, or 1 when a process died or had to be killed."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error
        return int(bool(self._died) or self._forced)

    def run(self) -> int:
        """Run in the foreground until SIGINT or SIGTERM, or until a process dies, and return the exit code.

        Further signals have no effect: each process has until its deadline to end, and is then killed.
        """
        previous = {s: signal.signal(s, lambda *_: self._stopping.set()) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            self.start()
            while self._thread.is_alive():
                self._thread.join(POLL_S)
            return self.stop()
        finally:
            for signum, handler in previous.items():
                signal.signal(signum, handler)

    def __enter__(self) -> Supervisor:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- the supervising thread ----------------------------------------------------------------------
    def _serve(self) -> None:
        try:
            if self.stack.warning:
                self._say(self.stack.warning)
            width = max(len(process.name) for process in self.stack.processes)
            for i, process in enumerate(self.stack.processes):
                self._children[process.name] = _Child(process, self._fork(process), self._label(i, process, width))
                self._watch(self._children[process.name])
            self._started.set()
            while not self._stopping.is_set() and not self._died and threading.main_thread().is_alive():
                self._look(POLL_S)
            if self._died:
                self._say(f"{self._died}: the stack goes down")
        except BaseException as error:
            self._error = error
        finally:
            self._take_down()
            self._selector.close()
            clean_shared_memory()
            self._started.set()

    def _fork(self, process: StackProcess) -> subprocess.Popen[bytes]:
        """Start a process in a session of its own, so that a Ctrl-C in the terminal reaches it in order, through us.

        When this process is killed, the kernel interrupts the child: its death signal is bound to the supervising
        thread.
        """
        mortal = [setpriv, "--pdeathsig", "INT", "--"] if (setpriv := shutil.which("setpriv")) else []
        return subprocess.Popen(
            [*mortal, sys.executable, "-m", process.module, *self.stack.ros_arguments(process)],
            env={**environment(self.stack.stays_here), **self.variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _watch(self, child: _Child) -> None:
        assert child.popen.stdout is not None
        os.set_blocking(child.popen.stdout.fileno(), False)
        self._selector.register(child.popen.stdout, selectors.EVENT_READ, child)

    def _look(self, timeout_s: float) -> None:
        """Pass on output, reap the processes that ended, and start anew those that are due."""
        if not self._selector.get_map():
            time.sleep(min(timeout_s, POLL_S))
        for key, _ in self._selector.select(timeout_s):
            self._read(key.data)
        for child in self._children.values():
            if child.again_at is not None and time.monotonic() >= child.again_at:
                child.again_at, child.code = None, None
                child.popen = self._fork(child.process)
                self._watch(child)
            elif child.code is None and child.popen.poll() is not None:
                self._reap(child)

    def _read(self, child: _Child) -> None:
        assert child.popen.stdout is not None
        data = child.popen.stdout.read(65536)
        if data == b"":
            self._selector.unregister(child.popen.stdout)
            child.popen.stdout.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.popen.wait(REAP_S)
        elif data:
            *lines, child.partial = (child.partial + data).split(b"\n")
            for line in lines:
                self.write(f"{child.label} {line.decode(errors='replace')}")

    def _reap(self, child: _Child) -> None:
        """Note that a process has ended: because it was told to, to be started anew, or for good."""
        child.code = child.popen.returncode
        output = child.popen.stdout
        if output is not None and not output.closed:  # its last lines, and those of children that it left running
            self._read(child)
            if not output.closed:
                self._selector.unregister(output)
                output.close()
        if self._stopping.is_set() or self._died:
            return
        how = f"{child.process.name} ended with {_describe(child.code)}"
        if self.stack.respawns(child.process) and child.respawns < MOST_RESPAWNS:
            child.respawns += 1
            child.again_at = time.monotonic() + RESPAWN_DELAY_S
            self._say(f"{how}: it is started anew")
        elif child.process.dispensable:
            self._say(f"{how}: the others go on without it")
        else:
            self._died = how

    def _take_down(self) -> None:
        """Take the manager down first and the robot last; when a process died, all but the robot at once."""
        for child in self._children.values():
            child.again_at = None
        robots = [child.process.name for child in self._children.values() if child.process.is_robot]
        others = [name for name in self._children if name not in robots]
        if not self._died:
            self._send(signal.SIGINT, [MANAGER])
            self._wait_for([MANAGER], MANAGER_PATIENCE_S)
        for names in (others, robots):
            self._end(names)

    def _end(self, names: list[str]) -> None:
        """Interrupt, terminate and kill the processes, until all of them have ended."""
        for signum, patience_s in ESCALATION:
            running = self._running(names)
            if running and signum != signal.SIGINT:
                self._forced = True
                self._say(f"{', '.join(running)} did not end: {signum.name}")
            self._send(signum, running)
            self._wait_for(running, patience_s)

    def _running(self, names: list[str]) -> list[str]:
        return [name for name in names if name in self._children and self._children[name].code is None]

    def _send(self, signum: signal.Signals, names: list[str]) -> None:
        for name in self._running(names):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._children[name].popen.pid, signum)

    def _wait_for(self, names: list[str], patience_s: float) -> None:
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline and self._running(names):
            self._look(POLL_S)

    def _label(self, index: int, process: StackProcess, width: int) -> str:
        label = f"[{process.name}]".ljust(width + 2)
        return f"\x1b[{_COLOURS[index % len(_COLOURS)]}m{label}\x1b[0m" if self.colour else label

    def _say(self, line: str) -> None:
        self.write(f"[fosp] {line}")


def _describe(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
