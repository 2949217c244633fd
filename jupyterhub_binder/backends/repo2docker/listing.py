"""Lists the packages of an image, in the container of its smoke test.

What `pip list` and `conda list` read is read directly: they would take seconds. An image's own code
runs meanwhile, so its answer is only believed to be a list of names.
"""

from __future__ import annotations

import re
import shlex

from jupyterhub_binder.model.inventory import Package

WORD = "binder-package"
MAX_LISTED = 2**18
"""The most characters that the list prints."""
_SECONDS = 20

_SCRIPT = f"""
import glob, os, sys
from importlib.metadata import distributions
left = {MAX_LISTED // 2}
def say(source, name, version):
    global left
    line = "{WORD} %s %s %s" % (source, str(name)[:200], str(version)[:100])
    left -= len(line) + 1
    if left > 0:
        print(line)
for path in sorted(glob.glob(os.path.join(sys.prefix, "conda-meta", "*.json"))):
    parts = os.path.basename(path)[:-5].rsplit("-", 2)
    if len(parts) == 3:
        say("conda", parts[0], parts[1])
for each in distributions():
    say("pip", each.metadata["Name"], each.version)
"""

LISTING = f"""
python="$(command -v python3 || command -v python)"
kernel="${{KERNEL_PYTHON_PREFIX:-}}/bin/python"
test -n "${{KERNEL_PYTHON_PREFIX:-}}" && test -x "$kernel" && python="$kernel"
test -n "$python" && command -v timeout >/dev/null && \\
  timeout {_SECONDS} "$python" -I -c {shlex.quote(_SCRIPT)} 2>/dev/null
true
"""
"""A shell's lines: one line a package, of the Python that runs the notebooks."""

_LINE = re.compile(rf"{WORD} (pip|conda) (\S{{1,200}}) (\S{{1,100}})")


def read_package(line: str) -> Package | None:
    """Return the package that a line of the list names; None for another line."""
    match = _LINE.fullmatch(line)
    return Package(match[2], match[3], match[1]) if match else None
