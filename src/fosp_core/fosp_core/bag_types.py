"""The message types of bags, for reading and writing them without ROS: Jazzy's, and those of fosp_msgs."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from fosp_core.errors import UserError

PACKAGE = "fosp_msgs"


@cache
def typestore() -> Typestore:
    """Return the one instance of Jazzy's message types plus `fosp_msgs`, registered from their .msg text.

    UserError when the .msg files are neither installed nor in the source tree.
    """
    store = get_typestore(Stores.ROS2_JAZZY)
    for path in sorted(message_folder().glob("*.msg")):
        store.register(get_types_from_msg(path.read_text(), f"{PACKAGE}/msg/{path.stem}"))
    return store


def message_folder() -> Path:
    """Return the folder of the .msg files: the installed one when the package is built, else the source tree's."""
    candidates = []
    try:
        from ament_index_python.packages import get_package_share_directory

        candidates.append(Path(get_package_share_directory(PACKAGE), "msg"))
    except (ImportError, LookupError):
        pass
    candidates.append(Path(__file__).resolve().parents[2] / PACKAGE / "msg")
    for folder in candidates:
        if any(folder.glob("*.msg")):
            return folder
    raise UserError(f"{PACKAGE} is not built and not in the source tree: its .msg files are needed to read bags")
