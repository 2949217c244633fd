"""What several tests of the repo2docker backend build."""

from __future__ import annotations

from pathlib import Path

from tests.kit.jobs import job_of

SAYS_A_VERSION = """#!/bin/sh
printf '#!/bin/sh\\n%s\\n' '{says}' > /srv/venv/bin/jupyterhub-singleuser
chmod 755 /srv/venv/bin/jupyterhub-singleuser
"""


def build_pack_job(folder: Path, says: str, **files: str):
    """A repository without a Dockerfile, whose server is one that takes little time."""
    post_build = SAYS_A_VERSION.format(says=says)
    return job_of(folder / "checkout", {"postBuild": post_build, "name": str(folder), **files})
