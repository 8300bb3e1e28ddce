"""A JSON file that a command was asked for with --json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fosp_core.errors import UserError


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content`, and the folders above; raise UserError when the disk refuses."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise UserError(f"{path}: cannot write: {error.strerror or error}") from None
