"""Single states of the pages that a live hub reaches seldom, over things that were made up."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from jupyterhub_binder.model import BuildEvent, BuildState, Phase, Reason
from tests.kit import canned
from tests.kit.canned import PREFIX, all_states, serve

pytestmark = pytest.mark.browser


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Any) -> AsyncIterator[Page]:
    page = await browser.new_page()
    yield page
    await page.close()


async def test_preview_says_what_happens_to_each_file(address: str, page: Page):
    await page.goto(f"{address}new?url=uni-lab/climate-101")
    facts = page.locator(".b-facts")
    await expect(facts).to_contain_text("binder/environment.yml Python 3.11, 14 packages")
    await expect(facts).to_contain_text("requirements.txt Not used: another file takes precedence")
    await expect(facts).to_contain_text("Fix plots of the <b>second</b> notebook")
    await expect(page.get_by_role("button", name="Build and launch")).to_be_visible()


async def test_outdated_answer_is_never_shown(address: str, page: Page):
    await page.goto(f"{address}new")
    await page.locator("#url").fill("uni-lab/slow")
    await expect(page.locator("#understood")).to_have_attribute("aria-busy", "true")
    await page.locator("#url").fill("uni-lab/quick")
    await expect(page.locator(".b-facts")).to_contain_text("github.com/uni-lab/quick")
    await expect(page).to_have_url(re.compile("quick"))


async def test_problem_is_said_before_the_build(address: str, page: Page):
    await page.goto(f"{address}new?url=uni-lab/julia")
    await expect(page.get_by_role("alert")).to_have_text(
        "Problem: Project.toml: This hub can't install Julia."
    )
    await expect(page.get_by_text("can't install Julia")).to_have_count(1)
    await expect(page.get_by_role("heading", name=re.compile("can.t build it"))).to_be_visible()
    await expect(page.get_by_role("button", name="Build and launch")).to_have_count(0)
    await expect(page.get_by_role("button", name="Build anyway")).to_be_visible()


async def test_ended_log_opens_at_the_line_that_decided_it(address: str, page: Page):
    await page.goto(f"{address}builds/b000000004")
    await expect(page.locator("#L124")).to_have_class(re.compile("b-mark"))
    await expect(page.locator("#L124")).to_be_in_viewport()
    await page.goto(f"{address}builds/b000000004#L5")
    await page.reload()
    await expect(page.locator("#L5")).to_be_in_viewport()


async def test_colours_are_classes_and_own_colours_are_set(address: str, page: Page):
    await page.goto(f"{address}builds/b000000001")
    await expect(page.locator("#L122 .a-f2")).to_have_text("Prepared 142 packages in 22.41s")
    await expect(page.locator("#L124 .a-f1.a-b")).to_have_text("error:")
    colour = page.locator("#L125 span span").first
    await expect(colour).to_have_css("color", "rgb(255, 150, 80)")


async def test_end_of_a_followed_log_stays_in_view_when_its_box_gets_smaller(
    address: str, page: Page
):
    await page.goto(f"{address}builds/b000000002")
    await expect(page.locator("#L127")).to_be_in_viewport()
    end = await page.locator("#lines").evaluate(
        """box => new Promise((resolve) => {
          box.style.height = "120px";
          const until = performance.now() + 5000;
          const look = () => {
            const below = box.scrollHeight - box.scrollTop - box.clientHeight;
            const there = box.clientHeight <= 120 && below < 4;
            if (there || performance.now() > until) resolve(there);
            else requestAnimationFrame(look);
          };
          look();
        })"""
    )
    assert end
    await expect(page.locator("#follow")).to_have_text("following")


async def test_log_follows_only_while_at_its_end(address: str, page: Page):
    await page.goto(f"{address}builds/b000000002")
    await expect(page.locator("#L127")).to_be_in_viewport()
    await expect(page.locator("#follow")).to_have_text("following")
    await page.locator("#lines").hover()
    await page.mouse.wheel(0, -800)
    await expect(page.locator("#follow")).to_contain_text("paused")
    await page.locator("#follow").click()
    await expect(page.locator("#follow")).to_have_text("following")
    await expect(page.locator("#L127")).to_be_in_viewport()


async def test_running_server_leaves_a_choice(address: str, page: Page):
    await page.goto(f"{address}environments/e000000001")
    await page.get_by_role("button", name="Launch", exact=True).click()
    await expect(page.locator(".b-verdict")).to_contain_text("in Survey methods")
    await expect(page.get_by_role("link", name="Open the running server")).to_be_visible()
    await expect(page.get_by_role("button", name="Restart it")).to_be_visible()
    await expect(page.get_by_role("button", name="Start another server")).to_be_visible()


async def test_choice_beside_a_running_server_notices_that_the_build_failed(page: Page):
    server, port = serve(all_states())
    kept = server.request_callback.settings["services"].environments.all  # type: ignore[attr-defined]
    await page.goto(f"http://127.0.0.1:{port}{PREFIX}environments/e000000002")
    await page.get_by_role("button", name="Launch when ready").click()
    await expect(page.locator("#built")).to_contain_text("continues, whatever you choose")
    latest = kept["e000000002"].latest
    why = Reason("build_failed", "There is no package numpi.", 3)
    failed = replace(latest.build, state=BuildState.FAILED, reason=why)
    kept["e000000002"] = replace(kept["e000000002"], latest=replace(latest, build=failed))
    await expect(page.locator("#built")).to_contain_text("There is no package numpi.")
    await expect(page.locator("#built")).to_contain_text("is not built yet")
    server.stop()


async def test_build_that_began_again_says_how_long_it_waited_and_ran(
    page: Page, monkeypatch: pytest.MonkeyPatch
):
    began = datetime(2026, 1, 1, tzinfo=UTC)
    said = ((0, "fetching"), (2, "building"), (20, "building"), (50, "waiting"), (82, "failed"))
    lines = [
        BuildEvent(seq, began + timedelta(seconds=at), Phase(phase), "x")
        for seq, (at, phase) in enumerate(said, start=1)
    ]
    monkeypatch.setattr(canned, "log_lines", lambda _: lines)
    server, port = serve(all_states())
    await page.goto(f"http://127.0.0.1:{port}{PREFIX}builds/b000000005")
    times = page.locator(".b-steptime")
    await expect(times.nth(2)).to_have_text("0:18")
    assert (await times.all_inner_texts())[:3] == ["0:35", "0:02", "0:18"]
    server.stop()


async def test_running_server_is_stopped_where_it_is_seen_without_scripts(browser: Any):
    server, port = serve(all_states())
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(f"http://127.0.0.1:{port}{PREFIX}")
    stop = page.get_by_role("button", name="Stop server: An environment whose name")
    await stop.focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status").first).to_have_text(
        re.compile("^Stopping the server of An environment whose name .*Saved files are kept.$")
    )
    await expect(stop).to_have_count(0)
    await page.goto(f"http://127.0.0.1:{port}{PREFIX}environments/e000000001?said=idle")
    await expect(page.locator("#said")).to_have_text(
        "You have no server running in Climate indices, spring course."
    )
    await context.close()
    server.stop()


async def test_what_was_said_of_an_earlier_action_goes_with_the_next(page: Page):
    server, port = serve(all_states())
    await page.goto(f"http://127.0.0.1:{port}{PREFIX}environments/e000000001?said=idle")
    await expect(page.locator("#said")).to_contain_text("You have no server running")
    await page.locator("#settings button").click()
    await expect(page.locator("#toasts > *")).to_have_count(1)
    await expect(page.locator("#said")).to_have_count(0)
    server.stop()


@pytest.mark.parametrize("scripts", [True, False])
async def test_server_of_a_deleted_environment_can_still_be_stopped(browser: Any, scripts: bool):
    server, port = serve(all_states())
    context = await browser.new_context(java_script_enabled=scripts)
    page = await context.new_page()
    await page.goto(f"http://127.0.0.1:{port}{PREFIX}")
    row = page.locator("#env-e000000008")
    await row.locator("summary").click()
    await expect(row).to_contain_text("Its server keeps running until you stop it.")
    await row.get_by_role("button", name="Delete").click()
    told = page.locator(".b-flash", has_text="Deleted")
    await expect(told).to_contain_text("Its server is still running.")
    await told.get_by_role("button", name="Stop its server").click()
    await expect(page.locator("#said")).to_contain_text("Stopping the server of An environment")
    await expect(told.get_by_role("button", name="Undo")).to_be_visible()
    await expect(told.get_by_role("button", name="Stop its server")).to_have_count(0)
    await context.close()
    server.stop()


async def test_what_is_built_is_not_said_to_be_unpinned(address: str, page: Page):
    await page.goto(f"{address}new?url=uni-lab/climate-101")
    await expect(page.locator(".b-finding")).to_have_count(1)
    await expect(page.locator(".b-limit")).to_have_text("Your builds waiting or running: 2 of 2.")
    await page.goto(f"{address}new?url=uni-lab/built")
    await expect(page.locator(".b-finding")).to_have_count(0)


async def test_failed_launch_says_why(address: str, page: Page):
    await page.goto(f"{address}launch/x3")
    await expect(page.locator(".b-verdict")).to_contain_text("did not answer within 60 seconds")
    await expect(page.get_by_role("button", name="Launch again")).to_be_visible()


async def test_server_that_was_ready_long_ago_is_not_entered(address: str, page: Page):
    await page.goto(f"{address}launch/x2")
    await expect(page.get_by_role("link", name="Open server")).to_be_visible()
    await expect(page).to_have_url(re.compile("launch/x2$"))


async def test_admins_see_every_build_and_each_binderhub(address: str, page: Page):
    await page.set_viewport_size({"width": 360, "height": 740})
    await page.goto(f"{address}admin/queue")
    await expect(page.locator("#count")).to_have_text("1 of 2 running, 2 waiting")
    await expect(page.locator("[aria-label^='Cancel the build of']")).to_have_count(3)
    await page.goto(f"{address}admin/backends")
    await expect(page.locator("#list")).to_contain_text("1 running, 1,041 built, 37 failed, 3 lost")
    await expect(page.locator("#list")).to_contain_text("the connection was refused")
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert await page.evaluate(wide) <= 0


CONTRAST = """() => {
  const channel = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = (rgb) => rgb.match(/[\\d.]+/g).slice(0, 3)
    .map((v) => channel(+v)).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (!/, 0\\)$/.test(colour)) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  return [...document.querySelectorAll(
    ".b-pill, .b-quiet, .b-meta, .b-main code, .b-step, .b-danger, .b-tx span, .b-no"
  )].filter((e) => e.checkVisibility() && e.textContent.trim() && !e.style.color && !e.style.backgroundColor)
    .map((e) => {
      const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x);
      return [e.className + ": " + e.textContent.trim().slice(0, 30), (a + 0.05) / (b + 0.05)];
    }).filter(([, ratio]) => ratio < 4.5);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_texts_have_enough_contrast(address: str, page: Page, scheme: Any):
    await page.emulate_media(color_scheme=scheme)
    for path in (
        "",
        "new?url=uni-lab/julia",
        "environments/e000000004",
        "builds/b000000004",
        "admin",
        "admin/backends",
    ):
        await page.goto(address + path)
        assert await page.evaluate(CONTRAST) == [], path


