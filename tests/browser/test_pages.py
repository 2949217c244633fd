"""The pages as a person has them, with scripts and without."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.kit.live import LiveHub, OpenPage, call, finish_build, make_built

pytestmark = pytest.mark.browser

HOSTILE_NAME = '<img src=x onerror="alert(1)"> "quoted" & more'


async def build_of(page: Page, hub: LiveHub, url: str, name: str = "Mine") -> Any:
    """Make an environment and open the page of its build."""
    made = await call(page, "POST", "environments", {"url": url, "name": name})
    await page.goto(f"{hub.binder}builds/{made['latest']['id']}")
    return made


# --- New ----------------------------------------------------------------------------------------


async def test_empty_list_teaches_and_leads_to_new(hub: LiveHub, open_page: OpenPage):
    page: Page = await open_page()
    await expect(page.get_by_role("heading", name="Create your first environment")).to_be_visible()
    await page.get_by_label("Paste a link").fill(hub.make_repository("first"))
    await page.get_by_role("button", name="Continue").click()
    await expect(page.locator(".b-preview")).to_contain_text("This will be built")


async def test_pasted_link_is_understood_without_a_click(hub: LiveHub, open_page: OpenPage):
    url = hub.make_repository("pasted")
    page: Page = await open_page("new")
    await page.get_by_label("Paste a link").fill(url)
    preview = page.locator(".b-preview")
    await expect(preview).to_contain_text(re.compile("now at [0-9a-f]{7}"))
    await expect(page).to_have_url(re.compile(r"/new\?url="))


async def test_typed_name_survives_another_ref(hub: LiveHub, open_page: OpenPage):
    url = hub.make_repository("refs")
    page: Page = await open_page("new")
    await page.get_by_label("Paste a link").fill(url)
    await page.get_by_label("Name", exact=True).fill("My own name")
    await page.get_by_role("button", name="change").click()
    await page.keyboard.type("main")
    await expect(page.locator(".b-facts")).to_contain_text("main")
    await expect(page.get_by_label("Name", exact=True)).to_have_value("My own name")


async def test_unknown_repository_is_refused_where_it_was_typed(hub: LiveHub, open_page: OpenPage):
    page: Page = await open_page("new")
    await page.get_by_label("Paste a link").fill(f"file://{hub.folder}/repositories/missing")
    await expect(page.get_by_role("alert")).to_be_visible()
    await expect(page.get_by_role("button", name="Build and launch")).to_have_count(0)


async def test_build_only_leads_to_the_log(hub: LiveHub, open_page: OpenPage):
    page: Page = await open_page("new")
    await page.get_by_label("Paste a link").fill(hub.make_repository("only/fake-progress"))
    await page.get_by_role("button", name="Build only").click()
    await expect(page).to_have_url(re.compile(r"/builds/\w+$"))
    await expect(page.locator("#follow")).to_have_text("following")
    await expect(page.locator(".b-head .b-pill")).to_have_text("Built", timeout=30_000)
    await expect(page).to_have_title(re.compile("^Built"))
    await expect(page.locator("link[rel=icon]")).to_have_attribute("href", re.compile("good"))


@pytest.mark.parametrize("scripts", [True, False])
async def test_what_one_keeps_already_is_said_and_launched_without_another(
    hub: LiveHub, open_page: OpenPage, scripts: bool
):
    url = hub.make_repository(f"kept/{scripts}")
    page: Page = await open_page(java_script_enabled=scripts)
    made = await make_built(page, url, "Mine")
    await page.goto(f"{hub.binder}new?url={url}")
    await expect(page.locator(".b-verdict")).to_contain_text("You already have this as Mine.")
    kept = page.get_by_role("link", name="Mine", exact=True)
    await expect(kept).to_have_attribute("href", re.compile(f"environments/{made['id']}$"))
    await page.get_by_role("button", name="Launch it").click()
    await expect(page).not_to_have_url(re.compile("/new"))
    await page.goto(hub.binder)
    assert len((await call(page, "GET", "environments"))["items"]) == 1


async def test_another_one_of_what_is_kept_has_a_name_of_its_own(hub: LiveHub, open_page: OpenPage):
    url = hub.make_repository("another")
    page: Page = await open_page()
    await make_built(page, url, "Mine")
    await page.goto(f"{hub.binder}new?url={url}")
    await page.get_by_role("button", name="Create another", exact=True).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Mine 2")
    assert (await call(page, "POST", "resolve", {"url": url}))["kept"]["name"] == "Mine 2"


async def test_build_and_launch_while_a_server_runs_says_what_has_begun(
    hub: LiveHub, open_page: OpenPage
):
    page: Page = await open_page()
    first = await build_of(page, hub, hub.make_repository("runs/fake-hang"), "First")
    await call(page, "POST", f"environments/{first['id']}/launches", {})
    await page.goto(f"{hub.binder}new?url={hub.make_repository('begins/fake-hang')}")
    await page.get_by_role("button", name="Build and launch").click()
    choice = page.locator(".b-verdict")
    await expect(choice).to_contain_text("in First")
    await expect(choice).to_contain_text("The build of fake-hang continues")
    await expect(page.get_by_role("link", name="Not now")).to_be_visible()
    await page.get_by_role("link", name="see its progress").click()
    await expect(page).to_have_url(re.compile(r"/builds/\w+$"))
    for build_id in (first["latest"]["id"], page.url.rpartition("/")[2]):
        await call(page, "POST", f"builds/{build_id}/cancel")


# --- A build's log -------------------------------------------------------------------------------


async def test_progress_lines_replace_each_other(hub: LiveHub, open_page: OpenPage):
    page: Page = await open_page()
    made = await make_built(page, hub.make_repository("fake-progress"), "Progress")
    build = await call(page, "GET", f"builds/{made['latest']['id']}")
    await page.goto(f"{hub.binder}builds/{build['id']}")
    await expect(page.locator("#logstate")).to_have_text("complete")
    assert build["lines"] > 90
    assert await page.locator(".b-ln").count() < 30


async def test_failed_build_leads_with_its_reason_and_a_way_out(hub: LiveHub, open_page: OpenPage):
    page: Page = await open_page()
    await build_of(page, hub, hub.make_repository("fake-fail"))
    await expect(page.locator(".b-verdict")).to_contain_text("The script says")
    await expect(page.get_by_role("button", name="Build again")).to_be_visible()
    await expect(page).to_have_title(re.compile("^Failed"))


async def test_hostile_lines_stay_text(hub: LiveHub, open_page: OpenPage):
    page: Page = await open_page()
    await build_of(page, hub, hub.make_repository("fake-hostile"), HOSTILE_NAME)
    await expect(page.locator("#logstate")).to_have_text("complete")
    log = page.locator("#lines")
    await expect(log).to_contain_text("<script>alert(1)</script>")
    await expect(log).to_contain_text("U+202E")
    assert await log.locator("img, script, a:not(.b-no)").count() == 0
    await expect(page.locator(".b-back")).to_contain_text(HOSTILE_NAME)


async def test_twenty_thousand_lines_are_there_and_found(hub: LiveHub, open_page: OpenPage):
    page: Page = await open_page()
    made = await make_built(page, hub.make_repository("fake-long"), "Long")
    await page.goto(f"{hub.binder}builds/{made['latest']['id']}#L12345")
    await expect(page.locator("#logstate")).to_have_text("complete", timeout=30_000)
    await expect(page.locator("#L12345")).to_be_in_viewport()
    assert await page.locator(".b-ln").count() > 20_000
    await page.keyboard.press("/")
    await page.keyboard.type("19999")
    await expect(page.locator("#found")).to_have_text(re.compile(r"^1 / \d+$"))
    await expect(page.locator(".b-hit")).to_be_in_viewport()


async def test_running_build_can_be_cancelled(hub: LiveHub, open_page: OpenPage):
    page: Page = await open_page()
    await build_of(page, hub, hub.make_repository("fake-hang"))
    await expect(page.locator(".b-head .b-pill")).to_have_text("Building")
    await expect(page.locator(".b-main")).to_contain_text("You can close this page")
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator(".b-head .b-pill")).to_have_text("Cancelled")


# --- The list -------------------------------------------------------------------------------------


async def test_states_change_in_place(hub: LiveHub, open_page: OpenPage):
    page: Page = await open_page()
    options = {"fake": {"lines": 60, "lines_per_second": 5.0}}
    body = {"url": hub.make_repository("live"), "name": "Live", "options": options}
    made = await call(page, "POST", "environments", body)
    await page.reload()
    row = page.locator(f"#env-{made['id']}")
    await expect(row.locator(".b-pill")).to_have_text(re.compile("Queued|Building"))
    await row.locator("summary").click()
    await expect(row.locator(".b-pill")).to_have_text("Ready", timeout=30_000)
    await expect(row.get_by_role("button", name="Launch: Live")).to_be_visible()
    assert await row.locator("details").get_attribute("open") is not None


async def test_delete_can_be_undone(hub: LiveHub, open_page: OpenPage):
    page: Page = await open_page()
    url = hub.make_repository("deleted")
    for name in ("Keep", "Go"):
        await make_built(page, url, name)
    await page.reload()
    row = page.locator(".b-item", has_text="Go")
    await row.locator("summary").click()
    await row.get_by_role("button", name="Delete").click()
    await expect(row).to_have_count(0)
    await expect(page.locator("#count")).to_have_text("1 environment")
    await page.get_by_role("button", name="Undo").click()
    await expect(page.locator(".b-item", has_text="Go")).to_be_visible()


async def test_list_that_became_empty_offers_nothing_to_search_or_sort(
    hub: LiveHub, open_page: OpenPage
):
    page: Page = await open_page()
    await make_built(page, hub.make_repository("last"), "Last")
    await page.reload()
    row = page.locator(".b-item")
    await row.locator("summary").click()
    await row.get_by_role("button", name="Delete").click()
    await expect(page.get_by_label("Paste a link to a repository")).to_be_visible()
    await expect(page.locator("#search")).to_be_hidden()
    await expect(page.locator("#foot")).to_be_hidden()
    await page.get_by_role("button", name="Undo").click()
    await expect(page.locator("#toasts")).to_contain_text("Restored “Last”.")
    await expect(page.locator("#search")).to_be_visible()
    await expect(page.locator("#foot")).to_be_visible()


async def test_list_is_searched_and_walked_by_keys(hub: LiveHub, open_page: OpenPage):
    page: Page = await open_page()
    url = hub.make_repository("keys")
    for name in ("Alpha", "Beta", HOSTILE_NAME):
        await make_built(page, url, name)
    await page.reload()
    await expect(page.locator(".b-item")).to_have_count(3)
    await page.keyboard.press("/")
    await page.keyboard.type("beta")
    await expect(page.locator(".b-item")).to_have_count(1)
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Beta")
    await page.wait_for_load_state()
    await page.keyboard.press("?")
    await expect(page.locator("#help")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.locator("#help")).to_be_hidden()
    await page.keyboard.press("n")
    await expect(page).to_have_url(re.compile("/new$"))


async def test_environment_is_renamed_where_its_title_stands(hub: LiveHub, open_page: OpenPage):
    page: Page = await open_page()
    made = await make_built(page, hub.make_repository("renamed"), "Before")
    await page.goto(f"{hub.binder}environments/{made['id']}")
    await page.keyboard.press("r")
    await page.keyboard.type(HOSTILE_NAME)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE_NAME)
    await page.goto(hub.binder)
    await expect(page.locator(".b-name")).to_contain_text(HOSTILE_NAME)


async def test_settings_are_saved_and_refused_where_they_stand(hub: LiveHub, open_page: OpenPage):
    page: Page = await open_page()
    made = await make_built(page, hub.make_repository("settings"), "Settings")
    await page.goto(f"{hub.binder}environments/{made['id']}")
    opens = page.get_by_label("Open", exact=True)
    await opens.fill("../outside")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.locator("#toasts")).to_contain_text("inside the repository")
    await opens.fill("notes//first.ipynb")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(opens).to_have_value("notes/first.ipynb")
    await expect(page.locator("#toasts")).to_contain_text("Saved")
    await page.reload()
    await expect(opens).to_have_value("notes/first.ipynb")


async def test_update_without_a_newer_commit_says_so(hub: LiveHub, open_page: OpenPage):
    page: Page = await open_page()
    made = await make_built(page, hub.make_repository("newest"), "Newest")
    await page.goto(f"{hub.binder}environments/{made['id']}")
    await page.get_by_role("button", name="Update to the newest commit").click()
    await expect(page.get_by_text("The newest commit is already built")).to_be_visible()
    await expect(page).to_have_url(re.compile(r"/environments/\w+$"))  # the script has begun
    await page.reload()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Newest")
    await expect(page.locator("#said")).to_have_count(0)


async def test_repository_without_a_page_is_no_link(hub: LiveHub, open_page: OpenPage):
    page: Page = await open_page()
    await make_built(page, hub.make_repository("pageless"), "Pageless")
    await page.goto(hub.binder)
    await page.locator(".b-menu summary").click()
    await expect(page.get_by_role("link", name="Builds and settings")).to_be_visible()
    await expect(page.get_by_role("link", name="Open the repository")).to_have_count(0)


async def test_earlier_build_is_chosen_again(hub: LiveHub, open_page: OpenPage):
    page: Page = await open_page()
    made = await make_built(page, hub.make_repository("history"), "History")
    again = await call(page, "POST", f"environments/{made['id']}/builds", {"force": True})
    await finish_build(page, again["latest"]["id"])
    await page.goto(f"{hub.binder}environments/{made['id']}")
    await expect(page.locator("#build-2")).to_contain_text("Next launch")
    await page.get_by_role("link", name="Use this build").click()
    await page.get_by_label("Reason").fill("The plots differ")
    await page.get_by_role("button", name="Use this build").click()
    await expect(page.locator("#build-1")).to_contain_text("Next launch")
    await page.get_by_text("History of the current build").click()
    await expect(page.locator("#changes")).to_contain_text("The plots differ")


async def test_launch_is_asked_for_before_anything_starts(hub: LiveHub, open_page: OpenPage):
    page: Page = await open_page()
    made = await make_built(page, hub.make_repository("asked"), "Asked")
    await page.goto(f"{hub.binder}environments/{made['id']}/launch")
    await expect(page.get_by_role("button", name="Launch")).to_be_visible()
    assert (await call(page, "GET", "servers"))["items"] == []


# --- Without scripts, and on a small screen --------------------------------------------------------


async def test_everything_works_without_scripts(hub: LiveHub, open_page: OpenPage):
    page: Page = await open_page("new", java_script_enabled=False)
    await page.get_by_label("Paste a link").fill(hub.make_repository("plain"))
    await page.get_by_role("button", name="Continue").click()
    await page.get_by_label("Name", exact=True).fill("Plain")
    await page.get_by_role("button", name="Build only").click()
    await expect(page.locator(".b-main")).to_contain_text("Plain")
    await page.goto(hub.binder)
    row = page.locator(".b-item", has_text="Plain")
    await row.get_by_role("link", name="Plain", exact=True).click()
    await page.locator("#rename summary").click()
    await page.get_by_label("Name", exact=True).fill("Plainer")
    await page.get_by_role("button", name="Rename").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Plainer")
    await expect(page.locator("#said")).to_have_text("Saved.")
    await page.get_by_label("Open", exact=True).fill("../outside")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.locator(".lead")).to_contain_text("inside the repository")
    await page.get_by_role("link", name="Back").click()
    await page.get_by_role("link", name=re.compile("Build 1")).click()
    await expect(page.locator("#lines .b-ln").first).to_be_visible()
    await page.goto(hub.binder)
    await row.locator("summary").click()
    await row.get_by_role("button", name="Delete").click()
    await expect(page.locator(".b-item")).to_have_count(0)
    await expect(page.locator(".b-flash")).to_contain_text("Deleted Plainer.")
    await page.get_by_role("button", name="Undo").click()
    await expect(row).to_contain_text("Plainer")


async def test_nothing_scrolls_sideways_on_a_small_screen(hub: LiveHub, open_page: OpenPage):
    page: Page = await open_page(width=360)
    made = await make_built(page, hub.make_repository("small/fake-hostile"), "W" * 200)
    build = made["latest"]["id"]
    paths = ("", "new", f"environments/{made['id']}", f"builds/{build}")
    for path in (*paths, f"environments/{made['id']}/launch", "nothing-here"):
        await page.goto(hub.binder + path)
        too_wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        assert not await page.evaluate(too_wide), path


# --- What a page may do ------------------------------------------------------------------------------


async def test_pages_allow_no_inline_script_or_style(hub: LiveHub, open_page: OpenPage):
    page: Page = await open_page()
    answer = await page.goto(hub.binder)
    assert answer is not None
    policy = answer.headers["content-security-policy"]
    assert "unsafe-inline" not in policy
    assert "unsafe-eval" not in policy
    ours = page.locator("#binder [style], #binder script, #binder style, #binder [onclick]")
    assert await ours.count() == 0


async def test_another_persons_environment_is_not_there(hub: LiveHub, open_page: OpenPage):
    page: Page = await open_page()
    made = await make_built(page, hub.make_repository("private"), "Private")
    other: Page = await open_page(f"environments/{made['id']}")
    await expect(other.get_by_role("heading", level=1)).to_have_text("Not found")
    await expect(other.locator(".b-main")).not_to_contain_text("Private")


async def test_form_without_its_token_changes_nothing(hub: LiveHub, open_page: OpenPage):
    page: Page = await open_page()
    made = await make_built(page, hub.make_repository("forged"), "Forged")
    answer = await page.request.post(f"{hub.binder}environments/{made['id']}/delete")
    assert answer.status == 403
    await page.reload()
    await expect(page.locator(".b-item", has_text="Forged")).to_be_visible()


async def test_what_was_filled_in_survives_an_expired_login(hub: LiveHub, open_page: OpenPage):
    page: Page = await open_page(f"new?url={hub.make_repository('expired')}")
    await page.get_by_label("Name", exact=True).fill("kept name")
    cookies = await page.context.cookies()
    await page.context.clear_cookies()
    await page.get_by_role("button", name="Build only").click()
    await expect(page.get_by_role("heading", name="Signed out")).to_be_visible()
    hubs = [each for each in cookies if not each["path"].startswith("/services/")]
    await page.context.add_cookies(hubs)
    await page.get_by_role("link", name="Sign in again").click()
    await expect(page.get_by_label("Name", exact=True)).to_have_value("kept name")
    await page.locator("#toasts").get_by_role("button", name="Build only").click()
    await expect(page.get_by_role("link", name="← kept name")).to_be_visible()


async def test_launch_waits_for_its_build_and_can_be_cancelled(hub: LiveHub, open_page: OpenPage):
    page: Page = await open_page()
    made = await build_of(page, hub, hub.make_repository("waits/fake-hang"))
    await page.get_by_role("button", name="Launch when ready").click()
    await expect(page).to_have_url(re.compile(r"/launch/\w+$"))
    await expect(page.locator(".b-head .b-pill")).to_have_text("Waiting for the build")
    await expect(page.locator("#tail")).to_be_visible()
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator(".b-head .b-pill")).to_have_text("Cancelled")
    await expect(page.get_by_role("button", name="Launch again")).to_be_visible()
    await call(page, "POST", f"builds/{made['latest']['id']}/cancel")


async def test_second_launch_leaves_a_choice(hub: LiveHub, open_page: OpenPage):
    page: Page = await open_page()
    second = await make_built(page, hub.make_repository("second"), "Second")
    url = hub.make_repository("first/fake-hang")
    first = await call(page, "POST", "environments", {"url": url, "name": "First"})
    await call(page, "POST", f"environments/{first['id']}/launches", {})
    await page.goto(f"{hub.binder}environments/{second['id']}")
    await page.get_by_role("button", name="Launch").click()
    await expect(page.locator(".b-verdict")).to_contain_text("in First")
    await expect(page.get_by_role("button", name="Start another server")).to_be_visible()
    await call(page, "POST", f"builds/{first['latest']['id']}/cancel")
