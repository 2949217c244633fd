"""Names of repositories."""

import pytest

from jupyterhub_binder.model import Spec, repository_key


@pytest.mark.parametrize("end", ["", ".git", "/.git"])
def test_a_repository_has_one_name_with_and_without_git(end: str) -> None:
    spec = Spec("git", f"https://git.example.org/Course{end}", "main")
    assert repository_key(spec) == "git:https://git.example.org/course"
