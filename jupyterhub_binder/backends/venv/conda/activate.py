"""The script that prepares a process for an environment with conda packages. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

_BASH = Path("/bin/bash")

_SCRIPT = """\
{exports}
for _script in "$CONDA_PREFIX"/etc/conda/activate.d/*.sh; do
  if [ -r "$_script" ]; then . "$_script" >&2; fi
done
unset _script
exec "$@"
"""


def find_shell() -> str:
    """Return a shell for the script: bash if there is one, as packages expect."""
    return str(_BASH) if _BASH.exists() else "/bin/sh"


def activation(prefix: Path, variables: Mapping[str, str]) -> str:
    """Return a shell script that activates an environment and becomes its arguments.

    It does what `conda activate` does: it sets the variables of the environment and runs what packages
    have in `etc/conda/activate.d`.
    """
    values = {
        "CONDA_PREFIX": str(prefix),
        "CONDA_DEFAULT_ENV": str(prefix),
        "CONDA_SHLVL": "1",
        **variables,
    }
    exports = [f"export {name}={shlex.quote(value)}" for name, value in values.items()]
    return _SCRIPT.format(exports="\n".join(exports))
