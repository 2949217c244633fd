/**
 * My environments: live states in place, search, keys, and a delete that can be undone.
 * @module
 */
import { call, fetchPage, settings } from "./api.js";
import { onBack } from "./connection.js";
import { byId, complain, poll, renew, toast } from "./dom.js";
import { onKeys, reveal } from "./page.js";
import { tick } from "./times.js";
import { _ } from "./words.js";

const search = /** @type {HTMLInputElement | null} */ (byId("search"));

/** @returns {boolean} whether anything shown will still change */
function isUnfinished() {
  return byId("list")?.dataset.unfinished === "true";
}

/** Show the list as it is now. @param {AbortSignal} [signal] */
async function refresh(signal) {
  const page = await fetchPage(location.href, signal);
  for (const id of ["list", "count"]) {
    const shown = byId(id);
    const fresh = page.getElementById(id);
    if (shown && fresh) renew(shown, fresh);
  }
  for (const id of ["tools", "foot"]) {
    const shown = byId(id);
    if (shown) shown.hidden = page.getElementById(id)?.hidden ?? false;
  }
  reveal();
  tick();
  mark();
}

const wake = poll(async () => {
  await refresh();
  return isUnfinished();
}, 2.5);

// --- Search: the list answers while one types --------------------------------------------

let typing = 0;
/** @type {AbortController | undefined} */
let asking;

function searchSoon() {
  clearTimeout(typing);
  typing = setTimeout(async () => {
    const url = new URL(location.href);
    url.searchParams.delete("offset");
    url.searchParams.delete("deleted");
    if (search?.value) url.searchParams.set("search", search.value);
    else url.searchParams.delete("search");
    history.replaceState(null, "", url);
    // What was said of the last action does not fit any more.
    byId("said")?.remove();
    asking?.abort();
    asking = new AbortController();
    try {
      await refresh(asking.signal);
      if (isUnfinished()) wake();
    } catch (error) {
      if (!(error instanceof DOMException)) complain(error);
    }
  }, 200);
}

search?.addEventListener("input", searchSoon);
search?.addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown") {
    event.preventDefault();
    search.blur();
    move(1);
  }
});
search?.form?.addEventListener("submit", (event) => {
  event.preventDefault();
  searchSoon();
});

// --- Keys: one environment is the active one ----------------------------------------------

let active = "";

/** @returns {HTMLElement[]} */
function items() {
  return [...document.querySelectorAll(".b-item")].filter((each) => each instanceof HTMLElement);
}

function mark() {
  for (const item of items()) item.toggleAttribute("data-active", item.dataset.id === active);
}

/** @param {number} by */
function move(by) {
  const all = items();
  if (!all.length) return;
  const at = all.findIndex((item) => item.dataset.id === active);
  const to = at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + by));
  active = all[to].dataset.id ?? "";
  mark();
  const link = all[to].querySelector(".b-name a");
  if (link instanceof HTMLElement) link.focus({ preventScroll: true });
  all[to].scrollIntoView({ block: "nearest" });
}

document.addEventListener("focusin", (event) => {
  const item = event.target instanceof Element ? event.target.closest(".b-item") : null;
  if (item instanceof HTMLElement) {
    active = item.dataset.id ?? "";
    mark();
  }
});

onKeys({
  "/": () => search?.select(),
  ArrowDown: () => move(1),
  ArrowUp: () => move(-1),
  j: () => move(1),
  k: () => move(-1),
  l: () => {
    const button = document.querySelector(".b-item[data-active] [data-launch]");
    if (button instanceof HTMLElement) button.click();
  },
});

// --- Delete, and undo -----------------------------------------------------------------------

/** @param {string} id */
async function restore(id) {
  try {
    const { name } = await call("POST", `environments/${id}/restore`);
    if (new URL(location.href).searchParams.has("deleted")) {
      location.assign(`${settings().prefix}?said=restored&of=${id}`);
      return;
    }
    toast(_("Restored “%(name)s”.", { name }), { seconds: 3 });
    await wake();
    byId(`env-${id}`)?.querySelector("a")?.focus();
  } catch (error) {
    complain(error);
  }
}

/** @param {HTMLElement} item */
async function remove(item) {
  const id = item.dataset.id ?? "";
  item.setAttribute("aria-busy", "true");
  try {
    await call("DELETE", `environments/${id}`);
    item.remove();
    toast(_("Deleted “%(name)s”.", { name: item.dataset.name ?? "" }), {
      action: _("Undo"),
      onAction: () => restore(id),
      focus: true,
    });
    await refresh();
  } catch (error) {
    for (const each of [item, ...item.querySelectorAll("[aria-busy]")]) {
      each.removeAttribute("aria-busy");
    }
    complain(error);
  }
}

document.addEventListener("submit", (event) => {
  const button = event.submitter;
  const item = button instanceof HTMLElement ? button.closest(".b-item") : null;
  if (event.defaultPrevented || !button?.hasAttribute("data-delete")) return;
  if (!(item instanceof HTMLElement)) return;
  // Where a server runs the form is sent: the page that comes offers to stop it.
  event.preventDefault();
  remove(item);
});

// What was said once is not said again after a reload.
if (byId("said")) {
  const url = new URL(location.href);
  for (const name of ["said", "of"]) url.searchParams.delete(name);
  history.replaceState(null, "", url);
}
if (isUnfinished()) setTimeout(wake, 1500);
onBack(wake);
window.addEventListener("pageshow", (event) => {
  if (event.persisted) wake();
});
