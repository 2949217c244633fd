"""The time, aware and in UTC, from one place."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the time now, aware UTC."""
    return datetime.now(UTC)


def isoformat(time: datetime) -> str:
    """Write a time as on the wire: ISO 8601 with milliseconds and ``Z``."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
