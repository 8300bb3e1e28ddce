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
    return read_packed_bytes(packed_content(path), path, most_bytes)


def packed_content(path: Path) -> bytes:
    """Return what a .npz file holds, as it is packed; UserError when the file is unreadable."""
    try:
        return path.read_bytes()
    except (OSError, MemoryError):
        raise UserError(f"{path}: not readable; copy the bundle again") from None


def read_packed_bytes(content: bytes, path: Path, most_bytes: int) -> dict[str, NDArray[Any]]:
    """Return the arrays of the content of the .npz file `path`; errors as read_packed."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            if sum(entry.file_size for entry in packed.infolist()) > most_bytes:
                raise UserError(f"{path}: unpacks to more than {most_bytes >> 20} MiB; export the bundle again")
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (ValueError, OSError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error, KeyError):
        raise UserError(f"{path}: not readable; copy the bundle again") from None


def packed_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the content of a .npz file with these arrays."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
