"""Writes `openapi.json`, or checks it with --check. See `make openapi`."""

from __future__ import annotations

import json
import sys

from jupyterhub_binder.web.api.openapi.document import describe
from jupyterhub_binder.web.api.service import OPENAPI


def main() -> int:
    """Return the exit status."""
    text = json.dumps(describe(), indent=1, ensure_ascii=False) + "\n"
    if "--check" not in sys.argv[1:]:
        OPENAPI.write_text(text, encoding="utf-8")
        return 0
    if OPENAPI.is_file() and OPENAPI.read_text(encoding="utf-8") == text:
        return 0
    print(f"{OPENAPI.name} is out of date. Run: make openapi", file=sys.stderr)  # noqa: T201
    return 1


if __name__ == "__main__":
    sys.exit(main())
