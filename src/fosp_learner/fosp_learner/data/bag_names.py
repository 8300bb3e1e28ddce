"""Names of the topics of a bag: which of them a robot file means, and whether they are of one robot."""

from __future__ import annotations

from collections.abc import Mapping

from fosp_core.bag.storage import StoredTopic
from fosp_core.errors import UserError
from fosp_core.topics import is_in_bag


def find_topic(topics: Mapping[str, StoredTopic], topic: str, camera: bool = False) -> str:
    """Return the full name of a relative topic in the bag; a camera's may be compressed, if only that was recorded.

    UserError when there is none, when nothing was recorded on it, or when several fit.
    """
    topic = topic.lstrip("/")
    forms = (topic, f"{topic}/compressed") if camera else (topic,)
    named = [name for form in forms for name in topics if is_in_bag(name, form)]
    if not named:
        there = ", ".join(sorted(topics)) or "none"
        raise UserError(f"topic {topic} is missing (there are: {there}); record it too")
    recorded = {name: topics[name] for name in named if topics[name].messages}
    if not recorded:
        raise UserError(f"no message on {topic}; record it again with that topic")
    for form in forms:
        fitting = [name for name in recorded if is_in_bag(name, form)]
        exact = [name for name in fitting if name.lstrip("/") == form]
        if len(exact or fitting) > 1:
            raise UserError(f"several topics could be {topic}: {', '.join(sorted(fitting))}; record one robot per bag")
        if fitting:
            return (exact or fitting)[0]
    raise AssertionError("a recorded topic has one of the forms")


def namespace_notes(names: Mapping[str, str]) -> list[str]:
    """Return a line when streams come from different namespaces; `names` maps full names to those of the robot file.

    UserError for two namespaces, which are two robots; a part of one robot may stand outside of its namespace.
    """
    spaces: dict[str, str] = {}
    for full, relative in names.items():
        form = relative.lstrip("/")
        bare = full if is_in_bag(full, form) else full.removesuffix("/compressed")
        spaces.setdefault(bare.removesuffix(form).strip("/"), full)
    if len(spaces) == 1:
        return []
    told = ", ".join(sorted(spaces.values()))
    if len(set(spaces) - {""}) > 1:
        raise UserError(f"streams of several namespaces ({told}) are of several robots; record one robot per bag")
    return [f"streams stand inside and outside of a namespace ({told}): of one robot?"]
