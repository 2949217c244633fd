"""The repo2docker backend with real repositories, a real engine and a real registry."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from jupyterhub_binder.backends import r2d_build, r2d_smoke, repo2docker
from jupyterhub_binder.backends.builder import Builder
from jupyterhub_binder.backends.r2d_build import KEY_LABEL
from jupyterhub_binder.backends.repo2docker import Repo2DockerBackend
from jupyterhub_binder.errors import BuildFailed, ConfigurationError
from jupyterhub_binder.model import Line, Phase
from jupyterhub_binder.slugs import new_id
from tests.backends.jobs import collect, collect_into, image_of, job_of, lines
from tests.backends.kit_repo2docker import SERVER
from tests.waiting import until

from .buildx import find_config
from .engine import BASE_IMAGE
from .registries import run_registry

pytestmark = pytest.mark.docker


def processes(word: str) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            if word in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


# --- Real repositories -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_requirements_become_an_image_that_servers_start_from(
    make_backend, docker_engine, tmp_path
):
    backend = await make_backend()
    files = {
        "requirements.txt": "cowsay==6.1\n",
        "apt.txt": "tree\n",
        "postBuild": "#!/bin/bash\ntree . && cowsay -t built > built.txt\n",
        "start": '#!/bin/bash\nexport GREETING=moo\nexec "$@"\n',
        "notebook.ipynb": "{}",
    }
    job = job_of(tmp_path / "checkout", files)
    outputs = await collect(backend, job)
    image = image_of(outputs)
    assert job.build.key in image.name
    assert image.name.endswith(job.build.resolved_ref)
    assert any("It does: jupyterhub-singleuser 6" in text for text in lines(outputs))

    def run(*command: str) -> str:
        return docker_engine.run("run", "--rm", "--network=none", image.name, *command).strip()

    assert (
        run("python", "-c", "import cowsay, os; print(cowsay.__name__, os.getuid())")
        == "cowsay 1000"
    )
    assert run("sh", "-c", "echo $GREETING $HOME") == "moo /home/jovyan"
    assert "built" in run("cat", "/srv/repo/built.txt")
    assert "/srv/venv/bin" in run("sh", "-c", "command -v jupyter-lab")
    labels = json.loads(docker_engine.run("image", "inspect", image.name))[0]["Config"]["Labels"]
    assert labels[KEY_LABEL] == job.build.key


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_package_of_the_repository_is_installed(make_backend, docker_engine, tmp_path):
    backend = await make_backend()
    files = {
        "pyproject.toml": (
            '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
            '[project]\nname = "mine"\nversion = "1"\n[tool.setuptools]\npy-modules = ["mine"]\n'
        ),
        "mine.py": "print('mine')\n",
    }
    image = image_of(await collect(backend, job_of(tmp_path / "checkout", files)))
    command = ["run", "--rm", "--workdir=/", image.name, "python", "-m", "mine"]
    assert docker_engine.run(*command).strip() == "mine"


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_dockerfile_with_a_real_server(make_backend, docker_engine, tmp_path):
    backend = await make_backend()
    dockerfile = f"""FROM {BASE_IMAGE}
RUN python3 -m venv /opt/venv && /opt/venv/bin/pip install --no-cache-dir uv \\
 && /opt/venv/bin/uv pip install --python /opt/venv jupyterhub==5.4.2 jupyterlab
