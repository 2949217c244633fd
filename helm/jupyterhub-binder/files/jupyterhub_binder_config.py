"""Loads what the chart was given: its own settings, then `config`, then `extraConfig`."""

import json
import os
from pathlib import Path

from traitlets.config import Config

here = Path(__file__).parent
c = get_config()  # noqa: F821

for name in ("chart.json", "config.json"):
    c.merge(Config(json.loads((here / name).read_text(encoding="utf-8"))))

if url := os.environ.get("JUPYTERHUB_BINDER_DATABASE_URL"):
    c.JupyterHubBinder.database_url = url

for name, snippet in sorted(json.loads((here / "extra.json").read_text(encoding="utf-8")).items()):
    exec(compile(snippet, f"extraConfig.{name}", "exec"))  # noqa: S102
