"""Processor time and memory of each node of the running graph, beside a node that does nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fosp_bringup.environment import environment
from fosp_bringup.paths import scenario_path
from fosp_bringup.supervisor import Supervisor
from fosp_cli.evaluation.live_graph import LiveGraph, RunFailed
from fosp_core.errors import UserError

_BARE_NODE = """
import rclpy
rclpy.init()
rclpy.spin(rclpy.create_node("bare_rclpy_node"))
"""
_CAMERA = "fosp_cli.bench.weight"
"""This module as a program: the simulator with a large camera."""
_SHARED = ("Pss:", "Rss:")
_SAMPLES_HZ = 200


@dataclass(frozen=True)
class ProcessCost:
    """The processor time and the memory of one process so far."""

    cpu_s: float
    """Processor time in user and system mode, s."""
    pss_mb: float
    """Memory in which shared pages count by the share of this process (proportional set size), MB."""
    rss_mb: float
    """Resident memory, shared pages included, MB."""


def process_cost(pid: int) -> ProcessCost:
    """Read the cost of a process that is this user's from /proc; raise OSError when it has ended."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(after_name[11]) + int(after_name[12])
    rows = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines())
    kilobytes = {row[0]: int(row[1]) for row in rows if row[0] in _SHARED}
    pss_mb, rss_mb = (kilobytes[name] * 1.024e-3 for name in _SHARED)
    return ProcessCost(ticks / os.sysconf("SC_CLK_TCK"), pss_mb, rss_mb)


def cpu_percent(
    before: Mapping[str, ProcessCost], after: Mapping[str, ProcessCost], elapsed_s: float
) -> dict[str, float]:
    """Return the share of one core that each process took in between, in percent."""
    return {name: round(100.0 * (after[name].cpu_s - before[name].cpu_s) / elapsed_s, 1) for name in before}


class LargeCameraGraph(LiveGraph):
    """The live graph with a simulated camera of 640x480 pixels, and with a black box."""

    def __init__(self, bundle: Path, out: Path, **options: Any) -> None:
        """`options` go to stack()."""
        box = out / "black_box"
        super().__init__(bundle, scenario_path("safe_reach"), log=out / "weight.log", black_box=box, **options)
        processes = tuple(
            replace(process, module=_CAMERA) if process.name == "sim_node" else process
            for process in self.stack.processes
        )
        self.stack = replace(self.stack, processes=processes)
        self._supervisor = Supervisor(self.stack, write=self._write, colour=False)

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by node."""
        return {process.name: self._supervisor.pid(process.name) for process in self.stack.processes}

    def costs(self) -> dict[str, ProcessCost]:
        """Return the cost of each node so far."""
        return {name: process_cost(pid) for name, pid in self.pids.items()}

    @property
    def is_robot(self) -> set[str]:
        """Names of the processes that stand for the robot and its camera."""
        return {process.name for process in self.stack.processes if process.is_robot}


@contextmanager
def _bare_node() -> Iterator[int]:
    """Run a node that does nothing, and yield its process id."""
    command = [sys.executable, "-c", _BARE_NODE]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment())
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def node_costs(bundle: Path, out: Path, seconds: float) -> dict[str, Any]:
    """Measure what each node takes while episodes run: 20 decisions and 100 commands per second, 40 frames of 640x480.

    Memory is what the node takes beyond a bare node of rclpy, shared pages counted once. Raise RunFailed as LiveGraph.
    """
    out.mkdir(parents=True, exist_ok=True)
    live, began_s = LargeCameraGraph(bundle, out), time.monotonic()
    with _bare_node() as bare_pid, live:
        active_s = time.monotonic() - began_s
        live.run_episode(0)
        before, begin_s, episode = live.costs(), time.monotonic(), 0
        while time.monotonic() - begin_s < seconds:
            episode += 1
            live.run_episode(episode)
        after, bare = live.costs(), process_cost(bare_pid)
        shares = cpu_percent(before, after, time.monotonic() - begin_s)
        nodes = [name for name in shares if name not in live.is_robot]
        return {
            "node_cpu_percent": {**shares, "all but the simulator": round(sum(shares[name] for name in nodes), 1)},
            "node_memory_mb": {name: round(after[name].pss_mb - bare.pss_mb, 1) for name in nodes},
            "bare_node_mb": {"pss": round(bare.pss_mb, 1), "rss": round(bare.rss_mb, 1)},
            "start_to_active_s": round(active_s, 2),
        }


def flame_graphs(bundle: Path, out: Path, seconds: float) -> dict[str, Any]:
    """Sample every node with py-spy for so many seconds of the same episodes, and write OUT/flame_NODE.svg.

    Raise UserError without py-spy, and RunFailed as LiveGraph or when nothing was written.
    """
    sampler = shutil.which("py-spy")
    if sampler is None:
        raise UserError("--profile needs py-spy on the PATH: pip install py-spy")
    out.mkdir(parents=True, exist_ok=True)
    with LargeCameraGraph(bundle, out) as live:
        live.run_episode(0)
        files = {name: out / f"flame_{name}.svg" for name in live.pids}
        command = [sampler, "record", "--nonblocking", "--duration", f"{seconds:.0f}", "--rate", str(_SAMPLES_HZ)]
        samplers = {
            name: subprocess.Popen(
                [*command, "--pid", str(live.pids[name]), "--output", str(file)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for name, file in files.items()
        }
        episode = 0
        while any(one.poll() is None for one in samplers.values()):
            episode += 1
            live.run_episode(episode)
    for name, one in samplers.items():
        said = (one.stderr.read() if one.stderr else "").strip().splitlines()
        if one.returncode != 0:
            raise RunFailed(f"py-spy could not sample {name}: {said[-1] if said else one.returncode}")
        files[name].write_text(_titled(files[name].read_text(), f"{name}, {seconds:.0f} s at {_SAMPLES_HZ} Hz"))
    return {"flame_graphs": [str(file) for file in files.values()]}


def _titled(graph: str, title: str) -> str:
    """Return a flame graph of py-spy under another title than the command line that made it."""
    return re.sub(r'(<text id="title"[^>]*>)[^<]*', rf"\g<1>{title}", graph)


def _simulate_a_large_camera() -> None:
    """Run the simulated robot with a camera of 640x480 pixels, of which the nodes have the costs of such frames.

    Each pixel of the simulated camera comes four times, so that a model sees what it knows.
    """
    from fosp_sim import sim_node
    from fosp_sim.task import render

    native = render.Renderer.render

    def large(*arguments: Any, **sizes: Any) -> Any:
        return native(*arguments, **sizes).repeat(2, axis=0).repeat(2, axis=1)

    render.Renderer.render = large  # type: ignore[method-assign]
    sim_node.main()


if __name__ == "__main__":
    _simulate_a_large_camera()
