"""What an administrator sets for conda packages."""

from __future__ import annotations

import pytest

from jupyterhub_binder.backends.venv.backend import VenvBackend
from jupyterhub_binder.backends.venv.conda.options import CondaChannels
from jupyterhub_binder.backends.venv.uv import PASSED, uv_environment, without_secrets
from jupyterhub_binder.errors import ConfigurationError, InvalidInput


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"channels": {"lab": "lab"}}, "lab must have a URL"),
        ({"channels": {"lab": "oci://example.org/lab"}}, "lab must have a URL"),
        ({"channels": {"lab": "https://ada:word@example.org/lab"}}, "must not contain credentials"),
        ({"channels": {"lab": "https://example.org/t/tk-1/lab"}}, "must not contain credentials"),
        ({"default_channels": ["defaults"]}, "defaults is not one of CondaChannels.channels"),
    ],
)
def test_a_channel_that_cannot_be_used_is_refused_at_the_start(options, said):
    with pytest.raises(ConfigurationError, match=said):
        CondaChannels(**options).check()
    CondaChannels().check()


def test_the_file_of_credentials_reaches_rattler_and_no_untrusted_step():
    given = uv_environment({"RATTLER_AUTH_FILE": "/etc/rattler.json"}, PASSED)
    assert given["RATTLER_AUTH_FILE"] == "/etc/rattler.json"
    assert "RATTLER_AUTH_FILE" not in without_secrets(given)


def test_a_python_that_only_a_channel_has_can_be_chosen(tmp_path):
    backend = VenvBackend(environments_root=str(tmp_path))
    backend._conda.pythons = ["3.7"]
    assert backend.clean_options({"python": "3.7"}) == {"python": "3.7"}
    backend._conda.channels = {}
    with pytest.raises(InvalidInput):
        backend.clean_options({"python": "3.7"})


def test_what_decides_an_environment_is_in_the_fingerprint_only_with_conda(tmp_path):
    backend = VenvBackend(environments_root=str(tmp_path))
    assert "conda-forge" in backend.fingerprint()
    backend._conda.channels = {}
    assert "conda" not in backend.fingerprint()
