"""The command line `jupyterhub-binder`.

Results go to standard output, everything else to standard error.
"""

from __future__ import annotations

import asyncio
import json
import shlex
from pathlib import Path
from typing import Any

import click

from jupyterhub_binder._version import __version__
from jupyterhub_binder.cli import environments as envcli
from jupyterhub_binder.cli import history as histcli
from jupyterhub_binder.cli import prebuild as prebuildcli
from jupyterhub_binder.cli import receipts as receiptcli
from jupyterhub_binder.cli import sharing
from jupyterhub_binder.cli.admin import admin
from jupyterhub_binder.cli.database import db
from jupyterhub_binder.cli.explain import explain, failed_build
from jupyterhub_binder.cli.failure import CANCELLED, FAILED, USAGE, CommandFailed
from jupyterhub_binder.cli.featured import featured
from jupyterhub_binder.cli.find import find_build, find_environment
from jupyterhub_binder.cli.preferences import opened_last, profile_fields, profile_options
from jupyterhub_binder.cli.progress import LogPrinter, reporter_for
from jupyterhub_binder.cli.report import report
from jupyterhub_binder.cli.session import Session, hub_command, read_token
from jupyterhub_binder.client.client import BinderClient, Json
from jupyterhub_binder.client.follow import Reporter, follow_build, follow_launch
from jupyterhub_binder.utils.names import another_name
from jupyterhub_binder.utils.validation import MAX_SEARCH_CHARACTERS

EXIT_CODES = """\b
Exit status:
  0    done
  1    the build, launch or check failed, or the service refused the request
  2    wrong use of the command
  3    the hub can't be reached
  4    the token is not accepted, or it lacks the permission
  5    the environment or build was not found
  6    the build or launch was cancelled
  130  interrupted with Ctrl-C; builds and launches continue on the hub
"""


@click.group(
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="jupyterhub-binder")
def main() -> None:
    """Build environments from repository URLs and start them on a JupyterHub.

    \b
    Try it on this machine, without a hub:
      jupyterhub-binder demo

    \b
    Use a hub that has jupyterhub-binder:
      export JUPYTERHUB_BINDER_HUB=https://hub.example.org
      export JUPYTERHUB_BINDER_TOKEN=...       # from the hub's Token page
      jupyterhub-binder build https://github.com/binder-examples/requirements --wait
      jupyterhub-binder launch requirements
    """  # noqa: D301 - Click wants the character


# --- This machine -------------------------------------------------------------------------------------


@main.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": ["-h"]},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def serve(arguments: tuple[str, ...]) -> None:
    """Run the service. The hub normally starts it.

    ARGUMENTS are the options of any Jupyter application: -f binder_config.py reads a
    configuration file, --JupyterHubBinder.backend=venv sets one option, --help-all lists them all.
    """
    from jupyterhub_binder.app import JupyterHubBinder

    JupyterHubBinder.launch_instance(argv=list(arguments))


@main.command()
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Folder for everything the demo keeps: environments, home folders, logs.  "
    "[default: jupyterhub-binder-demo in your user data folder]",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Port of the hub; 0 picks a free one."
)
@click.option("--check", is_flag=True, help="Run one complete test, then stop.")
@click.option(
    "--backend",
    type=click.Choice(["auto", "repo2docker", "venv"]),
    default="auto",
    show_default=True,
    help="repo2docker: container images, with Docker. venv: folders and processes on this machine. "
    "auto: containers if Docker is running and has, or can pull, the base image.",
)
@click.option(
    "--base-image",
    metavar="IMAGE",
    default="",
    help="Base image of the builds: a Debian with Python 3, venv and pip.  "
    "[default: docker.io/library/python:3.12-bookworm]",
)
def demo(state: Path | None, port: int, check: bool, backend: str, base_image: str) -> None:
    """Run a demo hub on this machine, with an example to try.

    The hub listens on 127.0.0.1 only, runs until Ctrl-C, and leaves no process behind. With
    --check, the demo creates and builds an environment, starts a server, runs a cell, edits a
    file, restarts the server and checks that the edit is still there. The exit status is 0 if
    everything worked.
    """
    from jupyterhub_binder.demo import run_demo

    raise SystemExit(
        run_demo(
            state=state,
            port=port,
            check=check,
            backend=backend,
            base_image=base_image,
        )
    )


