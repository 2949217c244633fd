"""Which applications an environment has, by the packages in its image, and what they open. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from jupyterhub_binder.errors import InvalidInput
from jupyterhub_binder.model.preferences import Application
from jupyterhub_binder.utils.validation import clean_address

_KNOWN = (
    (Application("JupyterLab", ""), {"jupyterlab"}),
    (Application("Notebook", "/tree"), {"notebook"}),
    (Application("RStudio", "/rstudio"), {"jupyter-rsession-proxy"}),
    (Application("VS Code", "/vscode"), {"jupyter-vscode-proxy"}),
    (Application("VS Code", "/codeserver"), {"jupyter-codeserver-proxy"}),
    (Application("Shiny", "/shiny"), {"jupyter-shiny-proxy"}),
    (Application("marimo", "/marimo"), {"jupyter-marimo-proxy"}),
    (Application("Pluto", "/pluto"), {"jupyter-pluto-proxy"}),
    (Application("Voilà", "/voila"), {"voila"}),
    (Application("Panel", "/panel"), {"jupyter-panel-proxy"}),
    (Application("Desktop", "/desktop"), {"jupyter-remote-desktop-proxy"}),
)
"""Each is there if one of its packages is: they register their address by an entry point."""


def find_applications(packages: Iterable[str]) -> tuple[Application, ...]:
    """Return the applications of packages, whose names may be spelled in any way."""
    names = {name.lower().replace("_", "-").replace(".", "-") for name in packages}
    return tuple(application for application, needed in _KNOWN if needed & names)


_NOTEBOOK, _VOILA = "/tree", "/voila"


def opens_in(path: str, preferred: str, there: Iterable[Application]) -> Application | None:
    """Return the application that opens a file: the preferred one, if it opens such files.

    None if nobody knows the applications: a server's default opens it then.
    """
    known = {each.path: each for each in there}
    fit = [_NOTEBOOK, *([_VOILA] if path.endswith(".ipynb") else [])]
    order = (preferred if preferred in fit else "", "", _NOTEBOOK)
    return next((known[each] for each in order if each in known), None)


def address_of_file(path: str, application: Application | None) -> str:
    """Return what a launch opens: a path of the repository, or an application's address of it."""
    prefix = {_NOTEBOOK: "/tree/", _VOILA: "/voila/render/"}.get(
        application.path if application else ""
    )
    if prefix is None:
        return path
    try:
        return clean_address(prefix + quote(path))
    except InvalidInput:  # an address may be too long where the path is not
        return path
