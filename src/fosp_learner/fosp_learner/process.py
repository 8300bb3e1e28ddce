"""Process settings that training speed hangs on; they act only at the start of a process."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fosp_learner.finetuning.config import FinetuneConfig

MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "268435456",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
"""Keep freed memory and use huge pages: the large tensors of each step are then not mapped anew (5-15 % faster)."""


def restart_with_allocator_settings() -> None:
    """Start this command again with `MALLOC` set, unless it already is (or the user chose other values)."""
    if any(name in os.environ for name in MALLOC) or not sys.orig_argv[1:]:
        return
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | MALLOC)


def limit_resources(settings: FinetuneConfig) -> None:
    """Idle priority, and no more threads than the cores that this process may use.

    Not pinned to them: the system knows better which core has nothing else to do (measured: pinned to one that another
    trainer was busy on, it stood still).
    """
    import torch

    os.nice(max(0, settings.niceness - os.nice(0)))
    torch.set_num_threads(settings.cores)
