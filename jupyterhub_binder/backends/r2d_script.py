"""What a smoke test runs in an image: a shell's script that says what `r2d_smoke` judges.

A trial beside a build runs it in repo2docker's process, which has no use for the rest.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

BEGINNING = "Trying whether a server starts from the image"
WORD = "binder-smoke"
_PATH = Path(__file__).parent / "smoke_path"
_WRITE = " && ".join(
    f'printf %s {shlex.quote(file.read_text(encoding="utf-8"))} > "$path/{file.name}"'
    for file in sorted(_PATH.glob("*.py"))
)
LAST_WORD = "version"
# One pipe for all that is said: of two, an engine may put a line of one into one of the other.
SCRIPT = f"""
exec 2>&1
echo "{WORD} uid $(id -u)"
echo "{WORD} home $HOME"
path="$HOME/.{WORD}"
mkdir "$path" && {_WRITE} && echo "{WORD} writable yes"
export PYTHONPATH="$path${{PYTHONPATH:+:$PYTHONPATH}}"
version="$(jupyterhub-singleuser --version)"
rm -rf "$path" 2>/dev/null
echo "{WORD} {LAST_WORD} $version"
"""
"""Says who it is, where home is, whether that can be written to, and the server's version."""
SPOKEN = re.compile(rf"^{WORD} (\w+) ?(.*)$")
"""A line of the script's own: a word, and what it says of it."""
