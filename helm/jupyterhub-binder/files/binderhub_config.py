"""Loads what the chart was given for BinderHub: its own settings, `config`, then `extraConfig`.

BinderHub takes a build token that is valid, or none; here none is refused, so that only who knows
the secret has anything built, also where no network policy is enforced.
"""

import json
import os
from pathlib import Path

from traitlets.config import Config


def require_build_tokens():
    """Refuse builds without a token. A BinderHub that has no such check does not start."""
    from binderhub.base import BaseHandler
    from tornado.web import HTTPError

    check = BaseHandler.check_build_token

    def check_or_refuse(self, build_token, provider_spec):
        if not build_token:
            raise HTTPError(403, "A build token is needed")
        return check(self, build_token, provider_spec)

    BaseHandler.check_build_token = check_or_refuse


if os.environ.get("BINDERHUB_BUILD_TOKEN_SECRET"):  # as it always is in the chart's pod
    require_build_tokens()

here = Path(__file__).parent
c = get_config()  # noqa: F821

for name in ("chart.json", "config.json"):
    c.merge(Config(json.loads((here / name).read_text(encoding="utf-8"))))

for name, snippet in sorted(json.loads((here / "extra.json").read_text(encoding="utf-8")).items()):
    exec(compile(snippet, f"binderhub.extraConfig.{name}", "exec"))  # noqa: S102
