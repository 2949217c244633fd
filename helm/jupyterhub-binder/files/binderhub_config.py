"""Loads what the chart was given for BinderHub: its own settings, `config`, then `extraConfig`."""

import json
from pathlib import Path

from traitlets.config import Config

here = Path(__file__).parent
c = get_config()  # noqa: F821

for name in ("chart.json", "config.json"):
    c.merge(Config(json.loads((here / name).read_text(encoding="utf-8"))))

for name, snippet in sorted(json.loads((here / "extra.json").read_text(encoding="utf-8")).items()):
    exec(compile(snippet, f"binderhub.extraConfig.{name}", "exec"))  # noqa: S102
