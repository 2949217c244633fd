"""How the service writes its log: lines for people or JSON, with ids, and without secrets.

Both formatters work on the whole line, stack trace and all, so nothing gets past `redact`. What
a line belongs to is known by `logcontext`.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from jupyterhub_binder.logcontext import get_ids
from jupyterhub_binder.redact import find_secrets, redactor
from jupyterhub_binder.terminal import OneLineFormatter


def learn_secrets(*settings: Mapping[str, Any]) -> None:
    """Let the secrets of some settings, and of the environment, never be logged."""
    for some in (os.environ, *settings):
        redactor.add(find_secrets(some))


class PersonFormatter(OneLineFormatter):
    """A line for people: what happened, then the ids that it belongs to and that it did not name."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line with the ids at its end."""
        line = super().formatMessage(record)
        missing = [f"{name}={id_}" for name, id_ in get_ids().items() if id_ not in line]
        return f"{line} [{' '.join(missing)}]" if missing else line

    def format(self, record: logging.LogRecord) -> str:
        """Return what is written, without secrets."""
        return redactor.redact(super().format(record))


class JSONFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the ids, and an exception if any."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object."""
        fields: dict[str, str] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redactor.redact(record.getMessage()),
            **get_ids(),
        }
        if record.exc_info:
            fields["exception"] = redactor.redact(self.formatException(record.exc_info))
        return json.dumps(fields, ensure_ascii=False)


def log_everything_here() -> None:
    """Write what libraries log as ours is written; for a process that is the service's own.

    Without this, Python would write their warnings past our formatters.
    """
    handlers = logging.getLogger("jupyterhub_binder").handlers
    root = logging.getLogger()
    for handler in handlers:
        if not root.handlers:
            root.addHandler(handler)
    for name in list(logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        if logger.handlers:
            logger.propagate = False
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger("jupyterhub_binder").critical("Ended", exc_info=(kind, error, trace))
