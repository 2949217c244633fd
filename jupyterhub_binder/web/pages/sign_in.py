"""The end of a sign-in: the hub sends the browser back here."""

from __future__ import annotations

from jupyterhub.services.auth import HubOAuthCallbackHandler
from tornado.web import HTTPError

from jupyterhub_binder.errors import HubError, InvalidInput
from jupyterhub_binder.web.pages.base import PageHandler


class OAuthCallback(HubOAuthCallbackHandler, PageHandler):  # pyright: ignore[reportIncompatibleMethodOverride]
    """Handles the hub's redirect after the login."""

    async def prepare(self) -> None:
        """Authenticate without blocking; nobody is signed in yet."""
        self._choose_language()
        self._hub_auth_user_cache = await self.hub_auth.get_user(self, sync=False)

    async def get(self) -> None:
        """Sign in, or say why that does not work."""
        try:
            await super().get()
        except HTTPError as error:
            if error.status_code < 500:
                raise InvalidInput(
                    "Signing in did not work. Open the page that you wanted again."
                ) from error
            if (await self.services.health())["token"] is not None:
                raise HubError(
                    "Nobody can sign in here at the moment, because the hub does not accept this "
                    "service's token. Ask an administrator to restart the hub."
                ) from error
            raise HubError("The hub could not check who you are. Try again in a moment.") from error
