"""How a command fails, and its exit statuses."""

from __future__ import annotations

FAILED, USAGE, UNREACHABLE, NOT_ALLOWED, NOT_FOUND, CANCELLED, INTERRUPTED = 1, 2, 3, 4, 5, 6, 130
"""Exit statuses, besides 0."""


class CommandFailed(Exception):
    """Ends a command with this exit status."""

    def __init__(
        self,
        message: str,
        exit_code: int = FAILED,
        *,
        code: str = "failed",
        more: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.code = code
        self.more = more
        """Further lines for people."""
