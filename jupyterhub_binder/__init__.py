"""Build, keep, share and launch your own environments on a JupyterHub."""

from jupyterhub_binder._version import __version__

__all__ = ["__version__"]
