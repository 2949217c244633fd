"""The repo2docker backend with real repositories and a real engine."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from jupyterhub_binder.backends.repo2docker.build import KEY_LABEL
from jupyterhub_binder.errors import BuildFailed
from jupyterhub_binder.utils.names import new_id
from tests.kit.buildx import find_config
from tests.kit.engine import BASE_IMAGE
from tests.kit.failing_logs import explain_outputs
from tests.kit.jobs import collect, collect_into, image_of, job_of, lines
from tests.kit.real_builds import SAYS_A_VERSION

pytestmark = pytest.mark.docker


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
    assert any("The image has jupyterhub-singleuser 6" in text for text in lines(outputs))

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
    said = []
    with pytest.raises(BuildFailed) as failed:
        await collect_into(said, backend, job)
    reason = explain_outputs(said, failed.value)
    assert "nosuchthing-at-all-9f3a" in reason.message
    assert reason.explanation.rule.startswith("package-not-")


async def test_image_that_is_asked_for_anew_takes_over_no_step(
    make_backend, docker_engine, tmp_path
):
    backend = await make_backend(base_packages=["cowsay"], docker_config=find_config())
    post_build = SAYS_A_VERSION.format(says="echo 6.0.9") + "date +%s.%N > /srv/venv/stamp\n"
    job = job_of(tmp_path / "checkout", {"postBuild": post_build, "name": str(tmp_path)})
    anew = "Building the image without cached steps"

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
