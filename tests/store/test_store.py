import asyncio

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from jupyterhub_binder.errors import ConfigurationError, StoreUnavailable
from jupyterhub_binder.store import Store, migrations
from jupyterhub_binder.store.database import Database
from jupyterhub_binder.store.tables import metadata


@pytest.fixture
def url(database_url):
    return database_url


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path}/binder.sqlite"


def engine_of(url):
    """Return an engine as the tests' own, who look at what is there."""
    url = sa.make_url(url)
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    return sa.create_engine(url)


async def test_a_new_database_has_the_newest_tables(url):
    store = await Store.open(url)
    await store.close()
    engine = engine_of(url)
    with engine.connect() as connection:
        assert migrations.current_revision(connection) == migrations.HEAD
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


async def test_a_second_service_is_refused_in_words(url):
    store = await Store.open(url)
    with pytest.raises(ConfigurationError, match="Stop the other service"):
        await Store.open(url)
    await store.close()
    again = await Store.open(url)
    await again.close()
    await again.close()


async def test_a_database_of_a_newer_version_is_refused_and_left_alone(url):
    await (await Store.open(url)).close()
    engine = engine_of(url)
    with engine.begin() as connection:
        connection.execute(sa.text("update alembic_version set version_num = '9999'"))
    engine.dispose()
    with pytest.raises(ConfigurationError, match="newer"):
        await Store.open(url)


async def test_a_copy_is_kept_before_an_upgrade(sqlite_url, tmp_path, monkeypatch):
    await (await Store.open(sqlite_url)).close()
    before = migrations.HEAD
    monkeypatch.setattr(migrations, "HEAD", "next")
    monkeypatch.setattr(migrations, "_run_alembic", lambda connection, revision: None)
    await (await Store.open(sqlite_url)).close()
    copy = sa.create_engine(f"sqlite:///{tmp_path}/binder.sqlite.{before}.bak")
    with copy.connect() as connection:
        assert migrations.current_revision(connection) == before
    copy.dispose()


@pytest.mark.parametrize(
    "url",
    ["nonsense", "sqlite:////proc/nowhere/binder.sqlite", "oracle://x/y", "mysql+nothing://x"],
)
async def test_a_url_that_cannot_work_names_the_trait(url):
    with pytest.raises(ConfigurationError, match="database_url"):
        await Store.open(url)


async def test_a_database_that_cannot_be_written_is_unavailable_and_recovers(sqlite_url):
    database = await Database.open(sqlite_url)
    await database.run(lambda connection: connection.execute(sa.text("create table t (x)")))
    await database.run(lambda connection: connection.execute(sa.text("pragma max_page_count = 1")))

    def fill(connection):
        connection.execute(sa.text("insert into t values (zeroblob(1000000))"))

    with pytest.raises(StoreUnavailable, match="disk space"):
        await database.run(fill)
    await database.run(
        lambda connection: connection.execute(sa.text("pragma max_page_count = 1000000"))
    )
    await database.run(fill)
    assert await database.run(lambda c: c.scalar(sa.text("select count(*) from t"))) == 1
    await database.close()


async def test_a_failed_transaction_leaves_nothing(url):
    database = await Database.open(url)
    await database.run(lambda connection: connection.execute(sa.text("create table t (x integer)")))

    def half(connection):
        connection.execute(sa.text("insert into t values (1)"))
        raise KeyError("half way")

    with pytest.raises(KeyError):
        await database.run(half)
    assert await database.run(lambda c: c.scalar(sa.text("select count(*) from t"))) == 0
    await database.close()


# --- What waits at the same moment shares a transaction -----------------------------------------


@pytest.fixture
async def shared(url):
    """A database with an empty table, and a list of the transactions that were counted."""
    database = await Database.open(url)
    await database.run(lambda connection: connection.execute(sa.text("create table t (x integer)")))
    counted = []
    database.transaction_ended.connect(lambda _, failed: counted.append(failed))
    yield database, counted
    await database.close()


def adding(number, *, refuse=False):
    def add(connection):
        connection.execute(sa.text("insert into t values (:x)"), {"x": number})
        if refuse:
            raise KeyError(number)
        return number

    return add


async def numbers_of(database):
    return await database.run(lambda c: list(c.scalars(sa.text("select x from t order by x"))))


async def test_many_at_once_share_few_transactions_and_each_gets_its_own_answer(shared):
    database, counted = shared
    assert await asyncio.gather(*(database.run(adding(n)) for n in range(20))) == [*range(20)]
    assert len(counted) < 20
    assert await numbers_of(database) == [*range(20)]


async def test_one_that_fails_takes_nobody_with_it_and_leaves_nothing(shared):
    database, _ = shared
    asked = [database.run(adding(n, refuse=n == 3)) for n in range(8)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(answers.pop(3), KeyError)
    assert answers == [0, 1, 2, 4, 5, 6, 7]
    assert await numbers_of(database) == [0, 1, 2, 4, 5, 6, 7]


async def test_one_that_the_database_refuses_takes_nobody_with_it(shared):
    database, _ = shared

    def ask_nonsense(connection):
        connection.execute(sa.text("select * from nowhere"))

    asked = [database.run(ask_nonsense if n == 3 else adding(n)) for n in range(8)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(answers.pop(3), StoreUnavailable | sa.exc.ProgrammingError)
    assert answers == [0, 1, 2, 4, 5, 6, 7]
    assert await numbers_of(database) == [0, 1, 2, 4, 5, 6, 7]


async def test_nobody_waits_for_long_for_those_behind(shared, monkeypatch):
    database, _ = shared
    monkeypatch.setattr("jupyterhub_binder.store.database._TOGETHER_SECONDS", 0)
    order = []

    async def ask(number):
        await database.run(adding(number))
        order.append((number, await numbers_of(database)))

    await asyncio.gather(*(ask(n) for n in range(4)))
    assert [number for number, _ in order] == [0, 1, 2, 3]
    assert await numbers_of(database) == [0, 1, 2, 3]


async def test_what_was_asked_for_is_done_before_it_is_closed(url):
    database = await Database.open(url)
    await database.run(lambda connection: connection.execute(sa.text("create table t (x integer)")))
    asked = [asyncio.ensure_future(database.run(adding(n))) for n in range(5)]
    await asyncio.sleep(0)
    await database.close()
    assert await asyncio.gather(*asked) == [*range(5)]
    with pytest.raises(RuntimeError):
        await database.run(adding(6))


async def test_who_leaves_is_not_waited_for(shared):
    database, _ = shared
    staying, leaving = (asyncio.ensure_future(database.run(adding(n))) for n in (1, 2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == 1
    assert 1 in await numbers_of(database)
