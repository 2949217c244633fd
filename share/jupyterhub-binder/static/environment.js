/**
 * An environment's page: live states in place, and the title that is renamed where it stands.
 * @module
 */
import { call, fetchPage } from "./api.js";
import { onBack } from "./connection.js";
import { byId, complain, poll, renew, toast } from "./dom.js";
import { onKeys, reveal } from "./page.js";
import { tick } from "./times.js";
import { _ } from "./words.js";

const id = byId("environment")?.dataset.id ?? "";
// Both are missing for those who may only launch it.
const rename = /** @type {HTMLDetailsElement | null} */ (byId("rename"));
const settings = /** @type {HTMLFormElement | null} */ (byId("settings"));

function isUnfinished() {
  return byId("live")?.dataset.unfinished === "true";
}

async function refresh() {
  const page = await fetchPage(location.href);
  for (const part of ["title", "live"]) {
    const shown = byId(part);
    const fresh = page.getElementById(part);
    if (shown && fresh) renew(shown, fresh);
  }
  document.title = page.title.trim();
  const icon = page.querySelector("link[rel=icon]")?.getAttribute("href");
  if (icon) document.querySelector("link[rel=icon]")?.setAttribute("href", icon);
  reveal();
  tick();
}

const wake = poll(async () => {
  await refresh();
  return isUnfinished();
}, 2.5);

/** @param {HTMLDetailsElement} rename */
function renameInPlace(rename) {
  const form = /** @type {HTMLFormElement} */ (byId("renameform"));
  const field = /** @type {HTMLInputElement} */ (form.elements.namedItem("name"));

  function keepName() {
    rename.open = false;
    field.value = field.defaultValue;
    rename.querySelector("summary")?.focus();
  }

  rename.addEventListener("toggle", () => {
    if (rename.open && document.activeElement !== field) field.select();
  });
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape") keepName();
  });
  const cancel = /** @type {HTMLElement} */ (byId("rename-cancel"));
  cancel.hidden = false;
  cancel.addEventListener("click", keepName);
  form.addEventListener("submit", (event) =>
    send(event, _("Renamed"), async () => {
      await call("PATCH", `environments/${id}`, { name: field.value });
      field.defaultValue = field.value;
      rename.open = false;
      rename.querySelector("summary")?.focus();
      await refresh();
    }),
  );
}

/** @param {HTMLFormElement} settings */
function saveInPlace(settings) {
  const path = /** @type {HTMLInputElement} */ (settings.elements.namedItem("path"));
  settings.addEventListener("submit", (event) =>
    send(event, _("Saved"), async () => {
      const form = new FormData(settings);
      const wanted = Object.fromEntries(
        ["path", "content", "content_url", "content_ref", "updates"].map((name) => [
          name,
          form.get(name),
        ]),
      );
      path.value = (await call("PATCH", `environments/${id}`, wanted)).path;
      await refreshSettings();
    }),
  );
}

/** Show what the saved settings mean, and which folder takes the files. */
async function refreshSettings() {
  const page = await fetchPage(location.pathname);
  for (const part of ["content-words", "content-label"]) {
    const fresh = page.getElementById(part);
    if (fresh) byId(part)?.replaceChildren(...fresh.childNodes);
  }
}

/**
 * Send a form without leaving the page, and say how that went.
 * @param {SubmitEvent} event
 * @param {string} done what to say then
 * @param {() => Promise<void>} work
 */
async function send(event, done, work) {
  event.preventDefault();
  const button = event.submitter;
  if (button?.getAttribute("aria-busy") === "true") return;
  button?.setAttribute("aria-busy", "true");
  try {
    await work();
    toast(done, { seconds: 2 });
  } catch (error) {
    complain(error);
  }
  button?.removeAttribute("aria-busy");
}

onKeys({
  r: () => {
    if (!rename) return;
    rename.open = true;
    // At once: the next keys belong to the name.
    /** @type {HTMLInputElement | null} */ (rename.querySelector("[name=name]"))?.select();
  },
  l: () => {
    const button = document.querySelector("[data-launch]");
    if (button instanceof HTMLElement) button.click();
  },
});

if (rename) renameInPlace(rename);
if (settings) saveInPlace(settings);

/** Open what a link of the list leads to. */
function openTarget() {
  const target = document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) target.open = true;
}
openTarget();
window.addEventListener("hashchange", openTarget);

// What was said once is not said again after a reload.
if (byId("said")) history.replaceState(null, "", location.pathname + location.hash);
if (isUnfinished()) setTimeout(wake, 1500);
onBack(wake);
window.addEventListener("pageshow", (event) => {
  if (event.persisted) wake();
});

// The schedule's clock is the reader's own, until another one is saved.
const zone = /** @type {HTMLInputElement | null} */ (document.querySelector("#time-zone[data-guess]"));
if (zone) zone.value = Intl.DateTimeFormat().resolvedOptions().timeZone || zone.value;
