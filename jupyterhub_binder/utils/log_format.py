"""Formats the service's log as text or JSON.

Secrets are removed from the finished line, stack trace included.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from jupyterhub_binder.utils.log_context import get_ids
from jupyterhub_binder.utils.redact import find_secrets, redactor
from jupyterhub_binder.utils.terminal import OneLineFormatter


def learn_secrets(*settings: Mapping[str, Any]) -> None:
    """Never log the secrets in these settings or the environment variables."""
    for some in (os.environ, *settings):
        redactor.add(find_secrets(some))


class PersonFormatter(OneLineFormatter):
    """Appends the ids that a line does not mention."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line with ids."""
        line = super().formatMessage(record)
        missing = [f"{name}={id_}" for name, id_ in get_ids().items() if id_ not in line]
        return f"{line} [{' '.join(missing)}]" if missing else line

    def format(self, record: logging.LogRecord) -> str:
        """Return the entry without secrets."""
        return redactor.redact(super().format(record))


class JSONFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message, ids, exception."""

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
    """Format libraries' logs too; only in the service's own process."""
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
