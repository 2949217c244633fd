"""The command `jupyterhub-binder explain`, which tries rules on a log."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import click

from jupyterhub_binder.builds.explain import Explainer, Failure, RuleError, read_rules
from jupyterhub_binder.cli.failure import CommandFailed
from jupyterhub_binder.model import Reason
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.utils.terminal import plain
from jupyterhub_binder.utils.wire import to_json


@click.command()
@click.argument("log", type=click.File("r", errors="replace"), metavar="FILE")
@click.option(
    "--rules",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A file with rules of your own, as in Builds.failure_rules.",
)
@click.option(
    "--code",
    default="build_failed",
    show_default=True,
    help="The code of the build's reason, as the REST API shows it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain(log: TextIO, rules: Path | None, code: str, as_json: bool) -> None:
    """Say why a build failed, from its log.

    FILE is a log, or - for standard input. Use it to try rules of your own: it reads them as the service does, and needs no hub.

    \b
    Examples:
      jupyterhub-binder logs my-environment | jupyterhub-binder explain -
      jupyterhub-binder explain build.log --rules failures.toml

    The exit status is 1 if no rule explains the log.
    """  # noqa: D301 - Click wants the character
    explained = explain_log(log, rules, code)
    told = explained.explanation
    assert told is not None
    if as_json:
        click.echo(json.dumps(to_json(explained), indent=2))
    else:
        facts = [
            ("rule", told.rule),
            ("fingerprint", told.fingerprint),
            ("owner", told.owner or ""),
            ("reason", str(explained.message)),
            (f"line {explained.seq}", told.line),
            *(("way out", str(way.label)) for way in told.ways),
        ]
        for name, value in facts:
            if value:
                click.echo(f"{name}: {plain(value)}")
    if not told.rule:
        raise click.exceptions.Exit(1)


def explain_log(log: TextIO, rules: Path | None, code: str) -> Reason:
    """Return the explained reason. Raises ClickException for wrong rules."""
    try:
        explainer = Explainer(read_rules(str(rules) if rules else ""))
    except RuleError as error:
        raise click.ClickException(f"{error}.") from error
    except OSError as error:
        raise click.ClickException(f"Can't read {rules}: {error.strerror}.") from error
    finder = explainer.finder()
    finder.read(enumerate((line.rstrip("\n") for line in log), 1))
    reason = Reason(code, Message("The build failed."))
    return explainer.explain(Failure(reason), finder)


def failed_build(
    reason: Mapping[str, Any] | None, otherwise: str = "The build failed."
) -> CommandFailed:
    """Return the failure of a command from the API's reason."""
    found = reason or {}
    return CommandFailed(
        str(found.get("message") or otherwise),
        code=str(found.get("code", "failed")),
        more=tuple(explanation_lines(found)),
    )


def explanation_lines(reason: Mapping[str, Any]) -> Iterator[str]:
    """Yield whose business a failure is, the decisive line and the ways out."""
    if reason.get("owner"):
        yield f"cause: {_OWNERS.get(reason['owner'], reason['owner'])}"
    if reason.get("line"):
        yield f"line {reason.get('seq')}: {reason['line']}"
    for action in reason.get("actions") or ():
        if action["kind"] in ("open", "advice"):
            yield f"{action['label']}{' ' + action['url'] if action.get('url') else ''}"


_OWNERS = {
    "repository": "the repository",
    "hub": "this hub; ask its administrators",
    "network": "a host or the network; try again later",
}