ARG NB_USER
ARG NB_UID
RUN useradd --uid ${{NB_UID}} --create-home ${{NB_USER}}
ENV PATH=/opt/venv/bin:$PATH HOME=/home/${{NB_USER}}
WORKDIR $HOME
COPY --chown=${{NB_UID}} . $HOME
USER ${{NB_UID}}
"""
    job = job_of(tmp_path / "checkout", {"Dockerfile": dockerfile, "data.txt": "1"})
    outputs = await collect(backend, job)
    assert any("jupyterhub-singleuser 5.4.2" in text for text in lines(outputs))


async def test_missing_package_is_the_reason(make_backend, tmp_path):
    backend = await make_backend()
    job = job_of(tmp_path / "checkout", {"requirements.txt": "nosuchthing-at-all-9f3a==1\n"})
    with pytest.raises(BuildFailed, match="nosuchthing-at-all-9f3a"):
        await collect(backend, job)


# --- The smoke test, while the image is written --------------------------------------------------

SAYS_A_VERSION = """#!/bin/sh
printf '#!/bin/sh\\n%s\\n' '{says}' > /srv/venv/bin/jupyterhub-singleuser
chmod 755 /srv/venv/bin/jupyterhub-singleuser
"""


@pytest.fixture
def tried(monkeypatch):
    """Note the images that are tried by themselves."""
    images = []
    real = r2d_build.try_image

    async def try_image(engine, image, **rest):
        images.append(image)
        return await real(engine, image, **rest)

    monkeypatch.setattr(r2d_build, "try_image", try_image)
    return images


def build_pack_job(folder: Path, says: str, **files: str):
    """A repository without a Dockerfile, whose server is one that takes little time."""
    post_build = SAYS_A_VERSION.format(says=says)
    return job_of(folder / "checkout", {"postBuild": post_build, "name": str(folder), **files})


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


async def test_image_that_is_asked_for_anew_takes_over_no_step(
    make_backend, docker_engine, tmp_path
):
    backend = await make_backend(base_packages=["cowsay"], docker_config=find_config())
    post_build = SAYS_A_VERSION.format(says="echo 6.0.9") + "date +%s.%N > /srv/venv/stamp\n"
    job = job_of(tmp_path / "checkout", {"postBuild": post_build, "name": str(tmp_path)})
    anew = "Making the image anew, with no step of earlier ones"

    async def make(generation: int) -> tuple[str, str, bool]:
        build = replace(job.build, id=new_id(), generation=generation)
        outputs = await collect(backend, replace(job, build=build))
        image = image_of(outputs).name
        stamp = docker_engine.run("run", "--rm", image, "cat", "/srv/venv/stamp")
        return image, stamp, anew in lines(outputs)

    first, stamp, was_anew = await make(0)
    assert not was_anew
    second, other, was_anew = await make(1)
    assert was_anew
    assert other != stamp
    # What was removed to make room is made again out of what the engine still has of it.
    await backend.delete_image(first)
    await backend.delete_image(second)
    _, _, was_anew = await make(2)
    assert not was_anew


async def test_cache_mounts_of_a_repository_are_its_own(make_backend, tmp_path):
    backend = await make_backend(docker_config=find_config())
    mount = "RUN --mount=type=cache,target=/cache"

    async def say(repo: str, step: str) -> list[str]:
        dockerfile = f"{SERVER}{mount} : {tmp_path} {new_id()}; {step}\nUSER 1000\n"
        job = job_of(tmp_path / new_id(), {"Dockerfile": dockerfile})
        url = f"https://git.example.org/{repo}"
        job = replace(job, build=replace(job.build, id=new_id(), base_key=new_id(), clone_url=url))
        return lines(await collect(backend, job))

    await say("mine", "echo secret > /cache/file")
    assert any(line.endswith(" secret") for line in await say("mine", "cat /cache/file"))
    assert not any(line.endswith(" secret") for line in await say("other", "cat /cache/* || :"))


async def test_labels_of_an_image_remove_no_container(make_backend, docker_engine, tmp_path):
    """A container has its image's labels, and those of a base image may hold several lines."""
    backend = await make_backend()
    victim, base = f"victim-{new_id()}", f"evil-{new_id()}"
    docker_engine.run("run", "--detach", f"--name={victim}", BASE_IMAGE, "sleep", "1000")
    label = f"org.jupyter.binder.workspace=q\n{victim} x-1-1"
    docker_engine.run("create", f"--name={base}", BASE_IMAGE)
    docker_engine.run("commit", "--change", "USER 1000", base, base)
    docker_engine.run("rm", base)
    evil = docker_engine.run("run", "--detach", f"--label={label}", base, "sleep", "1000").strip()
    try:
        await make_backend()  # a start sweeps
        await collect(
            backend, job_of(tmp_path / "checkout", {"Dockerfile": f"{SERVER}USER 1000\n"})
        )
        running = docker_engine.run("ps", "--format={{.Names}}").split()
        assert victim in running
    finally:
        docker_engine.run("rm", "--force", victim, evil, check=False)
        docker_engine.run("image", "rm", base, check=False)


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


