"""The pod in which a person restores a backup: made as the page on backups says, with its jq program."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import Any

from tests.conftest import requires
from tests.kit.docs import DOCS

PAGE = DOCS / "how-to" / "upgrade-and-backup.md"


def make_restore_pod(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the pod, made of a CronJob or a Deployment."""
    requires(shutil.which("jq"), "jq")
    found = re.search(
        r"restore\.jq <<'END'\n(.*?)^END$", PAGE.read_text(), re.DOTALL | re.MULTILINE
    )
    assert found
    done = subprocess.run(
        ["jq", found[1]], input=json.dumps(manifest), capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)
