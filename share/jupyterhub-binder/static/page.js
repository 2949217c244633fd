/**
 * What every page has: true times, copy buttons, menus that close, forms that are sent once,
 * and the keys that lead from page to page.
 * @module
 */
import { remember, resume } from "./again.js";
import { root, settings } from "./api.js";
import { answers } from "./connection.js";
import { byId, toast } from "./dom.js";
import { startClock } from "./times.js";
import { keep } from "./unsent.js";
import { _ } from "./words.js";

/** A box that is ticked takes no letters, and keeps the focus for a moment when its dialog closes. */
const TYPED_INTO = "input:not([type=checkbox]):not([type=radio]), textarea, select";

/**
 * Say whether a key press is meant for something that takes text, or for the browser.
 * @param {KeyboardEvent} event
 * @returns {boolean}
 */
function isTaken(event) {
  const target = event.target;
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return true;
  if (document.querySelector("dialog[open]")) return true;
  return (
    target instanceof HTMLElement && (target.isContentEditable || target.matches(TYPED_INTO))
  );
}

const KEYS_OFF = "jupyterhub-binder-keys-off";

/** Whether single keys do something: who dictates or trembles can turn them off in the help. */
let keysOn = localStorage.getItem(KEYS_OFF) === null;

/**
 * Listen to single keys, unless the person types into something.
 * @param {Record<string, (event: KeyboardEvent) => void>} keys
 */
export function onKeys(keys) {
  document.addEventListener("keydown", (event) => {
    const act = Object.hasOwn(keys, event.key) ? keys[event.key] : undefined;
    if (!act || !keysOn || isTaken(event)) return;
    event.preventDefault();
    act(event);
  });
}

function showHelp() {
  const help = byId("help");
  if (help instanceof HTMLDialogElement && !help.open) help.showModal();
}

/** Show the options of the chosen profile alone. */
function showOptions() {
  for (const select of document.querySelectorAll("select[data-profiles]")) {
    if (!(select instanceof HTMLSelectElement)) continue;
    for (const each of select.form?.querySelectorAll("[data-profile]") ?? []) {
      each.toggleAttribute("hidden", each.getAttribute("data-profile") !== select.value);
    }
  }
}

/** Show what only works with scripts, and hide what only helps without. */
export function reveal(/** @type {ParentNode} */ part = document) {
  showOptions();
  const parts = "[data-copy],[data-help],[data-change]";
  for (const element of part.querySelectorAll(parts)) element.removeAttribute("hidden");
}

/** @param {HTMLElement} button */
async function copy(button) {
  try {
    await navigator.clipboard.writeText(button.dataset.copy ?? "");
    toast(_("Copied"), { seconds: 2 });
  } catch {
    toast(_("Your browser does not allow copying."), { wrong: true });
  }
}

/** @param {Element | null} except */
function closeMenus(except = null) {
  for (const menu of document.querySelectorAll("details.b-menu[open]")) {
    if (menu !== except) menu.removeAttribute("open");
  }
}

/** The forms for which the service was found to answer. @type {WeakSet<HTMLFormElement>} */
const goodToGo = new WeakSet();

/** A form is sent once, its button shows that it works, and nothing is sent to nobody. @param {SubmitEvent} event */
function guard(event) {
  const { submitter: button, target: form } = event;
  if (event.defaultPrevented || !(button instanceof HTMLButtonElement)) return;
  if (button.getAttribute("aria-busy") === "true") {
    event.preventDefault();
  } else if (form instanceof HTMLFormElement && form.method === "post") {
    if (goodToGo.delete(form)) {
      button.setAttribute("aria-busy", "true");
      remember(form, button);
    } else {
      event.preventDefault();
      sendSafely(form, button);
    }
  }
}

/**
 * What stands before the service would answer in its place with a page that has nothing to go back to.
 * @param {HTMLFormElement} form
 * @param {HTMLButtonElement} button
 */
async function sendSafely(form, button) {
  button.setAttribute("aria-busy", "true");
  const sent = !root().hasAttribute("data-offline") && (await answers());
  button.removeAttribute("aria-busy");
  if (!sent) return keep(form, button);
  goodToGo.add(form);
  form.requestSubmit(button);
}

const keysBox = byId("keys-on");
if (keysBox instanceof HTMLInputElement) {
  keysBox.checked = keysOn;
  keysBox.addEventListener("change", () => {
    keysOn = keysBox.checked;
    if (keysOn) localStorage.removeItem(KEYS_OFF);
    else localStorage.setItem(KEYS_OFF, "1");
  });
}

/** Show the end of a path that is longer than its field, where nobody writes. */
function showEnds() {
  for (const field of document.querySelectorAll("input[data-end]")) {
    if (field !== document.activeElement) field.scrollLeft = field.scrollWidth;
  }
}
showEnds();
document.addEventListener("focusout", () => setTimeout(showEnds));
document.addEventListener("submit", guard);
document.addEventListener("change", showOptions);
document.addEventListener("click", (event) => {
  const target = event.target instanceof Element ? event.target : null;
  const button = target?.closest("[data-copy],[data-help]");
  if (button instanceof HTMLElement) button.dataset.copy ? copy(button) : showHelp();
  closeMenus(target?.closest("details.b-menu") ?? null);
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const menu = document.querySelector("details.b-menu[open] > summary");
  closeMenus();
  if (menu instanceof HTMLElement) menu.focus();
});
// A page that comes back out of the history is not busy any more.
window.addEventListener("pageshow", () => {
  for (const button of document.querySelectorAll("[aria-busy='true']")) {
    button.removeAttribute("aria-busy");
  }
});
onKeys({
  "?": showHelp,
  n: () => location.assign(`${settings().prefix}new`),
  e: () => location.assign(settings().prefix),
});
reveal();
resume();
startClock();
