/**
 * A form that was sent after the log-in had expired: what was in it comes back after the next one.
 * @module
 */
import { root } from "./api.js";
import { byId, toast } from "./dom.js";
import { _ } from "./words.js";

/**
 * What was sent last, and from which page. Nothing that others could write gets in here.
 * @typedef {{page: string, action: string, fields: [string, string][], refused: boolean}} Sent
 */

const KEY = "jupyterhub-binder-sent";

/** @param {HTMLFormElement} form @param {HTMLElement | null} submitter */
export function remember(form, submitter) {
  const all = [...new FormData(form, submitter).entries()];
  const fields = all.filter(([name, value]) => name !== "_xsrf" && typeof value === "string");
  const sent = { page: location.href, action: form.action, fields, refused: false };
  sessionStorage.setItem(KEY, JSON.stringify(sent));
}

/** @returns {Sent | null} */
function recall() {
  const text = sessionStorage.getItem(KEY);
  sessionStorage.removeItem(KEY);
  return text ? JSON.parse(text) : null;
}

/** On the page that asks to sign in: lead back. On the page that sent the form: fill it again. */
export function resume() {
  const sent = recall();
  const link = byId("sign-in");
  if (!sent) return;
  if (link instanceof HTMLAnchorElement) {
    link.href = sent.page;
    sessionStorage.setItem(KEY, JSON.stringify({ ...sent, refused: true }));
  } else if (sent.refused && sent.page === location.href) {
    fill(sent);
  }
}

/** @param {Sent} sent */
function fill({ action, fields }) {
  const values = new Map(fields);
  const form = [...root().querySelectorAll("form")].find(
    (each) => each.action === action && fields.every(([name]) => each.elements.namedItem(name)),
  );
  if (!form) return;
  /** @type {HTMLElement | null} */
  let button = form.querySelector("button");
  for (const field of form.elements) {
    const value = "name" in field ? values.get(String(field.name)) : undefined;
    if (field instanceof HTMLButtonElement) {
      if (value === field.value) button = field;
    } else if (value !== undefined && "value" in field) {
      field.value = value;
    }
  }
  toast(_("You are signed in again."), {
    action: button?.textContent?.trim(),
    onAction: () => form.requestSubmit(button),
    seconds: Infinity,
    focus: true,
  });
}
