"""Settings of a process that training speed depends on: allocator, priority and threads."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from fosp_core.processes import TRAINING_ALLOCATOR

if TYPE_CHECKING:
    from fosp_learner.finetuning.config import FinetuneConfig


def restart_with_allocator_settings() -> None:
    """Start this command again with TRAINING_ALLOCATOR set, unless one of its variables is set already."""
    if any(name in os.environ for name in TRAINING_ALLOCATOR) or not sys.orig_argv[1:]:
        return
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | TRAINING_ALLOCATOR)


def limit_resources(settings: FinetuneConfig) -> None:
    """Set the process to the niceness and the number of threads of `settings`.

    The threads are not pinned to cores, since the system knows better which core is idle.
    """
    import torch

    os.nice(max(0, settings.niceness - os.nice(0)))
    torch.set_num_threads(settings.cores)
