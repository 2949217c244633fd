"""The drain tab: pause builds before an upgrade."""

from __future__ import annotations

from jupyterhub_binder.admin.drain import DEFAULT_MESSAGE, MAX_MESSAGE_CHARACTERS
from jupyterhub_binder.web.pages.admin.base import AdminPage


class DrainPage(AdminPage):
    """``/admin/drain``."""

    async def get(self) -> None:
        """Show whether builds are paused, and running builds."""
        queue = self.services.builds.queue()
        state = self.services.drain.state
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
        message = self.form.text("message", max_length=MAX_MESSAGE_CHARACTERS) or ""
        await self.services.drain.begin(self.me, message)
        self.redirect(self.back, status=303)


class ResumeAction(AdminPage):
    """``POST /admin/drain/resume``."""

    async def post(self) -> None:
        """Resume builds."""
        await self.services.drain.end(self.me)
        self.redirect(f"{self.prefix}admin/drain", status=303)
