"""The tab before an upgrade: no build begins, and everybody reads why."""

from __future__ import annotations

from jupyterhub_binder.drain import DEFAULT_MESSAGE, MOST_MESSAGE_CHARACTERS
from jupyterhub_binder.web.admin.base import AdminHandler


class DrainPage(AdminHandler):
    """``/admin/drain``."""

    async def get(self) -> None:
        """Show whether builds begin, and what still runs."""
        queue = self.services.builds.queue()
        state = self.services.command.drain.state
        self.render_tab(
            "drain",
            state=state,
            message=state.message if state else DEFAULT_MESSAGE,
            running=len(queue.running),
            waiting=len(queue.waiting),
            refresh=10 if state and queue.running else None,
        )

    async def post(self) -> None:
        """Pause builds, or change the message."""
        self.back = f"{self.prefix}admin/drain"
        message = self.form.text("message", most=MOST_MESSAGE_CHARACTERS) or ""
        await self.services.command.drain.begin(self.me, message)
        self.redirect(self.back, status=303)


class Resume(AdminHandler):
    """``POST /admin/drain/resume``."""

    async def post(self) -> None:
        """Resume builds."""
        await self.services.command.drain.end(self.me)
        self.redirect(f"{self.prefix}admin/drain", status=303)
