"""What a process that works for another one does so that it never outlives it."""

from __future__ import annotations

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """End this process, started by multiprocessing, as soon as its parent has ended: a killed one cannot say so."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "not a process of multiprocessing"

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
