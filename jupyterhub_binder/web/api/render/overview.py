"""Converts the administrators' overview to JSON. Pure."""

from __future__ import annotations

from jupyterhub_binder.admin.people import AtLimit
from jupyterhub_binder.maintenance.health import Disk
from jupyterhub_binder.maintenance.images import DiskUse
from jupyterhub_binder.maintenance.software import Installed
from jupyterhub_binder.model.overview import RecentFailures, Totals
from jupyterhub_binder.web.api.render import render_reason
from jupyterhub_binder.web.api.shapes.overview import (
    AdvisoryJSON,
    AtLimitJSON,
    ConcernJSON,
    DiskJSON,
    ImagesJSON,
    RecentFailuresJSON,
    SoftwareJSON,
    TotalsJSON,
)
from jupyterhub_binder.web.attention import Concern


def render_concern(concern: Concern, base_url: str) -> ConcernJSON:
    """Render what needs attention."""
    anchor = concern.path.startswith("#")
    page = f"{base_url}{'admin' if anchor else ''}{concern.path}"
    return ConcernJSON(
        severity=concern.kind,
        title=concern.word,
        text=concern.text,
        page=page if concern.path else None,
    )


def render_totals(of: Totals) -> TotalsJSON:
    """Render the counts of a period."""
    return TotalsJSON(
        built=of.built,
        failed=of.failed,
        launches=of.launches,
        failed_launches=of.failed_launches,
        people=of.people,
    )


def render_failures(of: RecentFailures) -> RecentFailuresJSON:
    """Render the failures of one reason."""
    build = of.newest
    return RecentFailuresJSON(
        kind=of.key,
        times=of.times,
        build_id=build.id,
        label=build.label,
        last=build.finished,
        reason=render_reason(build.reason),
    )


def render_at_limit(of: AtLimit) -> AtLimitJSON:
    """Render who has reached a limit."""
    return AtLimitJSON(person=of.person, limit=of.limit, used=of.used, most=of.value)


def render_disk(disk: Disk) -> DiskJSON:
    """Render the disk."""
    return DiskJSON(
        total_bytes=disk.total_bytes,
        free_bytes=disk.free_bytes,
        min_free_bytes=disk.min_free_bytes,
    )


def render_images(use: DiskUse) -> ImagesJSON:
    """Render what images take."""
    return ImagesJSON(
        images=use.images,
        image_bytes=use.image_bytes,
        cache_bytes=use.cache_bytes,
        removable=use.removable,
        removable_bytes=use.removable_bytes,
        measured=use.checked,
    )


def render_software(of: Installed) -> SoftwareJSON:
    """Render a package with its known vulnerabilities."""
    return SoftwareJSON(
        package=of.package,
        version=of.version,
        where=of.where,
        advisories=tuple(
            AdvisoryJSON(
                ids=one.ids,
                severity=one.severity,
                summary=one.summary,
                fixed=one.fixed,
                url=one.url,
            )
            for one in of.advisories
        ),
    )
