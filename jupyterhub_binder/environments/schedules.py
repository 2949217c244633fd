"""Schedules in cron's five fields: when they come, and what they say in words."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError

from jupyterhub_binder.errors import InvalidInput
from jupyterhub_binder.model.text import Message

MAX_CRON_CHARACTERS = 100
MAX_ZONE_CHARACTERS = 64
_FIELDS = 5
_MINUTE = timedelta(minutes=1)
_DAY_MINUTES = 24 * 60
_CALENDAR_DAYS = 28 * 366
"""After these, dates fall on the same weekdays again, leap days too."""

_EVERY_WEEKDAY: tuple[Callable[[str], Message], ...] = (
    lambda time: Message("Every Sunday at %(time)s.", time=time),
    lambda time: Message("Every Monday at %(time)s.", time=time),
    lambda time: Message("Every Tuesday at %(time)s.", time=time),
    lambda time: Message("Every Wednesday at %(time)s.", time=time),
    lambda time: Message("Every Thursday at %(time)s.", time=time),
    lambda time: Message("Every Friday at %(time)s.", time=time),
    lambda time: Message("Every Saturday at %(time)s.", time=time),
)
_NUMBER = re.compile(r"\d{1,2}")
_STEP = re.compile(r"\*/(\d{1,2})")


@dataclass(frozen=True, slots=True)
class Schedule:
    """When something is done again and again."""

    cron: str
    time_zone: str

    def next(self, after: datetime, count: int = 1) -> tuple[datetime, ...]:
        """Return the next times in UTC; fewer, or none, if it ends or can no longer be read.

        Follows the zone's clock, or UTC if this system no longer knows the zone.
        """
        try:
            zone = ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            zone = UTC
        local = after.astimezone(zone)
        try:
            times = islice(CronSim(self.cron, local), count)
        except CronSimError:
            return ()
        return tuple(each.astimezone(UTC) for each in times)

    @property
    def words(self) -> Message:
        """What the schedule says."""
        return describe(self.cron)


def read_schedule(cron: str, time_zone: str, *, after: datetime, least: timedelta) -> Schedule:
    """Read a schedule that a person wrote. Raises InvalidInput."""
    schedule = Schedule(" ".join(cron.split()), time_zone.strip() or "UTC")
    if schedule.time_zone not in available_timezones():
        raise InvalidInput(
            "There is no time zone called %(name)s. Write a name such as Europe/Berlin.",
            name=schedule.time_zone,
            detail={"field": "time_zone"},
        )
    _require_times(schedule, after)
    if comes_too_often(schedule.cron, least, first=after.date()):
        raise InvalidInput(
            "The schedule runs too often: there must be at least %(minutes)s minutes between two "
            "runs.",
            minutes=round(least / _MINUTE),
            detail={"field": "cron"},
        )
    return schedule


def comes_too_often(cron: str, least: timedelta, *, first: date) -> bool:
    """Say whether two times from a day on are closer than `least`, by the zone's own clock. Pure.

    All days have the same times, so it compares these, and then the days that follow each other.
    """
    parsed = CronSim(cron, datetime.combine(first, time()))
    minutes = sorted(hour * 60 + minute for hour in parsed.hours for minute in parsed.minutes)
    if any(later - earlier < least / _MINUTE for earlier, later in pairwise(minutes)):
        return True
    span = minutes[-1] - minutes[0]
    # From the last time of a day to the first one `days` later.
    days = math.ceil((least / _MINUTE + span) / _DAY_MINUTES) - 1
    return days > 0 and _has_days_within(parsed, days, first)


def _has_days_within(parsed: CronSim, days: int, first: date) -> bool:
    """Say whether a day of the schedule follows another one within so many days."""
    before = date.min
    for day in (first + timedelta(days=number) for number in range(_CALENDAR_DAYS)):
        if day.month in parsed.months and parsed.match_day(day):
            if (day - before).days <= days:
                return True
            before = day
    return False


def _require_times(schedule: Schedule, after: datetime) -> None:
    try:
        if len(schedule.cron) > MAX_CRON_CHARACTERS or len(schedule.cron.split()) != _FIELDS:
            raise CronSimError
        CronSim(schedule.cron, after)
    except CronSimError as error:
        raise InvalidInput(
            "This is not a schedule. Write five fields as in cron: minute, hour, day of the "
            "month, month and day of the week. “30 4 * * 1” means every Monday at 04:30.",
            detail={"field": "cron"},
        ) from error
    if not schedule.next(after):
        raise InvalidInput("This schedule never runs.", detail={"field": "cron"})


def describe(cron: str) -> Message:
    """Say a schedule in words; rare ones field by field."""
    minute, hour, day, month, weekday = cron.split()
    if _NUMBER.fullmatch(minute) and month == "*":
        found = _describe_common(int(minute), hour, day, weekday)
        if found is not None:
            return found
    return Message(
        "Minute %(minute)s, hour %(hour)s, day of the month %(day)s, month %(month)s, day of the "
        "week %(weekday)s.",
        minute=minute,
        hour=hour,
        day=day,
        month=month,
        weekday=weekday,
    )


def _describe_common(minute: int, hour: str, day: str, weekday: str) -> Message | None:
    if _NUMBER.fullmatch(hour):
        return _describe_at(f"{int(hour):02}:{minute:02}", day, weekday)
    if (day, weekday) != ("*", "*"):
        return None
    if hour == "*":
        return Message("Every hour, at minute %(minute)s.", minute=minute)
    if step := _STEP.fullmatch(hour):
        return Message(
            "Every %(hours)s hours, at minute %(minute)s.", hours=int(step[1]), minute=minute
        )
    return None


def _describe_at(time: str, day: str, weekday: str) -> Message | None:
    if (day, weekday) == ("*", "*"):
        return Message("Every day at %(time)s.", time=time)
    if day == "*" and weekday == "1-5":
        return Message("From Monday to Friday at %(time)s.", time=time)
    if day == "*" and re.fullmatch("[0-7]", weekday):
        return _EVERY_WEEKDAY[int(weekday) % 7](time)
    if weekday == "*" and _NUMBER.fullmatch(day):
        return Message("On day %(day)s of each month at %(time)s.", day=int(day), time=time)
    return None
