"""Writes docs/safety.md: the failure policy and the parameters, from the places where they are defined.

python -m fosp_safety_monitor.page.safety_page > docs/safety.md
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from fosp_safety_monitor.page.failures import FAILURES
from fosp_safety_monitor.page.process_failures import OTHER_FAILURES
from fosp_safety_monitor.parameters import DESCRIPTIONS, SETTINGS, SHADOW_PHRASE, Description

TEMPLATE = Path(__file__).with_suffix(".md")


def safety_page() -> str:
    """The whole page, Markdown."""
    failures = [
        f"| {_filled(failure.what)} | {failure.decision.name}, "
        f"{', '.join(f'`{reason.name}`' for reason in failure.reasons)} "
        f"| {_filled(failure.within)} | {_filled(failure.then)} |\n"
        for failure in FAILURES
    ]
    failures += [f"| {one.what} | {one.answer} | {one.within} | {one.then} |\n" for one in OTHER_FAILURES]
    parameters = [f"| `{d.name}` | {_value(d)} | {d.range} | {d.stricter} | {d.meaning} |\n" for d in DESCRIPTIONS]
    settings = [f"| `{s.name}` | `{s.default!r}` | read-only | | {s.meaning} |\n" for s in SETTINGS]
    page = TEMPLATE.read_text().replace("{shadow_phrase}", SHADOW_PHRASE).replace("{failures}", "".join(failures))
    return page.replace("{parameters}\n", "".join([*parameters, *settings]))


def _value(description: Description) -> str:
    unit = f" {description.unit}" if description.unit else ""
    return f"{description.default:g}{unit}"


def _filled(text: str) -> str:
    """`{name}` becomes the parameter's default, with its name."""
    by_name = {description.name: description for description in DESCRIPTIONS}
    return re.sub(r"\{(\w+)\}", lambda match: f"{_value(by_name[match[1]])} (`{match[1]}`)", text)


if __name__ == "__main__":
    sys.stdout.write(safety_page())
