"""One HTML page with everything in it: it can be mailed, and needs no network."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2126; max-width: 70em; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; border-bottom: 1px solid #d5d9de; }
table { border-collapse: collapse; font-size: 0.9em; margin: 0.6em 0; }
td { padding: 0.15em 1.2em 0.15em 0; vertical-align: top; } td + td { font-variant-numeric: tabular-nums; }
img { max-width: 100%; } p { max-width: 50em; } .warning { background: #fdecea; padding: 0.5em 1em; }
"""


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    text: str
    """Plain text below the title."""
    table: Mapping[str, str] | None = None
    image: str = ""
    """Name of a PNG."""
    warning: str = ""


def html_page(title: str, sections: Sequence[Section], images: Mapping[str, bytes]) -> str:
    """The page, with the PNGs `images` inside."""
    body = "".join(_section(section, images) for section in sections)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>{escape(title)}</h1>\n{body}</body></html>\n"
    )


def _section(section: Section, images: Mapping[str, bytes]) -> str:
    parts = [f"<h2>{escape(section.title)}</h2>"]
    if section.warning:
        parts.append(f'<p class="warning">{escape(section.warning)}</p>')
    if section.text:
        parts.append(f"<p>{escape(section.text)}</p>")
    if section.image:
        encoded = base64.b64encode(images[section.image]).decode()
        parts.append(f'<img alt="{escape(section.title)}" src="data:image/png;base64,{encoded}">')
    if section.table:
        rows = "".join(f"<tr><td>{escape(k)}</td><td>{escape(v)}</td></tr>" for k, v in section.table.items())
        parts.append(f"<table>{rows}</table>")
    return "\n".join(parts) + "\n"
