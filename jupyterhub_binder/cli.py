"""The command line `jupyterhub-binder`: what a person types, shown well on a terminal.

Results go to standard output, all else to standard error. What a person keeps is `envcli`'s
business, requests are `client`'s, what shows progress `follow`'s, what a machine has `doctor`'s,
the demonstration `demo`'s, the service `app`'s.
"""

from __future__ import annotations

import asyncio
import json
import shlex
from pathlib import Path
from typing import Any

import click

from jupyterhub_binder import envcli
from jupyterhub_binder._version import __version__
from jupyterhub_binder.admincli import admin
from jupyterhub_binder.client import BinderClient, Json
from jupyterhub_binder.dbcli import db
from jupyterhub_binder.follow import (
    CANCELLED,
    FAILED,
    USAGE,
    Failure,
    LogPrinter,
    Reporter,
    find_build,
    find_environment,
    follow_build,
    follow_launch,
    reporter_for,
)
from jupyterhub_binder.inputs import MOST_SEARCH_CHARACTERS
from jupyterhub_binder.session import Session, hub_command, read_token
from jupyterhub_binder.slugs import another_name

EXIT_CODES = """\b
Exit status:
  0    done
  1    the build, the launch or a check failed; the service refused the request
  2    the command was not understood
  3    the hub cannot be reached
  4    the hub does not accept the token, or it may not do this
  5    there is no such environment or build
  6    the build or the launch was cancelled
  130  interrupted with Ctrl-C; what was begun goes on
"""


@click.group(
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="jupyterhub-binder")
def main() -> None:
    """Environments of your own on a JupyterHub, built from a repository's URL.

    \b
    Try it here, without a hub of your own:
      jupyterhub-binder demo

    \b
    Use a hub that has binder:
      export JUPYTERHUB_BINDER_HUB=https://hub.example.org
      export JUPYTERHUB_BINDER_TOKEN=...       # from the hub's page Token
      jupyterhub-binder build https://github.com/binder-examples/requirements --wait
      jupyterhub-binder launch requirements
    """  # noqa: D301 - Click wants the character


# --- Here -------------------------------------------------------------------------------------


@main.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": ["-h"]},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def serve(arguments: tuple[str, ...]) -> None:
    """Run the service; a hub starts it so.

    ARGUMENTS are those of every Jupyter application: -f binder_config.py for a file of
    configuration, --JupyterHubBinder.backend=venv for one trait, --help-all for all of them.
    """
    from jupyterhub_binder.app import JupyterHubBinder

    JupyterHubBinder.launch_instance(argv=list(arguments))


@main.command()
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Everything the demonstration keeps: environments, homes, logs.  "
    "[default: jupyterhub-binder-demo in your folder for programs' data]",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0: one that is free.")
@click.option("--check", is_flag=True, help="Do the whole job without a person, then stop.")
@click.option(
    "--backend",
    type=click.Choice(["auto", "repo2docker", "venv"]),
    default="auto",
    show_default=True,
    help="repo2docker: container images and Docker. venv: folders and processes of this machine. "
    "auto: containers where Docker answers and has the base image, or can pull it.",
)
@click.option(
    "--base-image",
    metavar="IMAGE",
    default="",
    help="What images are built from: a Debian with Python 3, venv and pip.  "
    "[default: docker.io/library/python:3.12-bookworm]",
)
def demo(state: Path | None, port: int, check: bool, backend: str, base_image: str) -> None:
    """Run a hub with binder on this machine, with an example to try.

    It answers on 127.0.0.1 alone, stays until Ctrl-C, and leaves no process behind. With
    --check it creates an environment, builds it, starts a server, runs a cell, edits a file,
    and sees the edit again after a second start; the exit status says whether all went well.
    """
    from jupyterhub_binder.demo import run_demo

    raise SystemExit(
        run_demo(state=state, port=port, check=check, backend=backend, base_image=base_image)
    )