# --- The repository's files --------------------------------------------------------------------

FILES = "find /srv/repo -mindepth 1 -not -path '*/.git*' -printf '%P %U\\n' | sort; stat -c %u /srv/repo"


async def test_dockerfile_that_copies_nothing_gets_the_files_where_a_launch_looks(
    make_backend, tmp_path, docker
):
    backend = await make_backend(**docker)
    files = {
        "Dockerfile": f'{SERVER}USER 1000\nCMD ["mine"]\n',
        ".dockerignore": "*\n",
        "a.txt": "a",
        "deep/b.txt": "b",
    }
    outputs = await collect(backend, job_of(tmp_path / "checkout", files))
    assert any("Adding the repository's files" in text for text in lines(outputs))
    image, engine = image_of(outputs).name, backend.container_engine
    said = await engine.ask("run", "--rm", image, "sh", "-c", FILES)
    found = [".dockerignore 1000", "Dockerfile 1000", "a.txt 1000", "deep 1000", "deep/b.txt 1000"]
    assert said.split("\n") == [*found, "1000", ""]
    config = json.loads(await engine.ask("image", "inspect", image))[0]["Config"]
    assert (config["User"], config["Cmd"]) == ("1000", ["mine"])
    assert await engine.ask("ps", "--all", "--quiet") == ""
    await backend.delete_image(image)
    key = image.rpartition("/")[2].partition(":")[0]
    assert await engine.list_images(f"label={KEY_LABEL}={key}") == ()


@pytest.mark.parametrize(
    "how",
    [
        "ARG REPO_DIR\nCOPY --chown=1000 a.txt ${REPO_DIR}/mine.txt\n",
        "RUN mkdir /elsewhere && ln -s /elsewhere /srv/repo\n",
    ],
)
async def test_dockerfile_that_puts_files_there_itself_is_left_alone(
    make_backend, docker_engine, tmp_path, how
):
    backend = await make_backend()
    files = {"Dockerfile": f"{SERVER}{how}USER 1000\n", "a.txt": "a"}
    outputs = await collect(backend, job_of(tmp_path / "checkout", files))
    assert not any("Adding the repository's files" in text for text in lines(outputs))
    image = image_of(outputs).name
    assert "a.txt" not in docker_engine.list("run", "--rm", image, "ls", "/srv/repo/")


@pytest.mark.podman
async def test_podman_adds_the_files_too(podman_engine, tmp_path):
    backend = Repo2DockerBackend(
        engine="podman", work_dir=str(tmp_path / "work"), image_prefix="docker-tests/files/"
    )
    await backend.start()
    job = job_of(tmp_path / "checkout", {"Dockerfile": f"{SERVER}USER 1000\n", "a.txt": "a"})
    image = image_of(await collect(backend, job)).name
    said = await backend.container_engine.ask("run", "--rm", image, "sh", "-c", FILES)
    assert said.split("\n") == ["Dockerfile 1000", "a.txt 1000", "1000", ""]
    await backend.delete_image(image)
    mine = f"label={KEY_LABEL}={job.build.key}"
    assert await backend.container_engine.list_images(mine) == ()


