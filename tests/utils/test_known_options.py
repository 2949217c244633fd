"""A misspelt option is refused; an option of a class in a class is not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from traitlets import Int
from traitlets.config import Config, Configurable

from jupyterhub_binder.app import JupyterHubBinder
from jupyterhub_binder.errors import ConfigurationError
from jupyterhub_binder.utils.known_options import refuse_unknown_options

DOCS = Path(__file__).parents[2] / "docs"
IN_THE_HUB = {"BinderSpawnerMixin", "BinderImageMixin", "BinderDockerMixin", "BinderKubeMixin"}


class Base(Configurable):
    places = Int(config=True)


class Hall(Base):
    seats = Int(config=True)
    doors = Int()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"Hal": {"seats": 1}}, "There is no class 'Hal' with options. Did you mean Hall?"),
        ({"hall": {"seats": 1}}, "Did you mean Hall?"),
        ({"Hall": {"seat": 1}}, "Hall has no option 'seat'. Did you mean Hall.seats?"),
        ({"Base": {"seats": 1}}, "Base has no option 'seats'."),
        ({"Hall": {"doors": 1}}, "Hall has no option 'doors'."),
        ({"Base": {"Hall": {"seat": 1}}}, "Did you mean Hall.seats?"),
        ({"Xyzzy": {"a": 1}, "Hall": {"b": 1}}, "'Xyzzy' with options. Hall has no option 'b'."),
    ],
)
def test_unknown_name_is_refused_with_the_nearest(config: dict, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        refuse_unknown_options(Config(config), [Hall])
    assert said in str(caught.value)


def test_known_names_and_sections_that_were_only_touched_pass() -> None:
    config = Config(
        {"Hall": {"seats": 1, "places": 2}, "Base": {"places": 1, "Hall": {"seats": 1}}}
    )
    config.Untouched  # noqa: B018 - reading makes an empty section
    refuse_unknown_options(config, [Hall])


def test_the_program_knows_every_class_of_the_reference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    import reference

    app = JupyterHubBinder()
    app.initialize(["--generate-config"])
    known = {base.__name__ for cls in app.classes for base in cls.__mro__}
    assert {cls.__name__ for cls in reference.configurables()} - known == IN_THE_HUB
    del sys.modules["reference"]
