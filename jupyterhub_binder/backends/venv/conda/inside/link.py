"""Unpacks and links downloaded conda packages into an environment, in the sandbox.

A package decides which files and links it makes, so this runs where it can only write to the
environment. It runs as a file and may import only the standard library and rattler. Usage:
``python link.py SITE-PACKAGES REQUEST``; the request is a JSON file.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def main(request: dict[str, Any]) -> int:
    """Make the environment; return 0 if it is complete."""
    prefix = Path(request["prefix"])
    packages = asyncio.run(_install(request["packages"], prefix, Path(request["unpacked"])))
    sources = {(each["name"], each["version"]): each["url"] for each in request["packages"]}
    _write_sources(prefix, sources)
    scripts = [(each, script) for each in packages if (script := _script_of(each, prefix))]
    if not scripts:
        return 0
    names = ", ".join(each.name.normalized for each, _ in scripts)
    if not request["run_scripts"]:
        _say(f"Not run, because this hub does not allow it: the post-link scripts of {names}")
        return 0
    return int(not all(_run(each, script, prefix) for each, script in scripts))


async def _install(packages: list[dict[str, str]], prefix: Path, unpacked: Path) -> list[Any]:
    from rattler import PackageRecord, RepoDataRecord, install
    from rattler.networking import Client

    reporter: Any = _Reporter(len(packages))
    records: list[Any] = [
        await RepoDataRecord.from_package_archive(each["archive"]) for each in packages
    ]
    await install(
        records,
        prefix,
        cache_dir=unpacked,
        installed_packages=[],
        show_progress=False,
        client=Client([]),
        reporter=reporter,
        execute_link_scripts=False,
    )
    return list(PackageRecord.sort_topologically(records))


class _Reporter:
    """Says which package is done; rattler calls it."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("on_"):
            raise AttributeError(name)
        return lambda *_: 0

    def on_link_start(self, operation: int, package_name: str) -> int:
        """Count a package."""
        self._done += 1
        _say(f"Installed {self._done} of {self._total} packages: {package_name}")
        return operation


def _write_sources(prefix: Path, sources: dict[tuple[str, str], str]) -> None:
    """Replace the paths of this machine in conda's notes by where packages come from."""
    for note in sorted((prefix / "conda-meta").glob("*.json")):
        content = json.loads(note.read_text())
        url = sources.get((content.get("name"), content.get("version")))
        if url is None:
            continue
        content |= {"url": url, "channel": url.rpartition("/")[0].rpartition("/")[0]}
        content.pop("extracted_package_dir", None)
        content.pop("link", None)
        note.write_text(json.dumps(content, indent=2))


def _script_of(package: Any, prefix: Path) -> Path | None:
    script = prefix / "bin" / f".{package.name.normalized}-post-link.sh"
    return script if script.is_file() else None


def _run(package: Any, script: Path, prefix: Path) -> bool:
    """Run a script; say whether it succeeded, and in the log if not."""
    name = package.name.normalized
    _say(f"Running the post-link script of {name}")
    env = {
        **os.environ,
        "PREFIX": str(prefix),
        "CONDA_PREFIX": str(prefix),
        "PATH": f"{prefix}/bin:{os.environ.get('PATH', os.defpath)}",
        "PKG_NAME": name,
        "PKG_VERSION": str(package.version),
        "PKG_BUILDNUM": str(package.build_number),
    }
    shell = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"  # noqa: PTH110
    done = subprocess.run([shell, script], env=env, cwd=prefix, check=False)
    if done.returncode:
        _say(f"The post-link script of {name} failed ({done.returncode})")
    return not done.returncode


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    # rattler's threads may abort an interpreter that ends in the usual way, after all is done.
    os._exit(main(json.loads(Path(sys.argv[2]).read_text())))
