/**
 * Small helpers for the page's elements. Text always goes in as text, never as markup.
 * @module
 */
import { _ } from "./words.js";

/**
 * Make an element.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {string} [className]
 * @param {string} [text]
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

/**
 * @param {string} id
 * @returns {HTMLElement | null}
 */
export function byId(id) {
  return document.getElementById(id);
}

/**
 * Put a freshly fetched part in the place of the shown one, touching what changed alone:
 * focus, open menus and scroll positions stay.
 * @param {Element} shown
 * @param {Element} fresh
 */
export function renew(shown, fresh) {
  const focused = document.activeElement;
  /** @type {Element[]} */
  const around = [];
  for (let at = focused; at && shown.contains(at); at = at.parentElement) around.push(at);
  renewElement(shown, fresh);
  if (focused && around.length && !focused.isConnected) refocus(focused, around);
}

/**
 * Give the focus to what took the place of an element that is gone: its like, else what was
 * around it, so that nobody presses by accident what they did not see come.
 * @param {Element} gone
 * @param {Element[]} around from the inside out
 */
function refocus(gone, around) {
  const place = around.find((each) => each.isConnected) ?? byId("binder");
  const alike = [...(place?.querySelectorAll(gone.tagName) ?? [])].find(
    (each) => each.textContent?.trim() === gone.textContent?.trim(),
  );
  if (!(place instanceof HTMLElement)) return;
  if (!alike) place.tabIndex = -1;
  (alike instanceof HTMLElement ? alike : place).focus({ preventScroll: true });
}

/**
 * @param {Element} shown
 * @param {Element} fresh
 */
function renewElement(shown, fresh) {
  if (sameMarkup(shown, fresh)) return;
  if (shown.tagName !== fresh.tagName) {
    shown.replaceWith(document.adoptNode(fresh));
    return;
  }
  renewAttributes(shown, fresh);
  if (shown.children.length === 0 || fresh.children.length === 0 || hasText(shown) || hasText(fresh)) {
    shown.replaceChildren(...fresh.childNodes);
    return;
  }
  renewChildren(shown, fresh);
}

/**
 * @param {Element} shown
 * @param {Element} fresh
 */
function sameMarkup(shown, fresh) {
  return shown.outerHTML === fresh.outerHTML;
}

/** @param {Element} element */
function hasText(element) {
  return [...element.childNodes].some(
    (node) => node.nodeType === Node.TEXT_NODE && node.textContent?.trim(),
  );
}

/** What scripts set, and a fresh page does not have. */
const KEPT = new Set(["open", "data-active", "aria-busy"]);

/**
 * @param {Element} shown
 * @param {Element} fresh
 */
function renewAttributes(shown, fresh) {
  for (const { name } of [...shown.attributes]) {
    if (!fresh.hasAttribute(name) && !KEPT.has(name)) shown.removeAttribute(name);
  }
  for (const { name, value } of [...fresh.attributes]) {
    if (shown.getAttribute(name) !== value && !KEPT.has(name)) shown.setAttribute(name, value);
  }
}

/** What makes two children of two versions the same one. @param {Element} element */
function keyOf(element) {
  return element.id || `${element.tagName}.${element.className}`;
}

/**
 * @param {Element} shown
 * @param {Element} fresh
 */
function renewChildren(shown, fresh) {
  const kept = matchChildren(shown, fresh);
  for (const child of [...shown.children]) if (!kept.has(child)) child.remove();
  const matches = new Map([...kept].map(([old, child]) => [child, old]));
  let place = shown.firstElementChild;
  for (const child of [...fresh.children]) {
    const match = matches.get(child);
    if (!match) {
      shown.insertBefore(document.adoptNode(child), place);
      continue;
    }
    // Nothing moves that stands where it should: a moved element would lose its focus.
    if (match === place) place = place.nextElementSibling;
    else shown.insertBefore(match, place);
    renewElement(match, child);
  }
}

/**
 * @param {Element} shown
 * @param {Element} fresh
 * @returns {Map<Element, Element>} each shown child that stays, and its new version
 */
function matchChildren(shown, fresh) {
  /** @type {Map<string, Element[]>} */
  const news = new Map();
  for (const child of fresh.children) {
    const key = keyOf(child);
    news.set(key, [...(news.get(key) ?? []), child]);
  }
  const matches = new Map();
  for (const child of shown.children) {
    const match = news.get(keyOf(child))?.shift();
    if (match) matches.set(child, match);
  }
  return matches;
}

/**
 * Show a message for some seconds; one with an action stays longer.
 * @param {string} text
 * @param {{action?: string, onAction?: () => void, wrong?: boolean, seconds?: number, focus?: boolean}} [options]
 * @returns {() => void} takes it away
 */
export function toast(text, { action, onAction, wrong = false, seconds, focus = false } = {}) {
  const element = make("div", wrong ? "b-toast b-wrong" : "b-toast");
  element.append(make("span", "", text));
  const remove = () => element.remove();
  if (action) {
    const button = make("button", "", action);
    button.type = "button";
    button.addEventListener("click", () => {
      remove();
      onAction?.();
    });
    element.append(button);
  }
  byId("toasts")?.append(element);
  if (seconds === Infinity) return remove;
  // What the page said of an earlier action is over.
  byId("said")?.remove();
  let timer = setTimeout(remove, (seconds ?? (action ? 10 : 5)) * 1000);
  // Whoever is there, with a pointer or the focus, has all the time.
  for (const kind of ["pointerenter", "focusin"]) {
    element.addEventListener(kind, () => clearTimeout(timer));
  }
  for (const kind of ["pointerleave", "focusout"]) {
    element.addEventListener(kind, () => {
      clearTimeout(timer);
      timer = setTimeout(remove, 3000);
    });
  }
  if (focus) element.querySelector("button")?.focus();
  return remove;
}

/** @param {unknown} error */
function isSignedOut(error) {
  return error instanceof Error && "code" in error && error.code === "signed_out";
}

/**
 * Say that something failed, in its own words.
 * @param {unknown} error
 */
export function complain(error) {
  const words = error instanceof Error ? error.message : String(error);
  if (isSignedOut(error)) {
    // The page comes back after the log-in.
    const onAction = () => location.reload();
    toast(words, { wrong: true, seconds: Infinity, action: _("Sign in again"), onAction });
  } else {
    toast(words, { wrong: true, seconds: 8 });
  }
}

/**
 * Do something again and again, while it is wanted and the page can be seen.
 * @param {() => Promise<boolean>} work says whether there is more to wait for
 * @param {number} seconds between two times
 * @returns {() => Promise<void>} wakes it up: at once, even where it had ended
 */
export function poll(work, seconds) {
  let timer = 0;
  let running = false;
  let wanted = false;
  const run = async () => {
    clearTimeout(timer);
    if (running) return;
    if (document.hidden) {
      wanted = true;
      return;
    }
    running = true;
    wanted = false;
    let more = true;
    try {
      more = await work();
    } catch (error) {
      // The next time may go better, unless the person has to do something.
      more = !isSignedOut(error);
      if (!more) complain(error);
    }
    running = false;
    if (more) timer = setTimeout(run, seconds * 1000);
  };
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && wanted) run();
  });
  return run;
}