@main.command()
@click.option("--hub", envvar="JUPYTERHUB_BINDER_HUB", metavar="URL", help="Also check this hub.")
@click.option("--token-file", metavar="FILE", help="File with the token for that hub.")
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    metavar="FOLDER",
    help="State folder of the service.  [default: the current folder]",
)
@click.option("--port", type=click.IntRange(1, 65535), help="Also check that this port is free.")
@click.option(
    "--backend",
    default="venv",
    show_default=True,
    metavar="NAME",
    help="What builds on this machine. With repo2docker, a container engine is required.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(
    hub: str | None,
    token_file: str | None,
    state: Path,
    port: int | None,
    backend: str,
    as_json: bool,
) -> None:
    """Check this machine, and with --hub also a hub and its service.

    The service then reports its database, disk, hub, token and backend, and with the backend its
    registry or BinderHub. An administrator's token shows the causes.

    \b
    Examples:
      jupyterhub-binder doctor
      jupyterhub-binder doctor --backend repo2docker
      jupyterhub-binder doctor --state /srv/binder --hub https://hub.example.org
    """  # noqa: D301 - Click wants the character
    from jupyterhub_binder.cli.doctor import examine

    session = Session(hub or "", read_token(token_file) if hub else "", as_json)
    findings = asyncio.run(
        examine(state=state, port=port, backend=backend, hub=hub, token=session.token)
    )
    if as_json:
        click.echo(json.dumps([finding.as_json() for finding in findings]))
    else:
        for finding in findings:
            session.out.print(finding.text())
    raise SystemExit(FAILED if any(f.level == "problem" for f in findings) else 0)


main.add_command(db)
main.add_command(explain)
main.add_command(report)


# --- A hub ---------------------------------------------------------------------------------


@main.command()
@click.argument("link")
@click.option("--name", help="Name of the environment.  [default: the repository's name]")
@click.option(
    "--path", help="What to open when a server starts: notebooks/index.ipynb, or /rstudio."
)
@click.option("--content-url", help="Use the files of another Git repository; its URL.")
@click.option("--content-ref", help="Branch, tag or commit of --content-url.")
@click.option(
    "--content",
    type=click.Choice(["copy", "sync", "leave"]),
    help="Repository files in your home folder: copy once, keep in sync, or don't copy.",
)
@click.option(
    "--new", is_flag=True, help="Create another environment, even if you already have one of LINK."
)
@click.option(
    "--again", is_flag=True, help="LINK is the name or id of your environment; build it again."
)
@click.option("--ref", help="With --again: switch to this branch, tag or commit.")
@click.option("--force", is_flag=True, help="With --again: build even if the image exists.")
@click.option(
    "--python",
    help="With --again: use this Python from now on, such as 3.11; '' is the repository's.",
)
@click.option(
    "--backend",
    help="Backend for this and later builds, on a hub with several. With --again, '' means the first "
    "that can make it.",
)
@click.option("--wait", is_flag=True, help="Show the log and wait for the build to end.")
@hub_command
def build(session: Session, link: str, wait: bool, **options: Any) -> None:
    """Create an environment from LINK, build it and print its id.

    LINK can be a repository page on GitHub or GitLab (also of a branch or a file), a gist,
    org/repository, or any https Git URL.

    If you already have an environment of LINK, the command updates that one and builds it if
    needed. With --new, or any option that describes the environment, it creates another one.
    Without --name, its name gets a number.

    \b
    Examples:
      jupyterhub-binder build https://github.com/binder-examples/requirements --wait
      jupyterhub-binder build org/repository --name "Spring course" --path week1/index.ipynb
      jupyterhub-binder build my-analysis --again --ref v2.0
      jupyterhub-binder build org/repository --backend binderhub
      id=$(jupyterhub-binder build org/repository) && jupyterhub-binder launch "$id"
    """  # noqa: D301 - Click wants the character
    session.run(lambda client: _build(session, client, link, wait, **options))


