"""What the script that brings the files is told."""

from dataclasses import replace

from jupyterhub_binder.model import ContentMode, EnvironmentState, LaunchSpec
from jupyterhub_binder.spawner.command import content_arguments

SPEC = LaunchSpec(
    environment_id="e",
    environment_name="course",
    state=EnvironmentState.READY,
    build_id="b",
    image="venv:k",
    content=ContentMode.COPY,
    directory="course",
    path="",
    repo_url="https://host/org/course",
    resolved_ref="c" * 40,
    content_url="https://host/org/course.git",
    content_ref="main",
)


def test_files_of_the_image_are_copied_without_git():
    told = content_arguments(SPEC, ["/image/repo"])
    assert "--from=/image/repo" in told
    assert not any(word.startswith("--url=") for word in told)


def test_files_beside_a_shared_image_are_copied_or_else_fetched_at_the_built_commit():
    told = content_arguments(replace(SPEC, content_key="k2"), ["/k2/repo"])
    assert told[0] == "--from=/k2/repo"
    assert {"--url=https://host/org/course.git", f"--ref={'c' * 40}"} <= set(told)
    assert "--origin=https://host/org/course" in told


def test_files_of_another_repository_never_come_from_the_image():
    told = content_arguments(replace(SPEC, content_elsewhere=True), ["/image/repo"])
    assert not any(word.startswith("--from=") for word in told)
