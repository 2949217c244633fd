"""Packages, channels and files that mean harm. Every build here is real."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyterhub_binder.errors import BuildFailed
from tests.backends.venv.conda.test_conda_builds import environment, fail, start
from tests.kit.conda import CondaChannel
from tests.kit.jobs import collect, collect_into, image_of, job_of, lines

pytestmark = pytest.mark.sandbox


@pytest.fixture
def channel(tmp_path) -> CondaChannel:
    made = CondaChannel(tmp_path / "channel" / "tests")
    made.add_python()
    made.add_server()
    return made


def everything_in(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*") if "environments" not in path.parts}


@pytest.mark.parametrize(
    "paths",
    [
        [{"_path": "../../../outside", "path_type": "hardlink", "sha256": "0" * 64}],
        [{"_path": "/tmp/outside", "path_type": "hardlink", "sha256": "0" * 64}],
        [{"_path": "lib/../../../outside", "path_type": "directory"}],
    ],
)
async def test_a_path_that_leads_out_of_the_environment_writes_nothing_there(
    channel, tmp_path, paths
):
    channel.add("harm", files={"outside": "x", "tmp/outside": "x"}, paths=paths)
    backend = await start(tmp_path, channel)
    before = everything_in(tmp_path)
    with pytest.raises(BuildFailed):
        await collect(backend, job_of(tmp_path / "environments/co", environment("harm")))
    assert everything_in(tmp_path) == before
    assert not Path("/tmp/outside").exists()
    assert list(Path(backend.environments_root).glob("[!.]*")) == [tmp_path / "environments/co"]


async def test_links_in_packages_reach_no_file_of_the_machine(channel, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("the service's own")
    target = tmp_path / "target"
    target.mkdir()
    # The first is read as a file, the second is a folder that the other package writes into.
    as_file = [{"_path": "share/stolen", "path_type": "hardlink", "sha256": "0" * 64}]
    channel.add("reads", links={"share/stolen": str(secret)}, paths=as_file)
    channel.add("links", links={"lib/elsewhere": str(target)})
    channel.add("writes", depends=["links"], files={"lib/elsewhere/file": "x"})
    backend = await start(tmp_path, channel)
    await collect(backend, job_of(tmp_path / "a", environment("reads")))
    await collect(backend, job_of(tmp_path / "b", environment("writes")))
    assert list(target.iterdir()) == []
    (stolen,) = Path(backend.environments_root).glob("*/share/stolen")
    assert stolen.is_symlink()  # what it leads to was not there when it was linked


async def test_a_file_with_another_checksum_is_refused_before_it_is_unpacked(channel, tmp_path):
    channel.add("words", listed={"sha256": "0" * 64})
    backend = await start(tmp_path, channel)
    failed = await fail(backend, tmp_path / "co", "words")
    assert (failed.error_code, failed.message) == (
        "conda_bad_checksum",
        "words-1.0-0.tar.bz2 is not the file that its checksum describes.",
    )
    cache = Path(backend.environments_root) / ".wheels/conda/archives"
    assert list(cache.rglob("*words*")) == []


async def test_a_channel_of_the_service_itself_is_never_asked(channel, tmp_path):
    asked: list[str] = []
    backend = await start(tmp_path, channel)
    for n, (channels, package) in enumerate(
        [
            (["http://127.0.0.1:8081/hub"], "words"),
            (["tests"], "http://127.0.0.1:8081::words"),
            (["tests"], "words[channel=http://127.0.0.1:8081/x]"),
            (["tests"], "words[url=http://127.0.0.1:8081/words-1-0.conda]"),
            (["tests"], "http://127.0.0.1:8081/words-1.0-0.conda"),
            (["tests"], "/etc/words-1.0-0.tar.bz2"),
            ([channel.folder.parent.as_uri()], "words"),
        ]
    ):
        files = environment(package, channels=channels)
        job = job_of(tmp_path / f"co{n}", files)
        assert {one.code for one in backend.assess(job.recipe, {}).problems} <= {
            "channel_refused",
            "requirement_refused",
        }
        assert backend.assess(job.recipe, {}).problems, package
        with pytest.raises(BuildFailed):
            await collect_into(asked, backend, job)
    assert not any("127.0.0.1" in line for line in lines(asked))


SCRIPT = "touch $PREFIX/ran && (id -u; cat /proc/net/dev) > $PREFIX/seen\n"


async def test_post_link_scripts_do_not_run_and_the_log_says_so(channel, tmp_path):
    channel.add("scripted", files={"bin/.scripted-post-link.sh": SCRIPT})
    backend = await start(tmp_path, channel)
    outputs = await collect(backend, job_of(tmp_path / "a", environment("scripted")))
    made = Path(backend.environments_root) / image_of(outputs).name.removeprefix("venv:")
    assert not (made / "ran").exists()
    assert any("post-link scripts of scripted" in line for line in lines(outputs))


async def test_post_link_scripts_run_in_the_sandbox_if_the_admin_allows_it(channel, tmp_path):
    channel.add("scripted", files={"bin/.scripted-post-link.sh": SCRIPT})
    backend = await start(tmp_path, channel, run_link_scripts=True)
    outputs = await collect(backend, job_of(tmp_path / "b", environment("scripted")))
    made = Path(backend.environments_root) / image_of(outputs).name.removeprefix("venv:")
    seen = (made / "seen").read_text()
    assert seen.splitlines()[0] == "1000"
    assert "eth0" not in seen


@pytest.mark.parametrize("script", ["exit 3\n", "kill -9 $$\n"])
async def test_a_post_link_script_that_fails_ends_the_build(channel, tmp_path, script):
    channel.add("scripted", files={"bin/.scripted-post-link.sh": "true\n"})
    channel.add("failing", files={"bin/.failing-post-link.sh": script})
    backend = await start(tmp_path, channel, run_link_scripts=True)
    outputs = []
    with pytest.raises(BuildFailed, match="can't be installed"):
        await collect_into(
            outputs, backend, job_of(tmp_path / "c", environment("failing", "scripted"))
        )
    assert any("post-link script of failing failed" in line for line in lines(outputs))


async def test_environments_and_the_cache_have_no_file_in_common(channel, tmp_path):
    channel.add("words", files={"share/words": "one"})
    backend = await start(tmp_path, channel)
    made = [
        Path(backend.environments_root) / image_of(outputs).name.removeprefix("venv:")
        for outputs in [
            await collect(backend, job_of(tmp_path / name, environment("words", name=name)))
            for name in "ab"
        ]
    ]
    files = [(folder / "share/words").stat() for folder in made]
    assert [each.st_nlink for each in files] == [1, 1]
    assert not list(made[0].glob(".unpacking"))


async def test_an_entry_point_that_leads_out_is_refused(channel, tmp_path):
    channel.add(
        "harm",
        depends=["python"],
        files={"site-packages/harm.py": ""},
        programs=["../../../outside = harm:main"],
        noarch=True,
    )
    failed = await fail(await start(tmp_path, channel), tmp_path / "co", "harm")
    assert failed.error_code == "conda_not_installed"
