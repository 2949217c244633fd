"""How a figure is printed: one JSON line, with its goal and, where there is one, a peer's figure."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path


def show(
    name: str,
    value: float,
    unit: str,
    *,
    goal: str = "",
    peer: str = "",
    digits: int = 1,
    **more: object,
) -> None:
    """Print one figure. ``goal`` is ``"< 50"`` or ``">= 750"`` in the figure's unit."""
    line = {"figure": name, "value": round(value, digits), "unit": unit, "goal": goal}
    if peer:
        line["peer"] = peer
    print(json.dumps({**line, **more}, ensure_ascii=False), flush=True)


def show_machine() -> None:
    """Print where the figures were taken: processor, cores, load, system, Python."""
    cpu = next(
        (
            text.partition(":")[2].strip()
            for text in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if text.startswith("model name")
        ),
        platform.machine(),
    )
    print(
        json.dumps(
            {
                "machine": cpu,
                "cores": os.cpu_count(),
                "load": [round(each, 1) for each in os.getloadavg()],
                "system": platform.platform(terse=True),
                "python": platform.python_version(),
            }
        ),
        flush=True,
    )
