"""Reader of the sqlite3 storage of rosbag2, in the order in which the messages were written."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from fosp_core.bag.mcap_stream import MEND, StoredMessage
from fosp_core.errors import UserError


def sqlite_messages(
    path: Path, wanted: Callable[[str], bool], first_row: int = 0, at_row: Callable[[int], None] = lambda row: None
) -> Iterator[StoredMessage]:
    """Yield the messages of the topics that `wanted` accepts; UserError for a file that is damaged or was not closed.

    It begins with the row `first_row`, and tells `at_row` the row of each message before it yields it.

    The order is that of the rows, not of the time stamps: where the recorder's clock was set back, only that order
    tells what came first.
    """
    for suffix in ("-wal", "-journal"):
        if path.with_name(path.name + suffix).is_file() and path.with_name(path.name + suffix).stat().st_size:
            raise UserError(
                f"was not closed, {path.name}{suffix} holds its end; join them with: sqlite3 {path.name} .tables"
            )
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?immutable=1", uri=True)) as database:
            topics = list(database.execute("SELECT id, name, type, serialization_format FROM topics"))
            chosen = {number: (name, kind, form) for number, name, kind, form in topics if wanted(name)}
            for name, _, form in chosen.values():
                if form != "cdr":
                    raise UserError(f"holds {name} as '{form}'; only messages of ROS 2 (cdr) can be read")
            definitions = _definitions(database)
            marks = ",".join("?" * len(chosen))
            rows = database.execute(
                "SELECT id, topic_id, timestamp, data FROM messages "
                f"WHERE topic_id IN ({marks}) AND id >= ? ORDER BY id",
                [*chosen, first_row],
            )
            for row, number, logged_ns, data in rows:
                name, kind, _ = chosen[number]
                if not isinstance(logged_ns, int) or not isinstance(data, bytes):
                    raise UserError(f"holds a message on {name} without time or content{MEND}")
                at_row(row)
                yield StoredMessage(name, kind, definitions.get(kind, ""), logged_ns, data)
    except (sqlite3.Error, UnicodeDecodeError, ValueError, OverflowError) as error:
        detail = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(f"is damaged or cut off ({detail}){MEND}") from None


def _definitions(database: sqlite3.Connection) -> dict[str, str]:
    """Return the definitions of the types in the .msg format; bags before Iron hold none."""
    with suppress(sqlite3.OperationalError):
        return dict(
            database.execute(
                "SELECT topic_type, encoded_message_definition FROM message_definitions WHERE encoding = 'ros2msg'"
            )
        )
    return {}
