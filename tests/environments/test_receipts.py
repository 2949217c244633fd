"""What a receipt says, and whether it is right."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from jupyterhub_binder.environments.inventories import Contents, Inventories
from jupyterhub_binder.environments.receipts import Receipts, read_file, verify, write_receipt
from jupyterhub_binder.errors import Conflict, InvalidInput, NotFound
from jupyterhub_binder.model import BuildState
from jupyterhub_binder.model.inventory import Inventory, Package
from jupyterhub_binder.utils.signing import SigningKey
from jupyterhub_binder.utils.wire import to_json
from jupyterhub_binder.web.api.render.history import render_receipt
from tests.kit.parts import ALICE, BOB, build_named


@pytest.fixture
def key(tmp_path):
    return SigningKey.ensure(tmp_path / "receipt.key")


@pytest.fixture
def receipts(service, key):
    inventories = Inventories(
        store=service.store, environments=service.environments, backend=service.backend
    )
    return Receipts(inventories=inventories, key=key, hub_url="https://hub.example.org")


def contents_of(**changes):
    build = build_named(
        "x",
        by="alice",
        state=BuildState.BUILT,
        finished=datetime(2026, 3, 1, tzinfo=UTC),
        image="registry.internal:5000/binder/x:main",
        **changes,
    )
    inventory = Inventory((Package("numpy", "2.1.3"),), "numpy==2.1.3\n", {"python": "3.12.3"})
    return Contents(build, None, None, inventory)


async def test_a_built_environment_has_a_receipt_that_its_key_signed(service, receipts, key):
    environment = await service.create()
    build = await service.finished(environment.latest.build.id)
    signed = await receipts.fetch(ALICE, build.id)
    assert verify(signed, key.public)
    assert signed.receipt["repository"]["commit"] == build.resolved_ref
    assert signed.receipt["lock"].startswith("jupyterlab==")
    assert signed.receipt["tools"].keys() == {"python", "jupyterhub-binder"}
    assert signed == await receipts.fetch(ALICE, build.id)
    with pytest.raises(NotFound):
        await receipts.fetch(BOB, build.id)


async def test_a_build_that_failed_has_none(service, receipts):
    environment = await service.create(fake={"fail_at": "building"})
    build = await service.finished(environment.latest.build.id)
    with pytest.raises(Conflict):
        await receipts.fetch(ALICE, build.id)


async def test_a_file_is_read_back_and_each_change_of_it_shows(service, receipts, key):
    environment = await service.create()
    build = await service.finished(environment.latest.build.id)
    file = json.loads(json.dumps(to_json(render_receipt(await receipts.fetch(ALICE, build.id)))))
    assert verify(read_file(file), key.public)
    file["receipt"]["repository"]["commit"] = "0" * 40
    assert not verify(read_file(file), key.public)


def test_a_receipt_names_no_person_and_no_place_of_this_hub():
    text = json.dumps(write_receipt(contents_of(), hub_url=""))
    for secret in ("alice", "registry.internal", "5000"):
        assert secret not in text
    local = replace(contents_of().build, clone_url="/srv/private/course")
    receipt = write_receipt(replace(contents_of(), build=local), hub_url="")
    assert (receipt["repository"]["repo"], receipt["repository"]["url"]) == (None, None)
    assert "/srv/private" not in json.dumps(receipt)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"receipt": {}, "key": {"public_key": "x"}, "signature": "x"},
        {"receipt": {"version": 99}, "key": {"public_key": "A" * 44}, "signature": ""},
        {"receipt": {"version": 1}, "key": {"public_key": "short"}, "signature": ""},
        {"receipt": {"version": 1}, "key": {"public_key": 7}, "signature": ""},
    ],
)
def test_what_is_no_receipt_is_refused(value):
    with pytest.raises(InvalidInput):
        read_file(value)
