"""The smoke test on real engines: a container of each finished image."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from jupyterhub_binder.backends.repo2docker.builder import Builder
from jupyterhub_binder.errors import BuildFailed
from jupyterhub_binder.utils.names import new_id
from tests.kit.backend_repo2docker import SERVER
from tests.kit.buildx import find_config
from tests.kit.engine import BASE_IMAGE
from tests.kit.jobs import collect, image_of, job_of, lines
from tests.kit.real_builds import build_pack_job

pytestmark = pytest.mark.docker


async def test_smoke_test_of_a_build_pack_leaves_nothing_in_the_image_or_beside_it(
    make_backend, docker_engine, tmp_path, docker
):
    backend = await make_backend(base_packages=["cowsay"], **docker)
    engine = backend.container_engine
    nameless = {image.id for image in await engine.list_images("dangling=true")}
    # What runs at each start may go on after the server, and hide how that ended.
    job = build_pack_job(tmp_path, says="echo 6.0.9", start='#!/bin/sh\n"$@"\ntrue\n')
    outputs = await collect(backend, job)
    said = lines(outputs)
    assert "The image has jupyterhub-singleuser 6.0.9" in said
    assert "Checking that a server can start from the image" in said
    assert {image.id for image in await engine.list_images("dangling=true")} <= nameless
    script = "ls -A ~; ls -A /srv/repo"
    shown = docker_engine.run("run", "--rm", image_of(outputs).name, "sh", "-c", script)
    assert "binder" not in shown
    assert list(Path(backend.work_dir).iterdir()) == []


@pytest.mark.parametrize(
    ("ends", "reason"),
    [
        ("COPY --chown=1000 name /srv/repo/\n", ""),
        ("", ""),  # the files are added to it
        ("ENTRYPOINT exec env\n", "does not run commands"),
        # Build arguments are not variables of the image.
        (
            'ENTRYPOINT ["/bin/sh", "-euc", ": $NB_USER; exec \\"$@\\"", "--"]\n',
            "NB_USER|does not run commands",
        ),
        # A shell would run it, an engine does not.
        (
            "RUN printf 'exec \"$@\"\\n' > /tmp/a && chmod 755 /tmp/a\n"
            'ENTRYPOINT ["/tmp/a"]\nCOPY --chown=1000 name /srv/repo/\n',
            "exec format error",
        ),
    ],
)
async def test_smoke_test_goes_through_the_entrypoint_of_a_dockerfile(
    make_backend, docker_engine, tmp_path, docker, ends, reason
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
    with pytest.raises(BuildFailed, match=reason) if reason else nullcontext():
        outputs = await collect(backend, job)
        assert "The image has jupyterhub-singleuser 6.0.7" in lines(outputs)
        found = docker_engine.run("run", "--rm", image_of(outputs).name, "ls", "-A", "/srv/repo")
        assert "name" in found.split()
    if engine.builder is not Builder.LEGACY:  # Docker's first builder leaves stages
        assert {image.id for image in await engine.list_images("dangling=true")} <= nameless
    assert list(Path(backend.work_dir).iterdir()) == []


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        ("exit 3", "`jupyterhub-singleuser --version` fails in it"),
        ("echo 3.1.0", "it has jupyterhub-singleuser 3.1.0, but this hub needs"),
    ],
)
async def test_build_pack_whose_server_does_not_start_is_a_failed_build(
    make_backend, tmp_path, docker, says, reason
):
    backend = await make_backend(base_packages=["cowsay"], **docker)
    with pytest.raises(BuildFailed, match=reason):
        await collect(backend, build_pack_job(tmp_path, says=says))


async def test_smoke_test_goes_through_an_entrypoint_of_the_appendix(make_backend, tmp_path):
    backend = await make_backend(
        base_packages=["cowsay"],
        appendix="ENTRYPOINT /usr/local/bin/repo2docker-entrypoint \\\n  nosuchprogram",
        docker_config=find_config(),
    )
    with pytest.raises(BuildFailed, match="no server can start from it"):
        await collect(backend, build_pack_job(tmp_path, says="echo 6.0.9"))


@pytest.mark.parametrize(
    ("dockerfile", "why"),
    [
        (SERVER, "user id 0"),
        (f"{SERVER}USER 1000\nENV HOME=/root\n", "can't write to the home directory, /root"),
        (f"FROM {BASE_IMAGE}\nRUN useradd -mu 1000 a\nENV HOME=/home/a\nUSER a\n", "fails in it"),
        (f"{SERVER}RUN sed -i s/5.4.0/3.1.1/ /usr/local/bin/*er\nUSER 1000\n", r"user 3\.1\.1"),
        (f'{SERVER}USER 1000\nENTRYPOINT ["true"]\n', "entrypoint"),
        (f'{SERVER}USER 1000\nENTRYPOINT ["/nothing"]\n', "nothing"),
        (f'{SERVER}USER 1000\nENTRYPOINT ["sleep", "1000", "#"]\n', "sleep|hang"),
        (f'{SERVER}USER 1000\nENTRYPOINT ["sh", "-c", "sleep 1000"]\n', "did not finish"),
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