async def test_empty_working_directory_is_no_place_of_files(make_backend, docker_engine, tmp_path):
    backend = await make_backend()
    files = {"Dockerfile": f"{SERVER}ARG REPO_DIR\nWORKDIR $REPO_DIR\nUSER 1000\n", "a.txt": "a"}
    image = image_of(await collect(backend, job_of(tmp_path / "checkout", files))).name
    assert docker_engine.list("run", "--rm", image, "ls") == ["Dockerfile", "a.txt"]


# --- The smoke test ----------------------------------------------------------------------------


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


# --- What a repository must not do -------------------------------------------------------------


async def test_configuration_in_a_repository_is_not_executed(make_backend, tmp_path):
    backend = await make_backend()
    proof = tmp_path / "proof"
    files = {
        "Dockerfile": f"{SERVER}USER 1000\n",
        "repo2docker_config.py": f"open({str(proof)!r}, 'w')\n",
    }
    await collect(backend, job_of(tmp_path / "checkout", files))
    assert not proof.exists()


async def test_links_bring_nothing_of_this_machine_into_an_image(
    make_backend, docker_engine, tmp_path
):
    backend = await make_backend(smoke_test=False)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key.txt").write_text("the secret")
    job = job_of(tmp_path / "checkout", {"requirements.txt": ""})
    (tmp_path / "checkout" / "folder").symlink_to(tmp_path / "secret")
    (tmp_path / "checkout" / "file").symlink_to(tmp_path / "secret" / "key.txt")
    image = image_of(await collect(backend, job))
    script = "cat /srv/repo/file /srv/repo/folder/key.txt; ls -l /srv/repo"
    shown = docker_engine.run("run", "--rm", image.name, "sh", "-c", script, check=False)
    assert "the secret" not in shown
    assert "folder" in shown


# --- Ends of all kinds -------------------------------------------------------------------------


async def test_cancel_ends_the_build_inside_the_engine(make_backend, tmp_path, docker):
    backend = await make_backend(**docker)
    seconds = f"4{os.getpid()}"  # a word that no other run of the tests has
    dockerfile = f"{SERVER}RUN : {tmp_path}; echo started; sleep {seconds} & sleep {seconds}\n"
    outputs = backend.build(job_of(tmp_path / "checkout", {"Dockerfile": dockerfile}))
    async for output in outputs:
        if isinstance(output, Line) and output.text.endswith("started"):
            break
    await until(lambda: processes(seconds))
    await outputs.aclose()
    await until(lambda: not processes(seconds))
    assert list(Path(backend.work_dir).iterdir()) == []


@pytest.mark.parametrize("place", ["build", "smoke test"])
async def test_killed_service_leaves_nothing_after_the_next_start(
    make_backend, docker_engine, tmp_path, docker, place
):
    seconds = f"5{os.getpid()}"
    server = "/usr/local/bin/jupyterhub-singleuser"
    step = {
        "build": f"sleep {seconds}",
        "smoke test": f"printf '#!/bin/sh\\nsleep {seconds}; echo 5.4.0\\n' > {server}",
    }
    dockerfile = f"{SERVER}RUN : {tmp_path}; {step[place]}\nUSER 1000\n"
    traits = {
        "work_dir": str(tmp_path / "work"),
        "image_prefix": f"docker-tests/{new_id()}/",
        "smoke_test_seconds": 1000.0,
        **docker,
    }
    command = [sys.executable, "-m", "tests.docker.doomed", json.dumps(traits)]
    service = await asyncio.create_subprocess_exec(
        *command, str(tmp_path / "checkout"), dockerfile, stdout=asyncio.subprocess.PIPE
    )
    assert service.stdout is not None
    workspace = json.loads(await service.stdout.readline())["workspace"]
    await until(lambda: processes(seconds))
    service.kill()
    await service.wait()
    assert processes(seconds)
    backend = await make_backend(**traits)
    assert not (tmp_path / "work" / workspace).exists()
    await until(lambda: not processes(seconds))
    await until(lambda: docker_engine.list("ps", "--all", "--quiet") == [])
    # What was killed in its midst can be asked for again.
    good = job_of(tmp_path / "again", {"Dockerfile": f"{SERVER}USER 1000\n"})
    assert image_of(await collect(backend, good))
    assert list(Path(backend.work_dir).iterdir()) == []


