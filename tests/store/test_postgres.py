"""The store over a real PostgreSQL server that goes away, comes back, or has another owner."""

import asyncio
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from jupyterhub_binder.errors import ConfigurationError, StoreUnavailable
from jupyterhub_binder.store import database as database_module
from jupyterhub_binder.store import postgres
from jupyterhub_binder.store.database import Database

pytestmark = pytest.mark.postgres


@pytest.fixture
def url(postgres_server):
    return postgres_server.new_url()


@pytest.fixture
async def database(url):
    database = await Database.open(url)
    await database.run(lambda c: c.execute(sa.text("create table t (x text unique)")))
    yield database
    await database.close()


def put(connection, text):
    connection.execute(sa.text("insert into t values (:x)"), {"x": text})


def texts(connection):
    return sorted(connection.scalars(sa.text("select x from t")))


async def test_a_cut_connection_is_taken_up_again_and_nobody_notices(
    database, url, postgres_server
):
    await database.run(put, "before")
    assert postgres_server.end_sessions(url) == 1
    await database.run(put, "after")
    assert await database.run(texts) == ["after", "before"]
    assert database.reconnections == 1
    # It is the owner again.
    with pytest.raises(ConfigurationError, match="Stop the other service"):
        await Database.open(url)


async def test_a_transaction_that_is_cut_off_half_way_is_done_once(database, url, postgres_server):
    tries = []

    def cut_off(connection):
        put(connection, "once")
        tries.append(len(tries))
        if len(tries) == 1:
            postgres_server.end_sessions(url)
        put(connection, "twice")

    await database.run(cut_off)
    assert tries == [0, 1]
    assert await database.run(texts) == ["once", "twice"]


async def test_a_server_that_restarts_in_mid_work_is_waited_for(database, postgres_server):
    await database.run(put, "before")
    postgres_server.stop()
    starting = threading.Timer(0.3, postgres_server.start)
    starting.start()
    try:
        await database.run(put, "after")
    finally:
        starting.join()
    assert await database.run(texts) == ["after", "before"]


async def test_a_server_that_stays_away_is_said_and_found_again(
    database, postgres_server, monkeypatch
):
    monkeypatch.setattr(database_module, "_RECONNECT_SECONDS", 0.3)
    postgres_server.stop()
    try:
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="at the moment"):
                await database.run(texts)
    finally:
        postgres_server.start()
    assert await database.run(texts) == []


async def test_a_commit_that_may_have_been_kept_is_not_done_again(database, monkeypatch):
    done = []

    def commit_and_fail(connection):
        done.append(connection)
        connection.connection.dbapi_connection.close()

    with pytest.raises(StoreUnavailable):
        await database.run(commit_and_fail)
    assert len(done) == 1
    assert await database.run(texts) == []


async def test_another_owner_in_the_meantime_is_left_alone_for_good(database, url, postgres_server):
    told = threading.Event()
    database.ownership_lost.connect(told.set)
    with postgres_server.connect() as outside:
        # Between the cut and the next question another service is quicker.
        postgres_server.end_sessions(url)
        assert not outside.closed
        other = await Database.open(url)
        await other.run(put, "theirs")
        with pytest.raises(
            StoreUnavailable, match="another jupyterhub-binder service has taken over"
        ):
            await database.run(put, "ours")
        assert told.is_set()
        assert await other.run(texts) == ["theirs"]
        await other.close()
    # What it knows is of before: it must be started anew.
    with pytest.raises(StoreUnavailable, match="another jupyterhub-binder service has taken over"):
        await database.run(texts)


async def test_a_session_of_our_own_that_the_server_holds_for_alive_is_ended(database, url):
    old = database._connection
    assert old is not None
    database._connection = None  # as after a cut that only this side has noticed
    assert await database.run(texts) == []
    assert database.reconnections == 1
    old.invalidate()


async def test_a_foreign_lock_is_never_broken(url):
    engine = postgres.make_engine(sa.make_url(url).set(drivername="postgresql+psycopg"))
    with engine.connect() as owner:
        assert postgres.take_lock(owner)
        with pytest.raises(ConfigurationError, match="Stop the other service"):
            await Database.open(url)
        assert owner.scalar(sa.text("select 1")) == 1


async def test_a_text_with_nul_is_kept_with_a_mark_in_its_place(database):
    await database.run(put, "a\0b")
    assert await database.run(texts) == ["a\ufffdb"]


async def test_a_wrong_password_is_said_without_showing_any(url, postgres_server):
    wrong = url.replace(postgres_server.password, "wr0ng-pass")
    with pytest.raises(ConfigurationError, match="can't open") as refused:
        await Database.open(wrong)
    assert "wr0ng-pass" not in str(refused.value)
    assert "password authentication failed" in str(refused.value)


async def test_a_failing_statement_does_not_show_its_values(database):
    await database.run(put, "a-secret")
    with pytest.raises(sa.exc.IntegrityError) as failed:
        await database.run(put, "a-secret")
    assert "parameters hidden" in str(failed.value)


async def test_a_close_while_the_server_is_gone_is_a_close(url, postgres_server, monkeypatch):
    monkeypatch.setattr(database_module, "_RECONNECT_SECONDS", 0.0)
    database = await Database.open(url)
    postgres_server.stop()
    try:
        async with asyncio.timeout(20):
            await database.close()
            await database.close()
    finally:
        postgres_server.start()


async def test_a_missing_driver_is_said_with_what_to_install(url, monkeypatch):
    def missing(_):
        raise ImportError("psycopg")

    monkeypatch.setattr(postgres, "make_engine", missing)
    with pytest.raises(ConfigurationError, match=r"jupyterhub-binder\[postgres\]"):
        await Database.open(url)


def test_the_server_of_the_tests_is_nobodys_but_theirs(postgres_server):
    assert Path(postgres_server.folder).stat().st_uid != 0
    assert postgres_server.execute("show listen_addresses") == [("",)]
