"""Reads the .npz files of a bundle, which may come from anywhere: nothing is executed, and the memory is bounded."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError


def read_packed(path: Path, most_bytes: int) -> dict[str, NDArray[Any]]:
    """Return the arrays by name; UserError when the file is unreadable or unpacks to more than `most_bytes`."""
    try:
        with zipfile.ZipFile(path) as packed:
            if sum(entry.file_size for entry in packed.infolist()) > most_bytes:
                raise UserError(f"{path}: unpacks to more than {most_bytes >> 20} MiB; export the bundle again")
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (ValueError, OSError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error, KeyError):
        raise UserError(f"{path}: not readable; copy the bundle again") from None


def packed_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the content of a .npz file with these arrays."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
