"""Which applications an environment has, by the packages in its image. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from jupyterhub_binder.model.preferences import Application

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
