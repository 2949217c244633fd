"""``python -m jupyterhub_binder`` is the command line, where its program is not on the PATH."""

from jupyterhub_binder.cli import main

if __name__ == "__main__":
    main(prog_name="python -m jupyterhub_binder")
