/**
 * Whether the service answers: a page says when it does not, and goes on by itself when it does.
 * @module
 */
import { isOurs, root, settings } from "./api.js";
import { toast } from "./dom.js";
import { _ } from "./words.js";

const AGAIN_SECONDS = 2;

/** @type {Set<() => void>} */
const listeners = new Set();
let asking = false;
/** @type {(() => void) | undefined} */
let hide;

/**
 * Do something when the service answers again.
 * @param {() => void} work
 */
export function onBack(work) {
  listeners.add(work);
}

/** Ask whether the service still answers, after something that did not work. */
export async function noticeTrouble() {
  if (asking) return;
  asking = true;
  while (!(await answers())) {
    hide ??= say();
    await new Promise((done) => setTimeout(done, AGAIN_SECONDS * 1000));
  }
  asking = false;
  if (!hide) return;
  hide();
  hide = undefined;
  root().removeAttribute("data-offline");
  for (const work of listeners) work();
}

/** Whether the service answers now. @returns {Promise<boolean>} */
export async function answers() {
  const { api, xsrf } = settings();
  try {
    return isOurs(await fetch(api, { cache: "no-store", headers: { "X-XSRFToken": xsrf } }));
  } catch {
    return false;
  }
}

/** Stop what moves, and say why. @returns {() => void} takes the message away */
function say() {
  root().setAttribute("data-offline", "");
  const builds = root().querySelector("[data-building]");
  const away = _("The service does not answer. Trying again…");
  const goesOn = _("The service does not answer; your build goes on. Trying again…");
  const kept = _(
    "The service does not answer. If it was restarted, your build starts again automatically. Trying again…",
  );
  const words = root().hasAttribute("data-builds-go-on") ? goesOn : kept;
  return toast(builds ? words : away, { seconds: Infinity, wrong: true });
}

document.addEventListener("binder-trouble", noticeTrouble);
