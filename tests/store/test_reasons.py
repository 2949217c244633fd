"""Reasons in the store: the English sentence, and what it takes to say it in another language."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from jupyterhub_binder.model import BuildEvent, BuildState, Launch, LaunchState, Phase, Reason
from jupyterhub_binder.model.text import MAX_JSON_CHARACTERS, Message
from jupyterhub_binder.store import Store, migrations
from jupyterhub_binder.store.builds import NewBuildRequest
from jupyterhub_binder.store.tables import build_row, builds, read_build
from jupyterhub_binder.utils.names import new_id
from jupyterhub_binder.utils.time import utc_now
from tests.kit.canned import make_build, make_environment

MESSAGE = Message("%(host)s has no %(what)s.", host="a.org", what=Message("file %(n)s", n=3))


def failed(message: str):
    build = make_build(1, BuildState.FAILED, Phase.FAILED)
    return replace(build, reason=Reason("gone", message, 4))


def kept(message: str) -> Reason:
    row = build_row(failed(message))
    reason = read_build(row).reason
    assert reason is not None
    return reason


def test_a_reason_without_a_template_stays_english():
    row = {**build_row(failed(MESSAGE)), "reason_template": None}  # as before the migration
    reason = read_build(row).reason
    assert reason == Reason("gone", "a.org has no file 3.", 4)
    assert reason.message.values == {"text": "a.org has no file 3."}


@pytest.mark.parametrize("stored", [{"text": "%(x)s", "values": {}, "many": 3}, {"nonsense": 1}])
def test_a_template_that_cannot_be_read_leaves_the_english_sentence(stored: object):
    row = {**build_row(failed(MESSAGE)), "reason_template": stored}
    assert read_build(row).reason.message == "a.org has no file 3."


def test_a_template_with_endless_values_is_not_kept():
    message = Message("It says %(why)s", why="x" * MAX_JSON_CHARACTERS)
    assert build_row(failed(message))["reason_template"] is None
    assert kept(message).message == message


async def test_reasons_and_messages_come_back_with_their_values(database_url):
    store = await Store.open(database_url)
    try:
        environment = make_environment(1, "one", None, owner="ada")
        pending = make_build(1, BuildState.PENDING, Phase.WAITING, lines=0)
        new = NewBuildRequest(pending, by="ada", at=utc_now())
        environment = await store.insert_environment(
            environment, new, directories=iter(["one"]), limit=9
        )
        build = environment.latest.build
        reason = Reason("gone", MESSAGE, 1)
        ended, _ = await store.finish_build(
            build.id,
            BuildEvent(1, utc_now(), Phase.FAILED, "the end"),
            state=BuildState.FAILED,
            at=utc_now(),
            reason=reason,
        )
        assert ended.reason.message.to_json() == MESSAGE.to_json()
        launch = Launch(
            new_id(), environment.id, "ada", "", "", LaunchState.FAILED, utc_now(),
            message=MESSAGE, reason=reason,
        )  # fmt: skip
        await store.insert_launch(launch)
        (read,) = await store.list_launches()
        assert read.message.to_json() == read.reason.message.to_json() == MESSAGE.to_json()
        await store.insert_launch(replace(launch, id=new_id(), message="Pulling", reason=None))
        plain = next(each for each in await store.list_launches() if each.reason is None)
        assert type(plain.message) is str
    finally:
        await store.close()


def test_the_migration_leaves_old_reasons_and_can_be_undone(tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path}/binder.sqlite")
    config = Config()
    config.set_main_option("script_location", migrations.__path__[0])
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0004")
        had = {column["name"] for column in sa.inspect(connection).get_columns("builds")}
        old = {k: v for k, v in build_row(failed(MESSAGE)).items() if k in had}
        connection.execute(builds.insert().values(old))
        connection.commit()
        for revision in ("0005", "-1", "head"):
            step = command.downgrade if revision == "-1" else command.upgrade
            step(config, revision)
        (row,) = connection.execute(builds.select()).mappings()
        assert read_build(row).reason.message == "a.org has no file 3."
    engine.dispose()
