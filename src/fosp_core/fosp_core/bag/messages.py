"""Serialised messages of a bag as Python objects."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from fosp_core.bag.mcap_stream import MEND, StoredMessage
from fosp_core.bag_types import typestore
from fosp_core.errors import BrokenMessage, UserError

_OTHER_CDR = {
    **dict.fromkeys((2, 3), "PL_CDR"),
    **dict.fromkeys((6, 7), "XCDR2"),
    **dict.fromkeys((8, 9), "D_CDR2"),
    **dict.fromkeys((10, 11), "PL_CDR2"),
}
"""Encapsulations of DDS-XTypes whose layout is another one."""


def deserialise(stored: StoredMessage) -> Any:
    """Return the message, by the bag's definition of its type or else by Jazzy's.

    UserError for a type that neither of them defines, BrokenMessage for damaged bytes.
    """
    if not stored.definition and stored.type not in typestore().fielddefs:
        raise UserError(f"{stored.topic} holds {stored.type}, which neither the bag nor ROS 2 Jazzy defines")
    kind = bytes(stored.data[:2])
    if len(kind) == 2 and kind[0] == 0 and kind[1] in _OTHER_CDR:
        raise UserError(
            f"{stored.topic} is serialised as {_OTHER_CDR[kind[1]]}, which is healthy and cannot be read here; record "
            "with an RMW that writes plain CDR, such as rmw_fastrtps or rmw_cyclonedds"
        )
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
