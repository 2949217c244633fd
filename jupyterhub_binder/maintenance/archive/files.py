"""The archive's files, in mybinder.org's format. Pure.

`events-YYYY-MM-DD.jsonl` has the launches of a day, `index.jsonl` and `index.html` list these files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from html import escape
from typing import Any

from jupyterhub_binder.model.launch_events import LaunchEvent

SCHEMA = "binderhub.jupyter.org/launch"
VERSION = 6
INDEX_HTML = "index.html"
INDEX_JSONL = "index.jsonl"
PROVIDERS = {
    "gh": "GitHub",
    "gist": "Gist",
    "gl": "GitLab",
    "git": "Git",
    "zenodo": "Zenodo",
    "figshare": "Figshare",
    "hydroshare": "Hydroshare",
    "dataverse": "Dataverse",
    "ckan": "CKAN",
}
"""The schema's names, by our prefixes. It has no name for other providers."""

_NAME = re.compile(r"events-(\d{4}-\d{2}-\d{2})\.jsonl")


@dataclass(frozen=True, slots=True)
class ArchivedDay:
    """A day in the index."""

    day: date
    events: int

    @property
    def name(self) -> str:
        """The name of its file."""
        return name_of(self.day)


def name_of(day: date) -> str:
    """Return the name of a day's file."""
    return f"events-{day.isoformat()}.jsonl"


def day_of(name: str) -> date | None:
    """Return the day of a file; None if the file is no day's."""
    found = _NAME.fullmatch(name)
    try:
        return date.fromisoformat(found[1]) if found else None
    except ValueError:
        return None


def describe(event: LaunchEvent) -> dict[str, Any]:
    """Return an event's data in the schema's names. Its provider must be one of `PROVIDERS`."""
    return {
        "provider": PROVIDERS[event.provider],
        "spec": event.spec,
        "ref": event.resolved_ref,
        "status": "success",
        # A BinderHub signs links for its own page; this service has no such tokens.
        "build_token": False,
        "origin": event.origin.host,
        "request_origin": event.origin.request_origin,
    }


def encode_day(events: Iterable[LaunchEvent]) -> bytes:
    """Return a day's file. Sorted lines hide the order of launches within a minute."""
    lines = sorted(json.dumps(_public(event)) for event in events)
    return "".join(f"{line}\n" for line in lines).encode()


def _public(event: LaunchEvent) -> dict[str, Any]:
    minute = event.time.astimezone(UTC).replace(second=0, microsecond=0)
    return {
        "timestamp": minute.isoformat(),
        "schema": SCHEMA,
        "version": VERSION,
        **describe(event),
    }


def count_events(file: bytes) -> int:
    """Count the events of a day's file."""
    return sum(1 for line in file.splitlines() if line.strip())


def encode_index(days: Collection[ArchivedDay]) -> bytes:
    """Return `index.jsonl`, oldest day first. The count is a string, as in mybinder.org's."""
    entries = (
        {"name": each.name, "date": each.day.isoformat(), "count": str(each.events)}
        for each in sorted(days, key=lambda each: each.day)
    )
    return "\n".join(map(json.dumps, entries)).encode()


def read_index(file: bytes) -> dict[date, int]:
    """Return the counts of `index.jsonl`; lines that are not ours are left out."""
    counts: dict[date, int] = {}
    for line in file.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, Mapping) and (day := day_of(str(entry.get("name")))):
            count = str(entry.get("count"))
            if count.isascii() and count.isdecimal():
                counts[day] = int(count)
    return counts


def encode_page(days: Collection[ArchivedDay], *, title: str, now: datetime) -> bytes:
    """Return `index.html`, newest day first. Its only table has the columns that readers expect."""
    rows = "\n".join(
        f'<tr><td>{each.day}</td><td><a href="{each.name}">{each.name}</a></td>'
        f"<td>{each.events}</td></tr>"
        for each in sorted(days, key=lambda each: each.day, reverse=True)
    )
    return _PAGE.format(
        title=escape(title), rows=rows, now=now.astimezone(UTC).isoformat(timespec="seconds")
    ).encode()


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 48rem; padding: 1rem; }}
h1 {{ overflow-wrap: anywhere; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ border-bottom: 1px solid #8888; padding: 0.25rem 0.5rem 0.25rem 0; text-align: left; }}
td:last-child, th:last-child {{ text-align: right; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>Each file has the launches of public repositories on one day in UTC, one JSON object per line.
Times are cut to the minute. The list is also available as <a href="index.jsonl">index.jsonl</a>.</p>
<table>
<thead><tr><th>Date</th><th>Filename</th><th>Number of Events</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
<p>Written at {now}.</p>
</body>
</html>
"""
