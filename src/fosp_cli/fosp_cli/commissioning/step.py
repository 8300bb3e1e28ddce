"""The input of every step of commissioning, and its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from fosp_cli.commissioning.commander import Commander
from fosp_cli.commissioning.dialogue import Operator
from fosp_core.robot.config import RobotConfig


@dataclass
class Outcome:
    """Result of a step: it has passed when nothing failed."""

    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    figures: dict[str, float | str] = field(default_factory=dict)

    def fail(self, text: str) -> Self:
        """Note a failure, and return the outcome."""
        self.failures.append(text)
        return self


@dataclass
class StepContext:
    """The robot, the operator, and where results go."""

    robot: RobotConfig
    """The robot as its file describes it; the step `response` replaces it."""
    robot_file: Path
    commander: Commander
    operator: Operator
    guard_pid: Callable[[], int]
    """Process id of the operator guard."""
    out: Path
    """Folder for pictures."""
    date: str
    """Begin of the commissioning, ISO 8601."""
    namespace: str = ""
    simulated: bool = False
    bundle: Path | None = None
    """Bundle whose reference of its cameras judges the pictures; None: the operator alone does."""
    patience_s: float = 60.0
    """Time that the operator has to press or to release an emergency stop."""

    @property
    def measured(self) -> str:
        """The word for a value that is written into the robot file."""
        return "measured on a simulated robot" if self.simulated else "measured"

    def tell(self, text: str) -> None:
        self.operator.tell(f"    {text}")

    def confirm(self, text: str) -> None:
        """Explain what comes next, and wait for the operator."""
        self.operator.confirm(f"    {text}")

    def ask(self, text: str) -> bool:
        return self.operator.ask(f"    {text}")
