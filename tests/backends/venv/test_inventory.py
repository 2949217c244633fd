"""What is read from a finished environment, which a repository's code may have changed."""

from pathlib import Path

from jupyterhub_binder.backends.venv.inventory import list_packages, portable_lock
from jupyterhub_binder.model.inventory import Package

REPO = Path("/srv/environments/0123abcd/repo")


def test_installed_packages_are_named_by_their_folders(tmp_path):
    site = tmp_path / "lib" / "python3.12" / "site-packages"
    for name in ("numpy-2.1.3.dist-info", "ruamel_yaml-0.18.6.dist-info", "numpy", "x.dist-info"):
        (site / name).mkdir(parents=True)
    assert sorted(list_packages(tmp_path), key=lambda each: each.name) == [
        Package("numpy", "2.1.3"),
        Package("ruamel-yaml", "0.18.6"),
    ]


def test_links_are_not_followed(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "secret-1.0.dist-info").mkdir(parents=True)
    site = tmp_path / "made" / "lib" / "python3.12"
    site.mkdir(parents=True)
    (site / "site-packages").symlink_to(elsewhere)
    assert list_packages(tmp_path / "made") == ()


def test_a_lock_for_elsewhere_has_no_comments_and_no_path_of_this_machine():
    lock = (
        "# made by uv\n"
        "numpy==2.1.3\n    # via -r /srv/work/requirements.in\n"
        f"-e file://{REPO}/tools\n"
        f"course @ file://{REPO}\n"
        f"lib @ file://{REPO}/lib  # via course\n"
        "torch==2.4.0 ; python_version >= '3.9'\n"
    )
    assert portable_lock(lock, ["https://download.pytorch.org/whl/cpu"], REPO).splitlines() == [
        "--extra-index-url https://download.pytorch.org/whl/cpu",
        "numpy==2.1.3",
        "-e ./tools",
        ".",
        "./lib",
        "torch==2.4.0 ; python_version >= '3.9'",
    ]
