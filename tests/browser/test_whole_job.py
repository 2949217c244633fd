"""The whole job as a person does it: paste, build, launch, work in JupyterLab, come back.

A real hub, the venv backend, real packages, a real browser; nothing is called but by clicks. The hub
is below a path of its site, or gives the service and each server a subdomain. The other tests of
this folder and the demonstration's have it at the root.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from playwright.async_api import Page, expect

from tests.kit.live import LiveHub, sign_in, start_hub, stop_hub

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

BUILD_MS = 240_000
START_MS = 120_000
CELL = (
    "import cowsay, os, sys; print(cowsay.get_output_string('cow', 'moo from'), sys.prefix, "
    "os.environ['BINDER_LAUNCH_HOST'])"
)


def _notebook(*cells: str) -> str:
    """Return a notebook of code cells that never ran."""
    return json.dumps(
        {
            "cells": [
                {
                    "cell_type": "code",
                    "id": f"cell-{number}",
                    "execution_count": None,
                    "metadata": {},
                    "outputs": [],
                    "source": [source],
                }
                for number, source in enumerate(cells)
            ],
            "metadata": {
                "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}
            },
            "nbformat": 4,
            "nbformat_minor": 5,
        }
    )


@pytest.fixture(
    scope="module",
    params=[
        pytest.param({"base_url": "/jupyter/"}, id="path"),
        pytest.param({"subdomains": True}, id="subdomains", marks=pytest.mark.thorough),
    ],
)
def hub(
    request: pytest.FixtureRequest,
    require_chromium: str,
    require_bwrap: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[LiveHub]:
    """A hub with the venv backend."""
    live = start_hub(tmp_path_factory.mktemp("venv-hub"), backend="venv", **request.param)
    yield live
    stop_hub(live)


async def test_paste_build_launch_work_and_come_back(hub: LiveHub, browser: Any):
    url = hub.make_repository(
        "moo-course",
        {
            "binder/requirements.txt": "cowsay==6.1\n",
            "lessons/first.ipynb": _notebook(CELL),
            "README.md": "# Moo\n",
        },
    )
    context = await browser.new_context(base_url=hub.url, viewport={"width": 1280, "height": 800})
    context.set_default_timeout(30_000)
    page: Page = await context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.extend(_complaint(hub, message)))
    await sign_in(page, hub, "ada")
    # On a slow machine JupyterLab asks for the kernel before it has found the one it started, and
    # says that it gave up waiting for its theme.
    for title in ("Select Kernel", "Error Loading Theme"):
        dialog = page.locator(".jp-Dialog", has_text=title)
        await page.add_locator_handler(
            dialog, lambda dialog: dialog.locator(".jp-Dialog-button").last.click()
        )

    await page.get_by_role("link", name="Environments").click()
    await page.get_by_label("Paste a link").fill(url)
    await page.keyboard.press("Enter")
    await expect(page.locator(".b-preview")).to_contain_text("binder/requirements.txt")
    await page.get_by_label("Name", exact=True).fill("Moo course")
    await page.get_by_role("button", name="Build and launch").click()
    await _run_the_cell(page, hub, first_wait_ms=BUILD_MS)

    home = hub.folder / "homes" / "ada"
    notebook = home / "moo-course" / "lessons" / "first.ipynb"
    await _save_and_wait(page, notebook)
    (home / "moo-course" / "README.md").write_text("# Mine\n")

    await page.goto(hub.binder)
    row = page.locator(".b-item", has_text="Moo course")
    await expect(row).to_contain_text("Running")
    await _open_again(page, row)
    _ask_the_command_line(hub, await _make_token(page, hub))
    await page.goto(hub.binder)
    await row.get_by_role("button", name="Stop server").click()
    await expect(page.locator("#said")).to_contain_text("Stopping the server", timeout=90_000)
    await expect(row.get_by_role("link", name="Open")).to_have_count(0)
    await expect(row).to_contain_text("Ready")
    await row.get_by_role("button", name="Launch").click()
    await page.wait_for_url(re.compile(r"/user/ada/lab"), timeout=START_MS)
    await page.locator(".jp-DirListing-item", has_text="lessons").dblclick(timeout=60_000)
    await page.locator(".jp-DirListing-item", has_text="first.ipynb").dblclick()
    await expect(page.locator(".jp-OutputArea-output").first).to_contain_text("moo from")
    assert (home / "moo-course" / "README.md").read_text() == "# Mine\n"
    await context.close()
    assert complaints == []


def _complaint(hub: LiveHub, message: Any) -> list[str]:
    """Return what the browser says against one of our pages."""
    ours = message.location["url"].startswith(hub.binder) or hub.binder in message.text
    return [message.text] if message.type == "error" and ours else []


async def _open_again(page: Page, row: Any) -> None:
    """Launch what runs already, by a form, and open it by a link."""
    name = row.get_by_role("link", name="Moo course")
    async with page.expect_navigation(url=re.compile(r"/environments/")):
        await name.click()
    there = page.url
    link = page.get_by_role("link", name="Open", exact=True)
    await link.click()
    await page.wait_for_url(re.compile(r"/user/ada/lab"), timeout=START_MS)
    await page.goto(f"{there}/launch")
    await page.get_by_role("button", name="Launch").click()
    await page.wait_for_url(re.compile(r"/user/ada/lab"), timeout=START_MS)


async def _make_token(page: Page, hub: LiveHub) -> str:
    await page.goto(f"{hub.url}hub/token")
    await page.get_by_role("button", name="Request new API token").click()
    made = page.locator("#token-result")
    await expect(made).to_contain_text(re.compile(r"\w{20}"))
    return (await made.inner_text()).strip()


def _ask_the_command_line(hub: LiveHub, token: str) -> None:
    """See that it shows addresses that work, and what it says to the hub's own address."""
    shown = _run_command(hub, token, "show", "Moo course", "--json", "--hub", hub.binder)
    assert shown.returncode == 0, shown.stderr
    (server,) = json.loads(shown.stdout)["servers"]
    shown = _run_command(hub, token, "show", "Moo course", "--hub", hub.binder)
    facts = dict(line.split("\t", 1) for line in shown.stdout.splitlines())
    assert facts["page"].startswith(f"{hub.binder}environments/")
    address = urljoin(hub.url, server["url"])
    assert facts["server"] == f"{address}\tRunning"
    started = _run_command(hub, token, "launch", "Moo course", "--hub", hub.binder)
    assert started.stdout.startswith(address), started.stderr
    listed = _run_command(hub, token, "list", "--hub", hub.url)
    if hub.binder.startswith(hub.url):
        assert "Moo course" in listed.stdout, listed.stderr
    else:
        assert listed.returncode == 3
        assert "the address that the browser shows" in listed.stderr


