"""The simulated graph as a context: started, active, ready for episodes; taken down clean at the end."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from fosp_bringup.stack import environment, stack
from fosp_bringup.stack_options import StackOptions
from fosp_bringup.supervisor import Supervisor
from fosp_cli.evaluation.metrics import EpisodeResult
from fosp_core.bundle.bundle import read_manifest
from fosp_core.specs import read_robot
from fosp_sim.task.scenario import read_scenario

ACTIVE_TIMEOUT_S = 60.0
_TAIL_LINES = 20


class LiveSimulation:
    """Every node in a process of its own, over DDS, on this machine alone.

    `options` go to stack(). `recorder`: folder for one bag per episode. `log`: file that gets the output of all
    processes. RunFailed, with the end of that output on `say`, when the graph does not come up or a node dies.
    """

    def __init__(
        self,
        bundle: Path,
        scenario: Path,
        recorder: Path | None = None,
        log: Path | None = None,
        say: Callable[[str], None] = print,
        **options: Any,
    ) -> None:
        self._described = read_scenario(scenario)
        self.stack = stack(
            StackOptions(
                simulator="mujoco",
                scenario=str(scenario),
                bundle=bundle,
                recorder=recorder,
                auto_reset=False,
                **options,
            )
        )
        self._say = say
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._log = log.open("w") if log is not None else None
        # This process speaks DDS, too, and must do so by the same transports.
        os.environ.update(environment())
        self._supervisor = Supervisor(self.stack, write=self._write, colour=False)
        self._period_s = read_manifest(bundle).decision_period_s

    def __enter__(self) -> LiveSimulation:
        from fosp_cli.evaluation.episode_driver import EpisodeDriver, RunFailed

        robot = read_robot(Path(str(self.stack.processes[0].parameters["robot"])))
        self._supervisor.start()
        try:
            self._driver = EpisodeDriver(robot, self._period_s)
            learner = "learner_node" if any(p.name == "learner_node" for p in self.stack.processes) else ""
            self._driver.require_active(ACTIVE_TIMEOUT_S, lambda: self._supervisor.alive, learner)
        except BaseException as error:
            self._supervisor.stop()
            if isinstance(error, RunFailed):
                self._say("\n".join(self._tail))
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._driver.__exit__(kind, error, trace)
        finally:
            self._supervisor.stop()
        if kind is not None and kind.__name__ == "RunFailed":
            self._say("\n".join(self._tail))
        if self._log is not None:
            self._log.close()

    def run_episode(self, episode: int, on_step: Callable[..., None] = lambda step: None) -> EpisodeResult:
        """One episode of the scenario, driven by the graph; RunFailed when it does not come to its end."""
        return self._driver.run_episode(
            episode, self._described.max_steps, on_step, alive=lambda: self._supervisor.alive
        )

    @property
    def latencies_s(self) -> list[float]:
        """Image stamp -> first command after the verdict on it, s, of every step so far."""
        return self._driver.latencies_s

    @property
    def command_stamps_s(self) -> list[float]:
        """Stamps of the command stream so far, s."""
        return self._driver.command_stamps_s

    def _write(self, line: str) -> None:
        self._tail.append(line)
        if self._log is not None:
            self._log.write(line + "\n")
            self._log.flush()