@pytest.mark.parametrize("path", ["", "environments/e000000002", "builds/b000000002"])
async def test_page_says_that_the_service_is_away_and_goes_on_by_itself(path: str, page: Page):
    server, port = serve(all_states())
    await page.goto(f"http://127.0.0.1:{port}{PREFIX}{path}")
    await expect(page.locator("[data-since]").first).to_be_visible()
    server.stop()
    await server.close_all_connections()
    said = page.locator("#toasts")
    away = "The service does not answer; your build goes on. Trying again…"
    await expect(said).to_have_text(away)
    await expect(page.locator("#binder")).to_have_attribute("data-offline", "")
    await page.get_by_role("button", name=re.compile("Launch when ready")).first.click()
    await expect(said).to_contain_text(re.compile("“Launch when ready.*” was not sent"))
    server, _ = serve(all_states(), port)
    await expect(page.locator("#binder")).not_to_have_attribute("data-offline", "")
    await expect(said).to_have_text(re.compile("^The service is back. “Launch when ready"))
    await said.get_by_role("button", name="Send it now").click()
    await expect(page).to_have_url(re.compile("launch"))
    server.stop()


async def test_form_that_is_sent_while_the_service_is_away_keeps_what_was_entered(page: Page):
    server, port = serve(all_states())
    await page.goto(f"http://127.0.0.1:{port}{PREFIX}environments/e000000004/launch")
    await page.locator("#path").fill("notebooks/second.ipynb")
    server.stop()
    await server.close_all_connections()
    await page.get_by_role("button", name="Launch").click()
    await expect(page.locator("#toasts")).to_contain_text("What you entered is kept")
    assert await page.locator("#path").input_value() == "notebooks/second.ipynb"
    sent = page.expect_request(lambda request: request.method == "POST")
    server, _ = serve(all_states(), port)
    async with sent as posted:
        await page.get_by_role("button", name="Send it now").click()
    assert "second.ipynb" in ((await posted.value).post_data or "")
    server.stop()