def _run_command(hub: LiveHub, token: str, *args: str) -> subprocess.CompletedProcess[str]:
    # The machine's resolver may not know names below localhost: the hub's proxy serves as one.
    proxy = f"http://127.0.0.1:{urlsplit(hub.url).port}"
    return subprocess.run(
        [sys.executable, "-m", "jupyterhub_binder", *args],
        env={"JUPYTERHUB_BINDER_TOKEN": token, "http_proxy": proxy, "PATH": os.defpath},
        capture_output=True,
        text=True,
        timeout=120,
    )


async def _run_the_cell(page: Page, hub: LiveHub, *, first_wait_ms: int) -> None:
    """Find the notebook in the repository's folder, run its cell, see what the package prints."""
    await page.wait_for_url(re.compile(r"/user/ada/lab/tree/moo-course"), timeout=first_wait_ms)
    files = page.locator(".jp-DirListing-item")
    await files.filter(has_text="lessons").dblclick(timeout=60_000)
    await files.filter(has_text="first.ipynb").dblclick()
    cell = page.locator(".jp-Notebook .jp-CodeCell .cm-content").first
    idle = page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]')
    await expect(idle).to_be_visible(timeout=90_000)
    output = page.locator(".jp-OutputArea-output").first
    for _ in range(3):
        await cell.click()
        await page.keyboard.press("Shift+Enter")
        with contextlib.suppress(AssertionError):
            await expect(output).to_contain_text("moo from", timeout=30_000)
            break
    await expect(output).to_contain_text("environments")
    text = await output.inner_text()
    assert hub.binder.endswith(text.split()[-1]), text


async def _save_and_wait(page: Page, notebook: Any) -> None:
    await page.keyboard.press("Control+s")
    for _ in range(100):
        if "moo from" in notebook.read_text():
            return
        await page.wait_for_timeout(100)
    pytest.fail("the notebook was not saved into the home")
