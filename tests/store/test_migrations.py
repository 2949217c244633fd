"""The migrations: in one line, numbered, and `HEAD` is the last. `make check` runs this, too."""

from __future__ import annotations

from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory

from jupyterhub_binder.store import migrations


def test_head_is_the_newest_migration_of_a_single_line() -> None:
    folder = Path(migrations.__file__).parent
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    newest_first = [each.revision for each in ScriptDirectory.from_config(config).walk_revisions()]
    files = sorted(path.name.partition("_")[0] for path in folder.glob("versions/0*.py"))
    assert newest_first[::-1] == files
    assert files[-1] == migrations.HEAD