@main.command()
@click.option("--hub", envvar="JUPYTERHUB_BINDER_HUB", metavar="URL", help="Check a hub as well.")
@click.option("--token-file", metavar="FILE", help="A file that holds the token for that hub.")
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    metavar="FOLDER",
    help="Where the service keeps its state; the current folder if not given.",
)
@click.option("--port", type=click.IntRange(1, 65535), help="A port that must be free.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(
    hub: str | None, token_file: str | None, state: Path, port: int | None, as_json: bool
) -> None:
    """Check this machine, and a hub, for what builds and launches need.

    \b
    Examples:
      jupyterhub-binder doctor
      jupyterhub-binder doctor --state /srv/binder --hub https://hub.example.org
    """  # noqa: D301 - Click wants the character
    from jupyterhub_binder.doctor import examine

    session = Session(hub or "", read_token(token_file) if hub else "", as_json)
    findings = asyncio.run(examine(state=state, port=port, hub=hub, token=session.token))
    if as_json:
        click.echo(json.dumps([finding.as_json() for finding in findings]))
    else:
        for finding in findings:
            session.out.print(finding.text())
    raise SystemExit(FAILED if any(f.level == "problem" for f in findings) else 0)


main.add_command(db)


# --- At a hub ---------------------------------------------------------------------------------


@main.command()
@click.argument("link")
@click.option("--name", help="What to call the environment.  [default: the repository's name]")
@click.option("--path", help="What opens at a start: notebooks/index.ipynb, or /rstudio.")
@click.option(
    "--content-url", help="Open the files of another git repository: what you would paste."
)
@click.option("--content-ref", help="The branch, tag or commit of --content-url.")
@click.option(
    "--content",
    type=click.Choice(["copy", "sync", "leave"]),
    help="Files in your home: copied once, kept in step, or left out.",
)
@click.option("--new", is_flag=True, help="A second one of what you keep already, with a number.")
@click.option("--again", is_flag=True, help="LINK is an environment of yours: build it again.")
@click.option("--ref", help="With --again: the branch, tag or commit to build from now on.")
@click.option("--force", is_flag=True, help="With --again: even if the image is there already.")
@click.option("--wait", is_flag=True, help="Show the log and wait until the build has ended.")
@hub_command
def build(session: Session, link: str, wait: bool, **options: Any) -> None:
    """Make an environment out of LINK and build it.

    LINK is what you would paste: a repository's page on GitHub or GitLab, at a branch or a file
    if you like, a gist, org/repository, or any https git URL. The environment's id is printed.

    Nothing is kept twice: if you keep an environment of LINK already, that one is built again, if
    there is anything to build. With --new, or with any option that says how the environment is to
    be, you get another one; its name ends with a number if you give none.

    \b
    Examples:
      jupyterhub-binder build https://github.com/binder-examples/requirements --wait
      jupyterhub-binder build org/repository --name "Spring course" --path week1/index.ipynb
      jupyterhub-binder build my-analysis --again --ref v2.0
      id=$(jupyterhub-binder build org/repository) && jupyterhub-binder launch "$id"
    """  # noqa: D301 - Click wants the character
    session.run(lambda client: _build(session, client, link, wait, **options))


for command in envcli.COMMANDS:
    main.add_command(command)


@main.command(short_help="Start a server in an environment.")
@click.argument("environment")
@click.option("--server-name", default="", help="A named server instead of the default one.")
@click.option("--path", help="What opens, in place of the environment's own choice.")
@click.option("--restart", is_flag=True, help="Stop what else runs in that server first.")
@click.option("--no-wait", is_flag=True, help="Do not wait until the server answers.")
@hub_command
def launch(session: Session, environment: str, no_wait: bool, **options: Any) -> None:
    """Start a server in ENVIRONMENT, an id or a name, and print its address.

    An environment that is not built yet is built first.

    \b
    Examples:
      jupyterhub-binder launch requirements
      jupyterhub-binder launch my-analysis --server-name second --path week1/index.ipynb
      jupyterhub-binder launch my-analysis --path /rstudio
    """  # noqa: D301 - Click wants the character
    session.run(lambda client: _launch(session, client, environment, no_wait, options))


