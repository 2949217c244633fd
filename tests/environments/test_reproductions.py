"""Environments from receipts."""

from dataclasses import replace

import pytest

from jupyterhub_binder.backends.fake import FakeBackend
from jupyterhub_binder.environments.inventories import Inventories
from jupyterhub_binder.environments.receipts import Receipts
from jupyterhub_binder.environments.reproductions import Reproductions
from jupyterhub_binder.errors import InvalidInput, NotAllowed
from jupyterhub_binder.model.admin import RuleKind
from jupyterhub_binder.model.receipt import SignedReceipt
from jupyterhub_binder.utils.signing import SigningKey
from tests.kit.parts import ADMIN, ALICE, BOB


@pytest.fixture
def key(tmp_path):
    return SigningKey.ensure(tmp_path / "receipt.key")


@pytest.fixture
def receipts(service, key):
    inventories = Inventories(
        store=service.store, environments=service.environments, backend=service.backend
    )
    return Receipts(inventories=inventories, key=key, hub_url="")


@pytest.fixture
def reproductions(service, receipts):
    return Reproductions(
        store=service.store,
        providers=service.providers,
        environments=service.environments,
        receipts=receipts,
        backend=service.backend,
    )


@pytest.fixture
async def signed(service, receipts):
    """The receipt of a build of alice's at a commit."""
    environment = await service.create(ref="c" * 40)
    build = await service.finished(environment.latest.build.id)
    return await receipts.fetch(ALICE, build.id)


def changed(signed, key, **changes):
    """Return a receipt that its key signs with other members."""
    receipt = {**signed.receipt, **changes}
    return SignedReceipt(receipt, key.public.text, key.sign(receipt))


async def test_an_image_that_is_there_is_used_again(service, reproductions, signed):
    planned = await reproductions.plan(signed)
    assert (planned.own, planned.exact, planned.options) == (True, True, {})
    made = await reproductions.create(BOB, signed, name="Figure 3")
    assert (made.owner, made.name, made.spec.ref) == ("bob", "Figure 3", "c" * 40)
    assert made.current.build.id == signed.receipt["build"]


async def test_a_backend_with_locks_builds_the_receipts_versions(
    service, reproductions, signed, key, monkeypatch
):
    monkeypatch.setattr(FakeBackend, "takes_lock", True)
    monkeypatch.setattr(FakeBackend, "clean_options", lambda self, options: dict(options))
    planned = await reproductions.plan(changed(signed, key, lock="numpy==1.0\n"))
    assert planned.exact
    assert planned.options == {
        "lock": {"commit": "c" * 40, "python": "3.12", "requirements": "numpy==1.0\n"}
    }


async def test_where_versions_are_chosen_anew_it_is_said(service, reproductions, signed, key):
    planned = await reproductions.plan(changed(signed, key, lock="numpy==1.0\n", backend="venv"))
    assert not planned.exact
    assert any("fake" in note for note in planned.notes)
    assert any("can be newer" in note for note in planned.notes)


async def test_a_key_of_content_is_only_a_claim(service, reproductions, signed, key):
    other = {**signed.receipt["repository"], "repo": "org/other"}
    assert not (await reproductions.plan(changed(signed, key, repository=other))).exact
    commit = {**signed.receipt["repository"], "commit": "d" * 40}
    assert not (await reproductions.plan(changed(signed, key, repository=commit))).exact


async def test_a_receipt_of_another_hub_is_told_apart(reproductions, signed, tmp_path):
    other = SigningKey.ensure(tmp_path / "other.key")
    planned = await reproductions.plan(changed(signed, other))
    assert (planned.own, planned.key_id) == (False, other.public.id)


async def test_a_changed_receipt_is_refused(reproductions, signed):
    forged = replace(signed, receipt={**signed.receipt, "lock": "evil==1\n"})
    with pytest.raises(InvalidInput, match="not valid"):
        await reproductions.create(BOB, forged)


@pytest.mark.parametrize(
    "repository",
    [
        None,
        {},
        {"provider": "gh", "repo": None, "commit": "c"},
        {"provider": "gh", "repo": 7, "commit": "c"},
        {"provider": "gh", "repo": "org/x", "commit": "a\nb"},
        {"provider": "gh", "repo": "org/x", "commit": ""},
        {"provider": "gh", "repo": "x" * 3000, "commit": "c"},
        {"provider": "nobody", "repo": "org/x", "commit": "c" * 40},
        {"provider": "gh", "repo": "org/x", "commit": "main"},
        {"provider": "gh", "repo": "org/x/../y", "commit": "c" * 40},
        {"provider": "gh", "repo": "org/--upload-pack=x/y", "commit": "c" * 40},
        {"provider": "git", "repo": "--upload-pack=touch x", "commit": "c" * 40},
        {"provider": "git", "repo": "ext::sh -c id/x", "commit": "c" * 40},
        {"provider": "git", "repo": "https://a:b@example.org/x", "commit": "c" * 40},
    ],
)
async def test_a_receipt_without_a_repository_is_refused(reproductions, signed, key, repository):
    with pytest.raises(InvalidInput):
        await reproductions.create(BOB, changed(signed, key, repository=repository))


async def test_a_receipt_of_a_record_gives_its_version(reproductions, signed, key):
    record = {"provider": "zenodo", "repo": "10.5281/zenodo.3242073", "commit": "3242074"}
    planned = await reproductions.plan(changed(signed, key, repository=record))
    assert planned.spec.repo == "10.5281/zenodo.3242074"


@pytest.mark.parametrize(
    "part", [{"tools": 7}, {"image": []}, {"options": "x"}, {"lock": {}}, {"content_key": {}}]
)
async def test_members_of_another_shape_harm_nothing(reproductions, signed, key, part):
    assert (await reproductions.plan(changed(signed, key, **part))).spec.ref == "c" * 40


async def test_a_ban_holds_for_receipts_too(service, reproductions, signed):
    await service.admin.rules.add(ADMIN, RuleKind.BAN, "github.com/org/repo")
    with pytest.raises(NotAllowed):
        await reproductions.create(BOB, signed)
