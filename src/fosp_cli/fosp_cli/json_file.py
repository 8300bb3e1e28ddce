"""JSON files that commands write, and read again: all of one or nothing, and what is no such file is one line."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fosp_core.errors import UserError


def write_text(path: Path, text: str) -> None:
    """Write all of `text` or nothing, and the folders above; raise UserError when the disk refuses."""
    staging = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():  # a device or a pipe cannot be replaced
            path.write_text(text)
            return
        staging.write_text(text)
        staging.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            staging.unlink(missing_ok=True)
        raise UserError(f"{path}: cannot write: {error.strerror or error}") from None


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content`, as `write_text` does."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Return the content of a file that a command wrote; UserError, with what to do, when it is cut off or another."""
    with content_of(path) as content:
        return content


@contextlib.contextmanager
def content_of(path: Path) -> Iterator[dict[str, Any]]:
    """Give the content of a file that a command wrote, to be looked into.

    UserError, with what to do, when it is cut off, or lacks what is looked for.
    """
    try:
        content = json.loads(path.read_text())
        if not isinstance(content, dict):
            raise TypeError(f"a {type(content).__name__}")
        yield content
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise UserError(f"{path}: cut off, or of another command ({said}); remove it to have it made anew") from None
