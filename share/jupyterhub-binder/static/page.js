/**
 * What every page has: true times, copy buttons, menus that close, forms that are sent once,
 * and the keys that lead from page to page.
 * @module
 */
import { remember, resume } from "./again.js";
import { root, settings } from "./api.js";
import "./connection.js";
import { byId, toast } from "./dom.js";
import { startClock } from "./times.js";
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

/** Show what only works with scripts. */
export function reveal(/** @type {ParentNode} */ part = document) {
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

/** A form is sent once, and its button shows that it works. @param {SubmitEvent} event */
function guard(event) {
  const button = event.submitter;
  if (event.defaultPrevented || !(button instanceof HTMLButtonElement)) return;
  if (button.getAttribute("aria-busy") === "true" || root().hasAttribute("data-offline")) {
    event.preventDefault();
    return;
  }
  if (event.target instanceof HTMLFormElement && event.target.method === "post") {
    button.setAttribute("aria-busy", "true");
    remember(event.target, button);
  }
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

document.addEventListener("submit", guard);
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
