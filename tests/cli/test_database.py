"""`jupyterhub-binder db` beside a service that runs, and after it."""

import asyncio
import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from jupyterhub_binder.cli import main
from jupyterhub_binder.model import BuildState
from jupyterhub_binder.store import Store, migrations
from tests.kit.parts import open_service


async def run(url: str, *args: str) -> tuple[int, str]:
    """Run a command; return its exit status and all it said."""
    variables = {"JUPYTERHUB_BINDER_DATABASE_URL": url}
    command = ["db", *map(str, args)]
    done = await asyncio.to_thread(CliRunner().invoke, main, command, env=variables)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


@pytest.fixture(autouse=True)
def _no_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JUPYTERHUB_BINDER_CONFIG", raising=False)


async def names(url: str) -> list[str]:
    store = await Store.open(url)
    try:
        return [each.name for each in (await store.list_environments(owner="alice")).items]
    finally:
        await store.close()


async def test_a_backup_of_a_busy_service_comes_back_whole(database_url, tmp_path):
    service = await open_service(tmp_path, database=database_url)
    try:
        first = await service.create(name="kept", fake={"lines": 500})
        busy = await service.create(name="busy", ref="other", fake={"gate": "g"})
        await service.backend.gate("g").reached.wait()
        await service.finished(first.latest.build.id)
        status, said = await run(database_url, "backup", tmp_path / "copy")
        assert status == 0, said
        assert (tmp_path / "copy").stat().st_mode & 0o077 == 0
        await service.create(name="later", ref="later")
        status, said = await run(database_url, "restore", tmp_path / "copy")
        assert (status, "Stop the other service" in said) == (1, True)
        status, said = await run(database_url, "check")
        assert status == 0, said
        service.backend.gate("g").open()
        await service.finished(busy.latest.build.id)
    finally:
        await service.stop()
    assert sorted(await names(database_url)) == ["busy", "kept", "later"]

    status, said = await run(database_url, "restore", tmp_path / "copy")
    assert status == 0, said
    assert sorted(await names(database_url)) == ["busy", "kept"]
    again = await open_service(tmp_path, database=database_url)
    try:  # what was under way is taken up
        again.backend.gate("g").open()
        assert (await again.finished(busy.latest.build.id)).state is BuildState.BUILT
        lines = await again.store.fetch_events(first.latest.build.id)
        assert [line.seq for line in lines] == list(range(1, len(lines) + 1))
        assert len(lines) > 500
    finally:
        await again.stop()

    replaced = Path(said.partition("is kept in ")[2].splitlines()[0].removesuffix("."))
    assert replaced.stat().st_mode & 0o077 == 0
    status, said = await run(database_url, "restore", replaced)
    assert status == 0, said
    assert sorted(await names(database_url)) == ["busy", "kept", "later"]


async def test_nothing_is_written_over(database_url, tmp_path):
    await (await Store.open(database_url)).close()
    (tmp_path / "copy").write_text("mine")
    status, said = await run(database_url, "backup", tmp_path / "copy")
    assert (status, "already exists" in said) == (1, True)
    assert (tmp_path / "copy").read_text() == "mine"
    status, said = await run(database_url, "backup", tmp_path / "none" / "copy")
    assert (status, "Can't write" in said) == (1, True)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".copy")]


async def test_a_folder_keeps_the_newest_backups_and_whatever_else_is_there(database_url, tmp_path):
    await (await Store.open(database_url)).close()
    folder = tmp_path / "backups"
    folder.mkdir()
    ending = "sqlite" if database_url.startswith("sqlite") else "pgdump"
    old = [folder / f"binder-2026-03-0{day}T031500.{ending}" for day in (1, 2, 3)]
    mine = [folder / "binder-before-the-upgrade.sqlite", folder / "notes"]
    for path in [*old, *mine]:
        path.write_text("")
    status, said = await run(database_url, "backup", "--keep", "2", folder)
    assert status == 0, said
    left = set(folder.iterdir())
    assert left > {old[2], *mine}
    [new] = left - {old[2], *mine}
    assert f"Wrote {new}" in said
    assert [f"Removed {path}" in said for path in old] == [True, True, False]
    status, said = await run(database_url, "restore", new)
    assert status == 0, said


