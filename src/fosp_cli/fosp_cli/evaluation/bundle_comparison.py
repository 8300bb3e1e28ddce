"""Two bundles side by side: what differs between their manifests, and the reports of the runs that made them.

The page is one HTML file that needs no network and nothing beside it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from fosp_core.errors import UserError
from fosp_core.specs import Manifest

PAGE = "index.html"
_NAMELESS = "(empty)"
_HASH = 12
"""Characters of a sha256 that are shown."""
_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; padding: 0 1em; max-width: 110em; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; border-bottom: 1px solid #8886; }
table { border-collapse: collapse; font-size: 0.9em; margin: 0.6em 0; width: 100%; table-layout: fixed; }
td, th { padding: 0.2em 1em 0.2em 0; vertical-align: top; text-align: left; overflow-wrap: anywhere; }
td { font-variant-numeric: tabular-nums; } tr:nth-child(even) td { background: #8881; }
.reports { display: grid; grid-template-columns: repeat(auto-fit, minmax(24em, 1fr)); gap: 1em; }
iframe { width: 100%; height: 80vh; border: 1px solid #8886; background: white; } .same { opacity: 0.75; }
"""


@dataclass(frozen=True)
class Difference:
    """A value that the bundles do not share, in words; empty where a bundle has no such value."""

    name: str
    first: str
    second: str
    change: str = ""
    """Second minus first, for numbers."""


@dataclass(frozen=True)
class DifferenceGroup:
    """Values of one kind."""

    title: str
    differences: tuple[Difference, ...]
    equal: int
    """Number of values that are the same in both."""


@dataclass(frozen=True)
class ComparedBundle:
    """A bundle, and the report of the run that made it; "" where there is none."""

    folder: Path
    manifest: Manifest
    report: str

    @property
    def name(self) -> str:
        return f"{self.folder} ({self.manifest.id[:12]})"


def compared(folder: Path, manifest: Manifest, runs: Path) -> ComparedBundle:
    """Return a bundle with its report, which is looked for in the folders of `runs`/pretrain that name the bundle."""
    return ComparedBundle(folder, manifest, _report_of(folder, runs))


def _report_of(folder: Path, runs: Path) -> str:
    """Return the page of the report; "" where there is none, or it cannot be read."""
    out = folder.absolute()
    for run in (runs / "pretrain" / out.name, runs / "pretrain" / f"{out.parent.name}-{out.name}"):
        try:
            made = json.loads((run / "run.json").read_text())["bundle"]
            if Path(made).absolute() == out:
                return (run / "report" / PAGE).read_text()
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return ""


def differences_of(first: Manifest, second: Manifest) -> list[DifferenceGroup]:
    """Return what differs, by kind: specification, training data and settings, figures, calibration, files."""
    mine, other = (_groups(manifest) for manifest in (first, second))
    groups = []
    for title, values in mine.items():
        theirs = other[title]
        names = list(dict.fromkeys([*values, *theirs]))
        rows = [_difference(name, values.get(name), theirs.get(name)) for name in names]
        found = tuple(row for row in rows if row is not None)
        groups.append(DifferenceGroup(title, found, len(names) - len(found)))
    return groups


def _groups(manifest: Manifest) -> dict[str, dict[str, Any]]:
    content = manifest.model_dump(mode="json")
    training = dict(content["training"])
    settings = training.pop("config", {})
    specification = ("task", "robot", "size", "observation", "action", "latent", "decision_period_s", "kappa")
    return {
        "Specification": _flat({key: content[key] for key in specification}),
        "Training data": _flat({"parent": content["parent_id"], **training}),
        "Training settings": _flat(settings),
        "Figures on held-out episodes": _flat(content["metrics"]),
        "Calibration": _flat(content["calibration"]),
        "Files": _flat(content["files"]),
    }


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Return every value of nested settings by its path with dots."""
    parts: Mapping[Any, Any]
    if isinstance(value, Mapping):
        parts = value
    elif isinstance(value, list) and any(isinstance(part, Mapping | list) for part in value):
        parts = dict(enumerate(value))
    else:
        return {name: value}
    return {
        path: leaf for key, part in parts.items() for path, leaf in _flat(part, f"{name}.{key}".lstrip(".")).items()
    }


def _difference(name: str, first: Any, second: Any) -> Difference | None:
    if first == second:
        return None
    numbers = [value for value in (first, second) if isinstance(value, int | float) and not isinstance(value, bool)]
    change = f"{numbers[1] - numbers[0]:+.4g}" if len(numbers) == 2 else ""
    return Difference(name, _text(first), _text(second), change)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    text = str(value)
    return text[:_HASH] if re.fullmatch(r"[0-9a-f]{64}", text) else text or _NAMELESS


def comparison_page(first: ComparedBundle, second: ComparedBundle, groups: Sequence[DifferenceGroup]) -> str:
    """Return the page: a table of differences for each kind of value, and both reports beside each other."""
    title = f"{first.name} and {second.name}"
    tables = "".join(_table(group, first, second) for group in groups)
    reports = "".join(_frame(bundle) for bundle in (first, second))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width"><title>{escape(title)}</title><style>{_STYLE}</style></head>\n'
        f"<body><h1>{escape(title)}</h1>\n{tables}<h2>Reports</h2>\n"
        f'<div class="reports">{reports}</div></body></html>\n'
    )


def _table(group: DifferenceGroup, first: ComparedBundle, second: ComparedBundle) -> str:
    head = f"<h2>{escape(group.title)}</h2>\n"
    same = f'<p class="same">{group.equal} values are the same in both.</p>\n'
    if not group.differences:
        return head + same
    names = ("", str(first.folder), str(second.folder), "second - first")
    columns = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    rows = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in (row.name, row.first, row.second, row.change))}</tr>\n"
        for row in group.differences
    )
    return f"{head}<table><thead><tr>{columns}</tr></thead><tbody>\n{rows}</tbody></table>\n{same}"


def _frame(bundle: ComparedBundle) -> str:
    head = f"<h3>{escape(bundle.name)}</h3>"
    if not bundle.report:
        why = "There is no report of its run here: fosp report runs/pretrain/NAME makes one where it was trained."
        return f"<section>{head}<p>{why}</p></section>\n"
    # A frame of its own, without scripts: the report keeps its style, and what it holds can do nothing here.
    page = escape(bundle.report, quote=True)
    return (
        f'<section>{head}<iframe sandbox title="report of {escape(bundle.name)}" srcdoc="{page}"></iframe></section>\n'
    )


def write_page(path: Path, page: str) -> None:
    """Write the page as a whole or not at all; UserError when the disk refuses."""
    beside = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(page)
        os.replace(beside, path)
    except OSError as error:
        raise UserError(f"{path}: cannot write: {error.strerror or error}") from None
