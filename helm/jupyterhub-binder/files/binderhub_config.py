"""Loads what the chart was given for BinderHub: its own settings, `config`, then `extraConfig`.

BinderHub takes a build token that is valid, or none; here none is refused, so that only who knows
the secret has anything built, also where no network policy is enforced.
"""

import json
import os
from difflib import get_close_matches
from pathlib import Path

from traitlets.config import Config, Configurable


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


def ask_no_hub():
    """Let /health not ask a hub that this BinderHub does not have, and log a failure each time."""
    from binderhub.health import HealthHandler

    check = HealthHandler.check_jupyterhub_api

    async def check_if_there_is_one(self, hub_url):
        return await check(self, hub_url) if hub_url else True

    HealthHandler.check_jupyterhub_api = check_if_there_is_one


def show_last_lines():
    """Send the log of a build pod that ended before it was seen running, ahead of its failure."""
    from binderhub.build import KubernetesBuildExecutor, ProgressEvent

    progress = KubernetesBuildExecutor.progress
    status = ProgressEvent.BuildStatus

    def progress_after_lines(self, kind, payload):
        if kind == ProgressEvent.Kind.BUILD_STATUS_CHANGE:
            unseen = self.__dict__.get("_lines_unseen", True)
            if payload == status.FAILED and unseen:
                try:
                    self.stream_logs()
                except Exception as error:  # noqa: BLE001 - the failure itself must be told
                    self.log.warning("No log of build pod %s: %s", self.name, error)
            if payload in (status.RUNNING, status.FAILED):
                self.__dict__["_lines_unseen"] = False
        return progress(self, kind, payload)

    KubernetesBuildExecutor.progress = progress_after_lines


if os.environ.get("BINDERHUB_BUILD_TOKEN_SECRET"):  # as it always is in the chart's pod
    require_build_tokens()
    ask_no_hub()
    show_last_lines()


def binderhub_options(cls=Configurable):
    """Return the options of BinderHub's classes, by class name."""
    found = {}
    if cls.__module__.startswith("binderhub."):
        found[cls.__name__] = cls.class_trait_names(config=True)
    for child in cls.__subclasses__():
        found |= binderhub_options(child)
    return found


def refuse_misspelt(config):
    """Refuse names that are nearly BinderHub's. Other classes may come from extraConfig."""
    known = binderhub_options()
    for section, values in config.items():
        if section in known:
            wrong = [(name, known[section]) for name in values if name not in known[section]]
        else:
            wrong = [(section, known)]
        for name, names in wrong:
            for nearest in get_close_matches(name, names, n=1, cutoff=0.8):
                raise ValueError(
                    f"binderhub.config.{section}: there is no {name}. Did you mean {nearest}?"
                )


here = Path(__file__).parent
c = get_config()  # noqa: F821

for name in ("chart.json", "config.json"):
    config = json.loads((here / name).read_text(encoding="utf-8"))
    refuse_misspelt(config)
    c.merge(Config(config))

for name, snippet in sorted(json.loads((here / "extra.json").read_text(encoding="utf-8")).items()):
    exec(compile(snippet, f"binderhub.extraConfig.{name}", "exec"))  # noqa: S102