async def test_a_backup_that_fails_removes_none(tmp_path):
    old = [tmp_path / f"binder-2026-03-0{day}T031500.sqlite" for day in (1, 2)]
    for path in old:
        path.write_text("")
    status, _ = await run(f"sqlite:///{tmp_path}/none.sqlite", "backup", "--keep", "1", tmp_path)
    assert status == 1
    assert sorted(tmp_path.iterdir()) == old


async def test_only_a_folder_can_keep_backups(database_url, tmp_path):
    for target in ("-", tmp_path / "copy"):
        status, said = await run(database_url, "backup", "--keep", "7", target)
        assert (status, "--keep needs a folder" in said) == (2, True)


async def test_a_backup_goes_into_a_pipe(database_url, tmp_path):
    await (await Store.open(database_url)).close()
    command = [sys.executable, "-m", "jupyterhub_binder", "db", "backup", "-"]
    done = await asyncio.to_thread(
        subprocess.run,
        command,
        capture_output=True,
        env={"JUPYTERHUB_BINDER_DATABASE_URL": database_url, "PATH": "/usr/bin:/bin"},
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith((b"SQLite format 3\0", b"PGDMP"))


async def test_what_is_no_backup_is_refused_and_nothing_is_lost(database_url, tmp_path):
    service = await open_service(tmp_path, database=database_url)
    await service.create(name="kept")
    await service.stop()
    other = tmp_path / "other"
    kinds = {"text": b"not a copy", "sqlite": b"SQLite format 3\0" + b"x" * 5000, "pg": b"PGDMPx"}
    for content in kinds.values():
        other.write_bytes(content)
        status, said = await run(database_url, "restore", other)
        assert status == 1
        assert "Traceback" not in said
    assert await names(database_url) == ["kept"]


async def test_a_backup_of_a_newer_version_is_refused(tmp_path):
    url = f"sqlite:///{tmp_path}/binder.sqlite"
    await (await Store.open(url)).close()
    assert (await run(url, "backup", tmp_path / "copy"))[0] == 0
    with closing(sqlite3.connect(tmp_path / "copy")) as copy, copy:
        copy.execute("update alembic_version set version_num = '9999'")
    status, said = await run(url, "restore", tmp_path / "copy")
    assert (status, "written by a newer" in said) == (1, True)
    # The database itself, too.
    with closing(sqlite3.connect(tmp_path / "binder.sqlite")) as copy, copy:
        copy.execute("update alembic_version set version_num = '9999'")
    status, said = await run(url, "check")
    assert (status, "of a newer version" in said) == (1, True)
    assert (await run(url, "upgrade"))[0] == 1


async def test_a_restore_writes_through_no_link_and_is_nobody_elses_to_read(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/binder.sqlite"
    await (await Store.open(url)).close()
    assert (await run(url, "backup", tmp_path / "copy"))[0] == 0
    victim = tmp_path / "victim"
    victim.write_text("theirs")
    (tmp_path / "binder.sqlite.restoring").symlink_to(victim)
    modes = []
    copyfile = shutil.copyfile

    def copy(source: Path, target: Path) -> None:
        modes.append(Path(target).stat().st_mode & 0o777)
        copyfile(source, target)

    monkeypatch.setattr(shutil, "copyfile", copy)
    assert (await run(url, "restore", tmp_path / "copy"))[0] == 0
    assert victim.read_text() == "theirs"
    assert modes == [0o600]
    written = [*tmp_path.glob("binder.sqlite.replaced-*"), tmp_path / "binder.sqlite"]
    assert [path.stat().st_mode & 0o777 for path in written] == [0o600, 0o600]


async def test_an_old_backup_is_brought_up_to_this_version(tmp_path):
    url = f"sqlite:///{tmp_path}/binder.sqlite"
    old = tmp_path / "old"
    engine = migrations.sa.create_engine(f"sqlite:///{old}")
    with engine.connect() as connection:
        from alembic import command

        config = migrations._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    engine.dispose()
    status, said = await run(url, "restore", old)
    assert status == 0, said
    assert f"from revision 0001 to {migrations.HEAD}" in said
    assert await run(url, "version") == (0, f"{migrations.HEAD}\t{migrations.HEAD}\n")
    assert (await run(url, "check"))[0] == 0


async def test_check_finds_damage_and_rows_that_lead_nowhere(tmp_path):
    url = f"sqlite:///{tmp_path}/binder.sqlite"
    service = await open_service(tmp_path)
    await service.finished((await service.create()).latest.build.id)
    await service.stop()
    url = f"sqlite:///{tmp_path}/binder.sqlite"
    if not (tmp_path / "binder.sqlite").exists():
        pytest.skip("is about SQLite's own checks")
    with closing(sqlite3.connect(tmp_path / "binder.sqlite")) as database, database:
        database.execute("delete from builds")
        database.execute("update environments set current_number = 7")
    status, said = await run(url, "check", "--json")
    findings = {each["about"]: each for each in json.loads(said)}
    assert status == 1
    assert {about for about, each in findings.items() if not each["ok"]} == {
        "references",
        "environments",
    }
    assert all(bool(each["advice"]) is not each["ok"] for each in findings.values())
    with (tmp_path / "binder.sqlite").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 8192)
    status, said = await run(url, "check")
    assert status == 1
    assert "Traceback" not in said


async def test_check_says_which_images_are_gone(database_url, tmp_path):
    service = await open_service(tmp_path, database=database_url)
    environment = await service.create()
    build = await service.finished(environment.latest.build.id)
    await service.store.update_build(build.id, {"image": "venv:gone-key"})
    await service.stop()
    status, said = await run(database_url, "check")
    assert status == 1
    assert "1 folder is missing" in said
    assert "used by 1 environment:" in said
    assert "built again when somebody starts it" in said


async def test_check_looks_where_configure_has_environments_lie(tmp_path):
    state = tmp_path / "binder"
    state.mkdir()
    service = await open_service(tmp_path, database=f"sqlite:///{state}/binder.sqlite")
    environment = await service.create()
    build = await service.finished(environment.latest.build.id)
    await service.store.update_build(build.id, {"image": "venv:some-key"})
    await service.stop()
    command = ["db", "check", "--state", str(state)]
    done = await asyncio.to_thread(CliRunner().invoke, main, command)
    assert f"missing from {tmp_path}/binder-environments, " in done.output


async def test_a_missing_database_is_said(tmp_path):
    for command in (["backup", "x"], ["check"], ["version"], ["upgrade"]):
        status, said = await run(f"sqlite:///{tmp_path}/none.sqlite", *command)
        assert (status, "There is no database" in said) == (1, True), said
    assert not list(tmp_path.glob("none.sqlite*"))


@pytest.mark.postgres
async def test_a_password_is_no_argument_and_never_said(postgres_server, tmp_path, monkeypatch):
    tools = tmp_path / "bin"
    tools.mkdir()
    fake = tools / "pg_dump"
    fake.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/args; echo "no, $PGUSER" >&2; exit 1\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    url = postgres_server.new_url()
    status, said = await run(url, "backup", tmp_path / "copy")
    assert (status, "pg_dump failed: no, binder" in said) == (1, True)
    assert postgres_server.password not in said + (tmp_path / "args").read_text()
    fake.unlink()
    monkeypatch.setenv("PATH", str(tools))
    status, said = await run(url, "backup", tmp_path / "copy")
    assert (status, "postgresql-client" in said) == (1, True)
    assert postgres_server.password not in said
