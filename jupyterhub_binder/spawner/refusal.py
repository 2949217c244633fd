"""The exception for a refused start."""

from __future__ import annotations

from typing import Any

import jupyterhub.spawner
from tornado import web

_Refused: Any = getattr(jupyterhub.spawner, "SpawnException", web.HTTPError)
"""JupyterHub 6 has SpawnException; 5 takes any HTTPError below 500."""


class StartRefused(_Refused):
    """A refused start, with a message. Not a failure of the hub."""

    def __init__(self, message: str, *, reason: str, html_message: str = "") -> None:
        if _Refused is web.HTTPError:
            super().__init__(400, message)
        else:
            super().__init__(message, reason=reason, message_html=html_message)
        self.jupyterhub_message = message
        if html_message:
            self.jupyterhub_html_message = html_message
