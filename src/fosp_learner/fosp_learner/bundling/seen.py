"""The episodes that the networks of a bundle were trained on, by which later trainings know what still can judge them.

What calibrates a threshold must be new to the networks. A later training gets other bags than the first one, some of
them again perhaps, so that no seed tells which episodes were held out then. The bundle tells: training/seen.npy holds
one hash (content_of in data/bags.py) for each episode that it, or a bundle that it comes from, was trained on.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from fosp_core.errors import UserError

SEEN = "training/seen.npy"
_DIGITS = 16


def seen_bytes(contents: Iterable[str]) -> bytes:
    """Return the content of training/seen.npy: the hashes (n,) uint64, ascending."""
    buffer = io.BytesIO()
    known = np.array(sorted({int(content, _DIGITS) for content in contents if content}), np.uint64)
    np.save(buffer, known, allow_pickle=False)
    return buffer.getvalue()


def read_seen(bundle: Path) -> frozenset[str] | None:
    """Return the hashes of a bundle's episodes; None for a bundle that does not tell. UserError for a damaged file."""
    path = bundle / SEEN
    if not path.is_file():
        return None
    try:
        known = np.load(path, allow_pickle=False)
        if known.dtype != np.uint64 or known.ndim != 1:
            raise ValueError("expected numbers of 64 bits")
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: damaged ({' '.join(str(error).split())[:120]})") from None
    return frozenset(f"{content:0{_DIGITS}x}" for content in known.tolist())
