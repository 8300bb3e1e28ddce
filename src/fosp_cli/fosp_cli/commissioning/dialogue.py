"""The operator: what they are told, and what they answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class AbortedError(Exception):
    """The operator broke the commissioning off, or nobody answers."""


class Operator(Protocol):
    """A person beside the robot, or what stands for one in a test."""

    def tell(self, text: str) -> None:
        """Show one line."""

    def confirm(self, text: str) -> None:
        """Wait until the operator has read `text` and is ready; raise AbortedError when they are not."""

    def ask(self, text: str) -> bool:
        """Return the answer to a question; raise AbortedError when the operator gives none."""


class Terminal:
    """The person at this terminal. Every question can be answered by 'abort'."""

    def __init__(self, read: Callable[[str], str] = input) -> None:
        self._read = read

    def tell(self, text: str) -> None:
        print(text, flush=True)

    def confirm(self, text: str) -> None:
        self._answer(f"{text}\n  [Enter: go on, abort] ", {"": True, "y": True, "yes": True, "n": False, "no": False})

    def ask(self, text: str) -> bool:
        return self._answer(
            f"{text}\n  [y, n, abort] ", {"y": True, "yes": True, "n": False, "no": False}, refuses=False
        )

    def _answer(self, text: str, answers: dict[str, bool], refuses: bool = True) -> bool:
        """Return the answer; where a 'no' `refuses`, it is an abort."""
        while True:
            try:
                said = self._read(text).strip().lower()
            except EOFError:
                raise AbortedError("nobody answers: the input has ended") from None
            if said in ("abort", "a"):
                raise AbortedError("aborted by the operator")
            if said in answers:
                if refuses and not answers[said]:
                    raise AbortedError("the operator is not ready")
                return answers[said]


class Agreeing:
    """Stands for an operator who agrees to everything: for simulated robots, which harm nobody."""

    def tell(self, text: str) -> None:
        print(text, flush=True)

    def confirm(self, text: str) -> None:
        self.tell(text)

    def ask(self, text: str) -> bool:
        self.tell(f"{text} yes")
        return True