COMMANDS = (
    *envcli.COMMANDS,
    *sharing.COMMANDS,
    featured,
    *prebuildcli.COMMANDS,
    *histcli.COMMANDS,
    *receiptcli.COMMANDS,
)
for command in COMMANDS:
    main.add_command(command)


@main.command(short_help="Start a server in an environment.")
@click.argument("environment")
@click.option("--server-name", default="", help="Start a named server instead of the default one.")
@click.option("--path", help="Open this path instead of the application that you chose last.")
@click.option(
    "--restart", is_flag=True, help="If that server is running, restart it in ENVIRONMENT."
)
@click.option("--no-wait", is_flag=True, help="Do not wait for the server to be ready.")
@profile_options
@hub_command
def launch(session: Session, environment: str, no_wait: bool, **options: Any) -> None:
    """Start a server in ENVIRONMENT (id or name) and print its URL.

    If the environment is not built yet, it is built first. Without --path, the server opens the
    application that you chose last, on the pages or with edit --open-in, or else what the
    environment's settings open.

    \b
    Examples:
      jupyterhub-binder launch requirements
      jupyterhub-binder launch my-analysis --server-name second --path week1/index.ipynb
      jupyterhub-binder launch my-analysis --path /rstudio
      jupyterhub-binder launch my-analysis --profile large --profile-option memory=16
    """  # noqa: D301 - Click wants the character
    session.run(lambda client: _launch(session, client, environment, no_wait, options))


@main.command()
@click.argument("build_or_environment")
@click.option("-f", "--follow", is_flag=True, help="Keep printing until the build ends.")
@click.option(
    "--after", type=click.IntRange(0), default=0, help="Print only lines after this line number."
)
@hub_command
def logs(session: Session, build_or_environment: str, follow: bool, after: int) -> None:
    """Print the log of a build, or of an environment's newest build.

    With --follow, the exit status is the result of the build: 0 built, 1 failed, 6 cancelled.
    With --json, each line is an object with seq, time, phase and message.

    \b
    Examples:
      jupyterhub-binder logs -f my-analysis
      jupyterhub-binder logs my-analysis | grep -i error
    """  # noqa: D301 - Click wants the character
    session.run(lambda client: _logs(session, client, build_or_environment, follow, after))


@main.command()
@click.argument("build_or_environment")
@hub_command
def cancel(session: Session, build_or_environment: str) -> None:
    """Cancel a build, or an environment's newest build.

    If other people are waiting for the same build, it continues for them.

    \b
    Examples:
      jupyterhub-binder cancel my-analysis
    """  # noqa: D301 - Click wants the character
    session.run(lambda client: _cancel(session, client, build_or_environment))


main.add_command(admin)


# --- What they do -----------------------------------------------------------------------------


async def _build(
    session: Session,
    client: BinderClient,
    link: str,
    wait: bool,
    *,
    again: bool,
    new: bool,
    ref: str | None,
    force: bool,
    python: str | None,
    backend: str | None,
    **fields: str | None,
) -> None:
    if again and new:
        raise CommandFailed("Use either --again or --new, not both.", USAGE, code="usage")
    if again:
        environment_id = (await find_environment(client, link))["id"]
        environment = await client.rebuild(
            environment_id, ref=ref, force=force, python=python, backend=backend
        )
    elif ref or force or python is not None:
        raise CommandFailed("--ref, --force and --python need --again.", USAGE, code="usage")
    else:
        said: Json = {name: value for name, value in fields.items() if value is not None}
        said |= {"options": {"backend": backend}} if backend else {}
        environment = await _make(session, client, link, said, new=new)
    session.say(f"{environment['name']}: {client.page_url(_page(environment))}")
    await _see_built(session, client, environment, wait)


