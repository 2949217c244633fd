"""Wheels that tests make, in a folder that uv takes for an index."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

PASSED = ["UV_CONFIG_FILE"]


def use_only(folder: Path, monkeypatch) -> Path:
    """Let uv know the wheels of a folder, and no others."""
    folder.mkdir()
    config = folder / "uv.toml"
    config.write_text(f'[pip]\nno-index = true\nfind-links = ["{folder}"]\n')
    monkeypatch.setenv("UV_CONFIG_FILE", str(config))
    return folder


def make_wheel(
    folder: Path, name: str, files: Mapping[str, str], *, version: str = "1.0", program: str = ""
) -> Path:
    """Make a pure wheel; `program` is the ``module:function`` of a command with its name."""
    info = f"{name}-{version}.dist-info"
    whole = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if program:
        whole[f"{info}/entry_points.txt"] = f"[console_scripts]\n{name} = {program}\n"
    record = f"{info}/RECORD"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for place, text in whole.items():
            wheel.writestr(place, text)
        wheel.writestr(record, "".join(f"{place},,\n" for place in [*whole, record]))
    return path
