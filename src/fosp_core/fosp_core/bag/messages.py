"""Serialised messages of a bag as Python objects."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from fosp_core.bag.mcap_stream import MEND, StoredMessage
from fosp_core.bag_types import typestore
from fosp_core.errors import BrokenMessage, UserError


def deserialise(stored: StoredMessage) -> Any:
    """Return the message, by the bag's definition of its type or else by Jazzy's.

    UserError for a type that neither of them defines, BrokenMessage for damaged bytes.
    """
    if not stored.definition and stored.type not in typestore().fielddefs:
        raise UserError(f"{stored.topic} holds {stored.type}, which neither the bag nor ROS 2 Jazzy defines")
    try:
        return _types(stored.type, stored.definition).deserialize_cdr(stored.data, stored.type)
    except UserError:
        raise
    except Exception as error:  # a parser on arbitrary bytes raises anything
        detail = " ".join(str(error).split())[:120] or type(error).__name__
        raise BrokenMessage(f"a message on {stored.topic} is damaged or cut off ({detail}){MEND}") from None


@lru_cache(maxsize=64)
def _types(name: str, definition: str) -> Typestore:
    """Return the type store of one type; it is kept, since parsing a definition takes long."""
    if not definition:
        return typestore()
    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_msg(definition, name))
    return store


def stamp_ns(message: Any) -> int:
    """Return the header stamp in ns."""
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