async def _make(
    session: Session, client: BinderClient, link: str, said: Json, *, new: bool
) -> Json:
    """Return the link's environment, with its build started."""
    preview = await client.resolve({"url": link})
    kept = preview.get("kept")
    if kept and not new and said in ({}, {"name": kept["name"]}):
        session.say(
            f"You already have this as {kept['name']}. Use --new to create another.", "yellow"
        )
        environment = await client.rebuild(kept["id"])
        if (path := preview.get("path")) and path != environment.get("path"):
            opens = shlex.join(("launch", kept["id"], "--path", path))
            session.say(f"To open {path} in it: jupyterhub-binder {opens}")
        return environment
    if "name" not in said and (name := await _free_name(client, preview["name"])):
        said = {**said, "name": name}
    return await client.create({"url": link, **said})


async def _free_name(client: BinderClient, name: str) -> str | None:
    """Return the name with a number, or None if it is free. Unique names can replace ids."""
    listed = await client.environments(search=name[:MAX_SEARCH_CHARACTERS])
    taken = {each["name"] for each in listed}
    free = name
    while free in taken:
        free = another_name(free)
    return free if free != name else None


async def _see_built(session: Session, client: BinderClient, environment: Json, wait: bool) -> None:
    """Print the environment, after its build if `wait`. Raises CommandFailed."""
    latest, final = environment.get("latest"), None
    if latest and latest["state"] == "built":
        session.say("Already built, nothing to do.")
    elif latest and wait:
        final = await follow_build(client, latest["id"], _reporter(session))
        environment = await client.environment(environment["id"])
    session.result(environment, environment["id"])
    if final:
        _raise_for_build(final)


def _page(thing: Json) -> str:
    return str((thing.get("links") or {}).get("page") or "")


def _raise_for_build(build: Json) -> None:
    if build["state"] == "built":
        return
    if build["state"] == "cancelled":
        raise CommandFailed("The build was cancelled.", CANCELLED, code="cancelled")
    raise failed_build(build.get("reason"))


def _reporter(session: Session) -> Reporter:
    return Reporter() if session.as_json else reporter_for(session.err)


async def _launch(
    session: Session, client: BinderClient, name: str, no_wait: bool, options: Json
) -> None:
    environment = await find_environment(client, name)
    profile = profile_fields(options.pop("profile"), options.pop("profile_options"))
    fields = {**{key: value for key, value in options.items() if value}, **profile}
    if "path" not in fields and (opens := await opened_last(client, environment["id"])):
        fields["path"] = opens
    started = await client.launch(environment["id"], fields)
    if not no_wait:
        started = await follow_launch(client, started, _reporter(session))
    url = client.page_url(started["url"]) if started.get("url") else ""
    session.result(started, url or started["id"])
    if started["state"] == "failed":
        raise failed_build(started.get("reason"), "The server did not start.")
    if started["state"] == "cancelled":
        raise CommandFailed("The launch was cancelled.", CANCELLED, code="cancelled")


async def _logs(
    session: Session, client: BinderClient, name: str, follow: bool, after: int
) -> None:
    build_id = await find_build(client, name)
    reporter = LogPrinter(as_json=session.as_json)
    if follow:
        _raise_for_build(await follow_build(client, build_id, reporter, after=after))
        return
    until = (await client.build(build_id))["lines"]
    if until > after:
        await follow_build(client, build_id, reporter, after=after, until=until)


async def _cancel(session: Session, client: BinderClient, name: str) -> None:
    build = await client.build(await find_build(client, name))
    if build["state"] in ("built", "failed", "cancelled"):
        session.result(build, f"Nothing to cancel. The build has already ended: {build['state']}.")
        return
    build = await client.cancel_build(build["id"])
    left = (
        ""
        if build["state"] == "cancelled"
        else " It continues for other people who are waiting for it."
    )
    session.result(build, f"Cancelled.{left}")


if __name__ == "__main__":
    main()
