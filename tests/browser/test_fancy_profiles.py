"""jupyterhub-fancy-profiles, its real page on a hub with KubeSpawner's form, builds through us."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.kit.live import LiveHub, sign_in, start_hub, stop_hub

pytestmark = [pytest.mark.browser, pytest.mark.thorough]

SHA = "c0ffee" * 6 + "c0ff"
NO_CLUSTER = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "none",
    "clusters": [{"name": "none", "cluster": {"server": "http://127.0.0.1:9"}}],
    "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
    "users": [{"name": "none", "user": {}}],
}
CONFIG = """
import jupyterhub_fancy_profiles
from kubespawner import KubeSpawner


class FormSpawner(KubeSpawner):
    '''KubeSpawner as far as its form goes: writes down what it would start.'''

    async def start(self):
        await self.load_user_options()
        started = folder / f"started-{self.user.name}"
        started.write_text(json.dumps({"image": self.image}))
        started.rename(started.with_suffix(".json"))
        raise RuntimeError("there is no cluster here")

    async def stop(self, now=False):
        pass

    async def poll(self):
        return 0


jupyterhub_fancy_profiles.setup_ui(c)
c.JupyterHub.spawner_class = FormSpawner
c.Spawner.args = []
c.KubeSpawner.profile_list = [
    {
        "display_name": "Choose",
        "slug": "choose",
        "profile_options": {
            "image": {
                "display_name": "Image",
                "unlisted_choice": {
                    "enabled": True,
                    "display_name": "Another image",
                    "validation_regex": "^.+:.+$",
                    "kubespawner_override": {"image": "{value}"},
                },
                "dynamic_image_building": {"enabled": True},
                "choices": {
                    "plain": {
                        "display_name": "Plain",
                        "default": True,
                        "kubespawner_override": {"image": "quay.io/jupyter/base:1"},
                    },
                },
            },
        },
    },
]
"""


@pytest.fixture(scope="module")
def kube_hub(require_chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveHub]:
    """A hub whose spawner is KubeSpawner, without a cluster."""
    folder = tmp_path_factory.mktemp("kube")
    kubeconfig = folder / "kubeconfig.json"
    kubeconfig.write_text(json.dumps(NO_CLUSTER))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(kubeconfig))
        live = start_hub(folder, more_config=CONFIG)
    yield live
    stop_hub(live)


async def open_form(hub: LiveHub, browser: Any, name: str, **choice: str) -> Any:
    """Open the spawn page with "Build your own image" chosen, as a copied permalink does."""
    context = await browser.new_context(viewport={"width": 1160, "height": 900})
    context.set_default_timeout(30_000)
    page = await context.new_page()
    await sign_in(page, hub, name)
    chosen = {"profile": "choose", "image": "--extra-selectable-item", "autoStart": "false"}
    fragment = urlencode({"fancy-forms-config": json.dumps({**chosen, **choice})})
    await page.goto(f"{hub.url}hub/spawn#{fragment}")
    # The page loads its terminal late, and a build that is asked for before that does not begin.
    await page.locator(".xterm").first.wait_for(state="attached")
    return page


async def test_build_your_own_image_builds_and_starts(kube_hub: LiveHub, browser: Any) -> None:
    name = kube_hub.new_person()
    page = await open_form(
        kube_hub, browser, name, **{"image:binderRepo": "org/repo", "image:ref": SHA}
    )
    await page.get_by_role("button", name="Build Image and Start").click()
    started = kube_hub.folder / f"started-{name}.json"
    async with asyncio.timeout(60):
        while not started.exists():
            await page.wait_for_timeout(100)
    assert json.loads(started.read_text())["image"].startswith("fake:")
    # In a page of its own: the form's is still on its way to what the hub says of the start.
    pages = await page.context.new_page()
    await pages.goto(kube_hub.binder)
    await pages.get_by_text("github.com/org/repo").first.wait_for()
    await page.context.close()


async def test_build_that_fails_is_told_on_the_page(kube_hub: LiveHub, browser: Any) -> None:
    page = await open_form(
        kube_hub,
        browser,
        kube_hub.new_person(),
        **{"image:binderRepo": "org/fake-fail", "image:ref": SHA},
    )
    await page.get_by_role("button", name="Build Image and Start").click()
    await page.get_by_text("image build failed").wait_for()
    await page.get_by_text("The script says that this build fails.").wait_for()
    await page.context.close()