# --- Registry ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with run_registry(tmp_path_factory.mktemp("registry"), password=True) as running:
        yield running


TINY = """FROM scratch
COPY {name} /{name}
"""


async def test_pushed_image_is_found_when_the_engine_has_forgotten_it(
    make_backend, docker_engine, registry, tmp_path
):
    backend = await make_backend(
        image_prefix=f"{registry.host}/binder/",
        push=True,
        docker_config=str(registry.docker_config),
        smoke_test=False,
    )
    job = job_of(tmp_path / "checkout", {"Dockerfile": TINY.format(name="a"), "a": "1"})
    assert await backend.find_image(job.build.key) is None
    outputs = await collect(backend, job)
    image = image_of(outputs).name
    assert {o.phase for o in outputs if isinstance(o, Line)} == {Phase.BUILDING, Phase.PUSHING}
    docker_engine.run("image", "rm", image)
    assert await backend.find_image(job.build.key) == image
    docker_engine.run("--config", str(registry.docker_config), "pull", image)
    await backend.delete_image(image)
    assert await backend.find_image(job.build.key) is None
    assert docker_engine.list("image", "ls", "--quiet", image) == []
    await backend.delete_image(image)


async def test_image_that_was_not_pushed_is_pushed_without_building(
    make_backend, docker_engine, registry, tmp_path
):
    traits = {"image_prefix": f"{registry.host}/again/", "smoke_test": False}
    job = job_of(tmp_path / "checkout", {"Dockerfile": TINY.format(name="b"), "b": "1"})
    image = image_of(await collect(await make_backend(**traits), job)).name
    pushing = await make_backend(push=True, docker_config=str(registry.docker_config), **traits)
    assert await pushing.find_image(job.build.key) is None
    outputs = await collect(pushing, job)
    assert "has the image" in lines(outputs)[0]
    assert await pushing.find_image(job.build.key) == image


async def test_refused_push_is_a_failed_build_that_says_so(make_backend, registry, tmp_path):
    backend = await make_backend(
        image_prefix=f"{registry.host}/refused/",
        push=True,
        docker_config=str(registry.wrong_config(tmp_path / "docker")),
        smoke_test=False,
    )
    job = job_of(tmp_path / "checkout", {"Dockerfile": TINY.format(name="c"), "c": "1"})
    said = []
    with pytest.raises(BuildFailed, match="registry did not take it") as raised:
        await collect_into(said, backend, job)
    assert raised.value.error_code == "push_failed"


# --- What is missing ---------------------------------------------------------------------------


async def test_engine_that_went_away_is_ill(make_backend, tmp_path):
    backend = await make_backend()
    assert await backend.health() is None
    backend.container_engine.environment = {
        **backend.container_engine.environment,
        "DOCKER_HOST": f"unix://{tmp_path}/none.sock",
    }
    assert "Is it running?" in (await backend.health() or "")


async def test_engine_that_does_not_answer_is_refused_at_start(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(ConfigurationError, match=r"Repo2DockerBackend\.engine.*DOCKER_HOST"):
        await Repo2DockerBackend(work_dir=str(tmp_path)).start()


async def test_missing_program_is_named(tmp_path):
    backend = Repo2DockerBackend(work_dir=str(tmp_path), engine="no-such-engine")
    with pytest.raises(ConfigurationError, match=r"no-such-engine.*Install Docker or Podman"):
        await backend.start()


async def test_missing_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(repo2docker.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"jupyterhub-binder\[repo2docker\]"):
        await Repo2DockerBackend(work_dir=str(tmp_path)).start()