@main.command()
@click.argument("build_or_environment")
@click.option("-f", "--follow", is_flag=True, help="Stay until the build has ended.")
@click.option("--after", type=click.IntRange(0), default=0, help="Only lines after this one.")
@hub_command
def logs(session: Session, build_or_environment: str, follow: bool, after: int) -> None:
    """Print the log of a build, or of an environment's newest build.

    With --follow the exit status is the build's: 0 built, 1 failed, 6 cancelled. With --json
    every line is an object with seq, time, phase and message.

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

    Somebody else who waits for the same build gets it nevertheless.

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
    **fields: str | None,
) -> None:
    if again and new:
        raise Failure("--again and --new do not go together.", USAGE, code="usage")
    if again:
        environment_id = (await find_environment(client, link))["id"]
        environment = await client.rebuild(environment_id, ref=ref, force=force)
    elif ref or force:
        raise Failure("--ref and --force go with --again.", USAGE, code="usage")
    else:
        said = {name: value for name, value in fields.items() if value is not None}
        environment = await _make(session, client, link, said, new=new)
    session.say(f"{environment['name']}: {client.page_url(_page(environment))}")
    await _see_built(session, client, environment, wait)


async def _make(
    session: Session, client: BinderClient, link: str, said: Json, *, new: bool
) -> Json:
    """Return an environment of a link that is being built: the one kept already, or another."""
    preview = await client.resolve({"url": link})
    kept = preview.get("kept")
    if kept and not new and said in ({}, {"name": kept["name"]}):
        session.say(f"You keep this already, as {kept['name']}; --new makes another.", "yellow")
        environment = await client.rebuild(kept["id"])
        if (path := preview.get("path")) and path != environment.get("path"):
            opens = shlex.join(("launch", kept["id"], "--path", path))
            session.say(f"To open {path} in it: jupyterhub-binder {opens}")
        return environment
    if "name" not in said and (name := await _free_name(client, preview["name"])):
        said = {**said, "name": name}
    return await client.create({"url": link, **said})


async def _free_name(client: BinderClient, name: str) -> str | None:
    """Return a name with a number that no environment of mine has; None if the plain one is free.

    A name that only one has is as good as an id on this command line.
    """
    listed = await client.environments(search=name[:MOST_SEARCH_CHARACTERS])
    taken = {each["name"] for each in listed}
    free = name
    while free in taken:
        free = another_name(free)
    return free if free != name else None


async def _see_built(session: Session, client: BinderClient, environment: Json, wait: bool) -> None:
    """Print the environment, with `wait` after its build. Raises Failure if that failed."""
    latest, final = environment.get("latest"), None
    if latest and latest["state"] == "built":
        session.say("Built already, nothing to do.")
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
        raise Failure("The build was cancelled.", CANCELLED, code="cancelled")
    reason = build.get("reason") or {}
    raise Failure(reason.get("message") or "The build failed.", code=reason.get("code", "failed"))


def _reporter(session: Session) -> Reporter:
    return Reporter() if session.as_json else reporter_for(session.err)


async def _launch(
    session: Session, client: BinderClient, name: str, no_wait: bool, options: Json
) -> None:
    environment = await find_environment(client, name)
    fields = {key: value for key, value in options.items() if value}
    started = await client.launch(environment["id"], fields)
    if not no_wait:
        started = await follow_launch(client, started, _reporter(session))
    url = client.page_url(started["url"]) if started.get("url") else ""
    session.result(started, url or started["id"])
    if started["state"] == "failed":
        raise Failure((started.get("reason") or {}).get("message") or "The server did not start.")
    if started["state"] == "cancelled":
        raise Failure("The launch was cancelled.", CANCELLED, code="cancelled")


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
        session.result(build, f"There is nothing to cancel: the build has ended, {build['state']}.")
        return
    build = await client.cancel_build(build["id"])
    left = "" if build["state"] == "cancelled" else " Somebody else still waits for it."
    session.result(build, f"Cancelled.{left}")


if __name__ == "__main__":
    main()
