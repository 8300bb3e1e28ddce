"""Runs a node of the stack whose networks go wrong when it is told so: by SIGUSR1, as bad memory does, until SIGUSR2.

SIGALRM makes every run outside of the main thread hang, as a broken provider does. Each node has a program of its own
(corruptible_monitor.py and others), because a stack starts modules by name.
"""

from __future__ import annotations

import importlib
import signal
import threading
from typing import Any

from fosp_core.bundle.onnx_session import OnnxModel

SHIFT = 0.05
"""Number that is added to every output: too small for a check of ranges to see."""


def run_corruptible(module: str) -> None:
    """Run the main function of `module`."""
    run = OnnxModel.run
    state = {"shift": 0.0}
    hangs, for_ever = threading.Event(), threading.Event()

    def corrupted(model: OnnxModel, **inputs: Any) -> dict[str, Any]:
        if hangs.is_set() and threading.current_thread() is not threading.main_thread():
            for_ever.wait()
        found, shift = run(model, **inputs), state["shift"]
        return {name: value + value.dtype.type(shift) for name, value in found.items()} if shift else found

    OnnxModel.run = corrupted  # type: ignore[method-assign]
    signal.signal(signal.SIGUSR1, lambda *_: state.update(shift=SHIFT))
    signal.signal(signal.SIGUSR2, lambda *_: state.update(shift=0.0))
    signal.signal(signal.SIGALRM, lambda *_: hangs.set())
    importlib.import_module(module).main()
