"""Whether a server starts from an image: tried while it is written, and by itself."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from jupyterhub_binder.backends import r2d_build, r2d_smoke
from jupyterhub_binder.backends.builder import Builder
from jupyterhub_binder.errors import BuildFailed
from jupyterhub_binder.slugs import new_id
from tests.backends.jobs import collect, image_of, job_of, lines
from tests.backends.kit_repo2docker import SERVER

from .buildx import find_config
from .engine import BASE_IMAGE
from .kit import SAYS_A_VERSION, build_pack_job

pytestmark = pytest.mark.docker


async def test_image_of_a_build_pack_is_tried_while_it_is_written(
    make_backend, docker_engine, tmp_path, docker, tried
):
    backend = await make_backend(base_packages=["cowsay"], **docker)
    engine = backend.container_engine
    nameless = {image.id for image in await engine.list_images("dangling=true")}
    # What runs at each start may go on after the server, and hide how that ended.
    job = build_pack_job(tmp_path, says="echo 6.0.9", start='#!/bin/sh\n"$@"\ntrue\n')
    outputs = await collect(backend, job)
    said = lines(outputs)
    assert "It does: jupyterhub-singleuser 6.0.9" in said
    begins = "Trying whether a server starts from the image"
    beside = engine.builder in (Builder.BUILDX, Builder.BUILDKIT)
    assert (f"{begins}, while it is written" in said) == beside
    assert (begins in said) != beside
    assert len(tried) == (0 if beside else 1)
    # Nothing of it stays, neither in the image nor beside it.
    assert {image.id for image in await engine.list_images("dangling=true")} <= nameless
    script = "ls -A ~; ls -A /srv/repo"
    shown = docker_engine.run("run", "--rm", image_of(outputs).name, "sh", "-c", script)
    assert "binder" not in shown
    assert list(Path(backend.work_dir).iterdir()) == []


@pytest.mark.parametrize(
    ("ends", "tried_itself"),
    [
        ("COPY --chown=1000 name /srv/repo/\n", 0),
        ("", 0),  # the files are added to it
        ("ENV PYTHONPATH=/srv/repo\n", 1),  # which its start may look at
        ("ENTRYPOINT exec env\n", 1),  # it runs no command
        # What a build alone knows is of no help to its image.
        ('ENTRYPOINT ["/bin/sh", "-euc", ": $NB_USER; exec \\"$@\\"", "--"]\n', 1),
        (
            'ARG \\\n# why\n NB_USER\nENTRYPOINT ["sh", "-euc", ": $NB_USER; exec \\"$@\\"", "--"]\n',
            1,
        ),
        # What a shell would run, and no engine does.
        (
            "RUN printf 'exec \"$@\"\\n' > /tmp/a && chmod 755 /tmp/a\n"
            'ENTRYPOINT ["/tmp/a"]\nCOPY --chown=1000 name /srv/repo/\n',
            1,
        ),
        ('ENTRYPOINT ["A=1"]\nCOPY --chown=1000 name /srv/repo/\n', 1),
    ],
)
async def test_image_of_a_dockerfile_is_tried_while_it_is_written(
    make_backend, docker_engine, tmp_path, docker, tried, ends, tried_itself
):
    backend = await make_backend(**docker)
    engine = backend.container_engine
    nameless = {image.id for image in await engine.list_images("dangling=true")}
    dockerfile = f"""ARG BASE={BASE_IMAGE}
FROM scratch AS one
COPY .dockerignore /
from ${{BASE}} AS two
COPY --from=0 .dockerignore /etc/ignored
ARG NB_USER
RUN printf '#!/bin/sh\\necho 6.0.7\\n' > /usr/bin/jupyterhub-singleuser \\
 && chmod 755 /usr/bin/jupyterhub-singleuser && touch /etc/kept-{new_id()}
