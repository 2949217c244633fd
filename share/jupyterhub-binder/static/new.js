/**
 * New: shows at once what was understood of a pasted link, and never an outdated answer.
 * @module
 */
import { ServiceError, fetchPage, settings } from "./api.js";
import { onBack } from "./connection.js";
import { byId, complain } from "./dom.js";
import { reveal } from "./page.js";
import { tick } from "./times.js";

const form = /** @type {HTMLFormElement} */ (byId("ask"));
const url = /** @type {HTMLInputElement} */ (byId("url"));
const ref = /** @type {HTMLInputElement} */ (byId("ref"));
const look = /** @type {HTMLElement} */ (byId("look"));
const understood = /** @type {HTMLElement} */ (byId("understood"));

/** What the person chose below the answer; it survives the next answer. */
const chosen = /** @type {Map<string, string>} */ (new Map());

let waiting = 0;
/** @type {AbortController | undefined} */
let asking;
let asked = address();

/** @returns {string} the address of the page that answers what is typed now */
function address() {
  const query = new URLSearchParams();
  if (url.value.trim()) query.set("url", url.value.trim());
  if (url.value.trim() && ref.value.trim()) query.set("ref", ref.value.trim());
  const text = query.toString();
  return settings().prefix + (text ? `new?${text}` : "new");
}

async function ask() {
  clearTimeout(waiting);
  const wanted = address();
  if (wanted === asked) return;
  asked = wanted;
  asking?.abort();
  const mine = (asking = new AbortController());
  understood.setAttribute("aria-busy", "true");
  look.setAttribute("aria-busy", "true");
  try {
    const page = await fetchPage(wanted, mine.signal);
    if (mine.signal.aborted) return;
    show(page);
    history.replaceState(null, "", wanted);
  } catch (error) {
    if (mine.signal.aborted) return;
    asked = "";
    // The page says so, and asks again by itself.
    if (!(error instanceof ServiceError) || error.code !== "offline") complain(error);
  }
  understood.removeAttribute("aria-busy");
  look.removeAttribute("aria-busy");
}

/** @param {Document} page */
function show(page) {
  const fresh = page.getElementById("understood");
  if (!fresh) return;
  const focused = understood.contains(document.activeElement) ? document.activeElement?.id : "";
  understood.replaceChildren(...[...fresh.childNodes].map((node) => document.adoptNode(node)));
  look.className = page.getElementById("look")?.className ?? look.className;
  const placeholder = page.getElementById("ref")?.getAttribute("placeholder");
  if (placeholder) ref.placeholder = placeholder;
  for (const [id, value] of chosen) {
    const field = byId(id);
    if (field instanceof HTMLInputElement || field instanceof HTMLSelectElement) field.value = value;
  }
  reveal(understood);
  tick();
  if (focused) byId(focused)?.focus();
}

/** @param {number} milliseconds */
function askSoon(milliseconds) {
  clearTimeout(waiting);
  waiting = setTimeout(ask, milliseconds);
}

onBack(() => ask());
url.addEventListener("input", (event) => {
  const pasted = event instanceof InputEvent && event.inputType === "insertFromPaste";
  // Another repository: its ref and name are not those of the last one.
  ref.value = "";
  chosen.delete("name");
  askSoon(pasted ? 0 : 450);
});
ref.addEventListener("input", () => askSoon(600));
form.addEventListener("submit", (event) => {
  event.preventDefault();
  asked = "";
  ask();
});
understood.addEventListener("input", (event) => {
  const field = event.target;
  if (field instanceof HTMLInputElement || field instanceof HTMLSelectElement) {
    chosen.set(field.id, field.value);
  }
});
understood.addEventListener("click", (event) => {
  const target = event.target instanceof HTMLElement ? event.target : null;
  if (target?.closest("[data-change]")) {
    byId("advanced")?.setAttribute("open", "");
    ref.focus();
  }
  const example = target?.closest("[data-example]");
  if (example instanceof HTMLElement) {
    event.preventDefault();
    url.value = example.dataset.example ?? "";
    ask();
  }
});

// What was typed before this script had come, or what the browser remembers, is asked for too.
if (url.value !== url.defaultValue) {
  asked = "";
  askSoon(0);
}
