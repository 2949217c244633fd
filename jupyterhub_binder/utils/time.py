"""Time in aware UTC."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def isoformat(time: datetime) -> str:
    """Format for the wire: ISO 8601, milliseconds, ``Z``."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