async def test_link_that_is_pasted_while_the_service_is_away_is_understood_later(page: Page):
    server, port = serve(all_states())
    await page.goto(f"http://127.0.0.1:{port}{PREFIX}new")
    server.stop()
    await server.close_all_connections()
    await page.locator("#url").fill("uni-lab/quick")
    await expect(page.locator("#toasts")).to_have_text("The service does not answer. Trying again…")
    server, _ = serve(all_states(), port)
    await expect(page.locator(".b-facts")).to_contain_text("github.com/uni-lab/quick")
    await expect(page.locator("#toasts")).to_have_text("")
    server.stop()


async def test_application_is_chosen_by_a_button_and_pins_are_seen(address: str, page: Page):
    await page.goto(f"{address}environments/e000000001")
    group = page.get_by_role("group", name="Launch in")
    await expect(group.get_by_role("button")).to_have_text(["JupyterLab", "Notebook", "RStudio"])
    await expect(group.get_by_title("Opened last")).to_have_text("RStudio")
    async with page.expect_request(lambda request: request.method == "POST") as posted:
        await group.get_by_role("button", name="Notebook").click()
    assert "opens=%2Ftree" in ((await posted.value).post_data or "")
    await expect(page).to_have_url(re.compile("/launch$"))
    await page.goto(address)
    await expect(page.locator("#env-e000000001 .b-pin")).to_be_visible()
    await expect(page.locator(".b-pin")).to_have_count(1)