ENV HOME=/home/jovyan
USER 1000
{ends}"""
    files = {"binder/Dockerfile": dockerfile, ".dockerignore": "other\n", "name": "a", "other": "b"}
    job = job_of(tmp_path / "checkout", files)
    beside = engine.builder in (Builder.BUILDX, Builder.BUILDKIT)
    wrong = "ENTRYPOINT" in ends
    reason = "NB_USER|does not run commands|exec format error|executable file not found"
    with pytest.raises(BuildFailed, match=reason) if wrong else nullcontext():
        outputs = await collect(backend, job)
        assert "It does: jupyterhub-singleuser 6.0.7" in lines(outputs)
        found = docker_engine.run("run", "--rm", image_of(outputs).name, "ls", "-A", "/srv/repo")
        assert "name" in found.split()
    assert len(tried) == (tried_itself if beside else 1)
    if beside:  # Docker's first builder leaves stages
        assert {image.id for image in await engine.list_images("dangling=true")} <= nameless
    assert list(Path(backend.work_dir).iterdir()) == []


async def test_trial_reads_a_dockerfile_as_its_build_does(
    make_backend, docker_engine, tmp_path, tried
):
    """With a byte order mark, and what to leave out in a file of the Dockerfile's own."""
    backend = await make_backend(docker_config=find_config())
    dockerfile = f"""\ufeff{SERVER}
COPY --chown=1000 . /srv/repo/
RUN test -e /srv/repo/kept && ! test -e /srv/repo/left-out && date > /etc/stamp
USER 1000
"""
    files = {
        "Dockerfile": dockerfile,
        "Dockerfile.dockerignore": "left-out\n",
        ".dockerignore": "kept\n",
        "kept": str(tmp_path),
        "left-out": "",
    }
    outputs = await collect(backend, job_of(tmp_path / "checkout", files))
    assert "It does: jupyterhub-singleuser 5.4.0" in lines(outputs)
    assert tried == []
    shown = docker_engine.run("run", "--rm", image_of(outputs).name, "ls", "-A", "/srv/repo")
    assert "kept" in shown.split()
    assert "left-out" not in shown.split()


async def test_last_command_runs_once_for_an_image_and_its_trial(
    make_backend, docker_engine, tmp_path, monkeypatch
):
    heard = []

    def check(said, expected):
        heard.append(list(said))
        return r2d_smoke.check(heard[-1], expected)

    monkeypatch.setattr(r2d_build, "check", check)
    backend = await make_backend(base_packages=["cowsay"], docker_config=find_config())
    post_build = SAYS_A_VERSION.format(says="echo 6.0.9") + "sleep 1; date +%s.%N > /srv/venv/stamp"
    start = '#!/bin/sh\necho "binder-smoke stamp $(cat /srv/venv/stamp)"\nexec "$@"\n'
    files = {"postBuild": post_build, "start": start, "name": str(tmp_path)}
    image = image_of(await collect(backend, job_of(tmp_path / "checkout", files)))
    stamp = docker_engine.run("run", "--rm", "--entrypoint=cat", image.name, "/srv/venv/stamp")
    assert f"binder-smoke stamp {stamp.strip()}" in heard[0]


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        ("exit 3", "`jupyterhub-singleuser --version` fails in it"),
        ("echo 3.1.0", "its jupyterhub-singleuser is 3.1.0, and this hub takes"),
    ],
)
async def test_trial_that_fails_is_repeated_on_the_image_itself(
    make_backend, tmp_path, docker, tried, says, reason
):
    backend = await make_backend(base_packages=["cowsay"], **docker)
    with pytest.raises(BuildFailed, match=reason):
        await collect(backend, build_pack_job(tmp_path, says=says))
    assert len(tried) == 1


async def test_entrypoint_that_the_trial_did_not_go_through_is_tried_itself(
    make_backend, tmp_path, tried
):
    # An appendix in other words than the build pack's: its shell form is none that is looked for.
    backend = await make_backend(
        base_packages=["cowsay"],
        appendix="ENTRYPOINT /usr/local/bin/repo2docker-entrypoint \\\n  nosuchprogram",
        docker_config=find_config(),
    )
    with pytest.raises(BuildFailed, match="no server could start from it"):
        await collect(backend, build_pack_job(tmp_path, says="echo 6.0.9"))
    assert len(tried) == 1


@pytest.mark.parametrize(
    ("dockerfile", "why"),
    [
        (SERVER, "user id 0"),
        (f"{SERVER}USER 1000\nENV HOME=/root\n", "cannot write to its home, /root"),
        (f"FROM {BASE_IMAGE}\nRUN useradd -mu 1000 a\nENV HOME=/home/a\nUSER a\n", "fails in it"),
        (f"{SERVER}RUN sed -i s/5.4.0/3.1.1/ /usr/local/bin/*er\nUSER 1000\n", r"is 3\.1\.1"),
        (f'{SERVER}USER 1000\nENTRYPOINT ["true"]\n', "entrypoint"),
        (f'{SERVER}USER 1000\nENTRYPOINT ["/nothing"]\n', "nothing"),
        (f'{SERVER}USER 1000\nENTRYPOINT ["sleep", "1000", "#"]\n', "sleep|hang"),
        (f'{SERVER}USER 1000\nENTRYPOINT ["sh", "-c", "sleep 1000"]\n', "did not end"),
    ],
)
async def test_image_that_no_server_starts_from_is_a_failed_build(
    make_backend, docker_engine, tmp_path, dockerfile, why
):
    backend = await make_backend(smoke_test_seconds=5)
    job = job_of(tmp_path / "checkout", {"Dockerfile": dockerfile})
    with pytest.raises(BuildFailed, match=why) as raised:
        await collect(backend, job)
    assert raised.value.error_code == "smoke_test_failed"
    assert await backend.find_image(job.build.key) is None
    assert docker_engine.list("ps", "--all", "--quiet") == []
