/**
 * A build's page: its log as it comes, its phases and their times, and how it ended.
 * @module
 */
import { fetchPage, openEvents, settings } from "./api.js";
import { noticeTrouble, onBack } from "./connection.js";
import { byId, poll, renew } from "./dom.js";
import { Finder } from "./find.js";
import { LogView } from "./log.js";
import { onKeys, reveal } from "./page.js";
import { clock, tick } from "./times.js";
import { _ } from "./words.js";

const build = /** @type {HTMLElement} */ (byId("build"));
const id = build.dataset.id ?? "";
const log = new LogView(/** @type {HTMLElement} */ (byId("lines")));
const logState = /** @type {HTMLElement} */ (byId("logstate"));

/** How long each phase took, in seconds. @type {Map<string, number>} */
const phases = new Map();
/** The line before. @type {{phase: string, at: number} | undefined} */
let before;
/** Whether the build was queued again, so that its other phases begin anew. */
let again = false;

// --- The stream --------------------------------------------------------------------------------

/** @type {EventSource | undefined} */
let stream;
let ended = false;
let failures = 0;
let known = "";

function connect() {
  stream?.close();
  stream = openEvents(`builds/${id}/events`, { after: String(log.last) });
  stream.addEventListener("open", () => {
    failures = 0;
    logState.textContent = "";
    follow.hidden = !startedHere;
  });
  stream.addEventListener("message", (message) => takeLine(JSON.parse(message.data)));
  stream.addEventListener("build", (message) => takeState(JSON.parse(message.data)));
  stream.addEventListener("end", (message) => finish(JSON.parse(message.data)));
  stream.addEventListener("error", () => {
    if (ended) return;
    logState.textContent = _("connection lost, reconnecting…");
    follow.hidden = true;
    noticeTrouble();
    // The browser tries again by itself, unless the answer was no stream at all.
    if (stream?.readyState !== EventSource.CLOSED) return;
    failures += 1;
    setTimeout(connect, Math.min(30, 2 ** failures) * 1000);
  });
}

/** @param {import("./log.js").LogEvent} event */
function takeLine(event) {
  log.add(event);
  const at = Date.parse(event.time);
  const moved = before?.phase !== event.phase;
  if (event.phase === "waiting") {
    again ||= before !== undefined && moved;
  } else if (again && event.phase !== "failed") {
    again = false;
    for (const phase of [...phases.keys()]) if (phase !== "waiting") phases.delete(phase);
  }
  // While the service was away nobody waited and nothing was built.
  if (before && !(event.phase === "waiting" && moved)) {
    phases.set(before.phase, (phases.get(before.phase) ?? 0) + (at - before.at) / 1000);
  }
  before = { phase: event.phase, at };
  if (moved) showPhaseTimes();
}

/** @param {{state: string, phase: string, step: string, queue_position: number | null}} now */
function takeState(now) {
  const text = `${now.state} ${now.phase} ${now.step} ${now.queue_position}`;
  if (known && text !== known) wake();
  known = text;
}

/** @param {{state: string, reason: {seq: number | null} | null}} last */
async function finish(last) {
  ended = true;
  stream?.close();
  log.onDrawn = () => (logState.textContent = _("complete"));
  if (!log.queue.length) log.onDrawn();
  follow.hidden = true;
  await refresh().catch(() => {});
  showPhaseTimes();
  if (last.state === "failed" && last.reason?.seq && !log.marked) log.point(last.reason.seq, 0);
  log.settle();
  if (startedHere) announce();
}

// --- The head of the page: rendered by the server, renewed in place --------------------------

const startedHere = ["pending", "running"].includes(build.dataset.state ?? "");

async function refresh() {
  const page = await fetchPage(location.href.split("#")[0]);
  const fresh = page.getElementById("top");
  const top = byId("top");
  if (!fresh || !top) return;
  renew(top, fresh);
  build.dataset.state = page.getElementById("build")?.dataset.state ?? "";
  document.title = page.title.trim();
  const icon = page.querySelector("link[rel=icon]")?.getAttribute("href");
  if (icon) document.querySelector("link[rel=icon]")?.setAttribute("href", icon);
  reveal();
  revealNotify();
  tick();
  showPhaseTimes();
}

const wake = poll(async () => {
  await refresh();
  return !ended && ["pending", "running"].includes(build.dataset.state ?? "");
}, 10);

/** Say how long each phase took that is over; the log's own times tell. */
function showPhaseTimes() {
  for (const step of document.querySelectorAll(".b-step:is(.b-done, .b-bad, .b-off)")) {
    if (!(step instanceof HTMLElement)) continue;
    const { phase = "", waited } = step.dataset;
    const seconds = phases.get(phase);
    const text = step.querySelector(".b-steptime");
    if (!text || phase === "built" || seconds === undefined) continue;
    text.textContent = clock(Number(waited ?? 0) + seconds);
  }
}

// --- The log's own bar -----------------------------------------------------------------------

const follow = /** @type {HTMLButtonElement} */ (byId("follow"));
const wrap = /** @type {HTMLButtonElement} */ (byId("wrap"));

log.onFollow = (/** @type {boolean} */ following) => {
  follow.setAttribute("aria-pressed", String(following));
  follow.textContent = following ? _("following") : _("paused, go to the end ↓");
};
follow.addEventListener("click", () => log.follow(true));
follow.hidden = !startedHere;

/** @param {boolean} wanted */
function setWrap(wanted) {
  wrap.setAttribute("aria-pressed", String(wanted));
  log.wrap(wanted);
}
wrap.hidden = false;
wrap.addEventListener("click", () => setWrap(wrap.getAttribute("aria-pressed") !== "true"));

const finder = new Finder(log, {
  form: /** @type {HTMLFormElement} */ (byId("find")),
  input: /** @type {HTMLInputElement} */ (byId("findtext")),
  output: /** @type {HTMLElement} */ (byId("found")),
  previous: /** @type {HTMLElement} */ (byId("findprev")),
});

/** @returns {number} the line that the address names, or 0 */
function lineOfAddress() {
  const match = /^#L(\d{1,9})$/.exec(location.hash);
  return match ? Number(match[1]) : 0;
}

window.addEventListener("hashchange", () => {
  if (!lineOfAddress()) return;
  log.show(lineOfAddress());
  log.box.scrollIntoView({ block: "nearest" });
});
onKeys({
  "/": () => finder.focus(),
  f: () => log.follow(true),
  w: () => wrap.click(),
});

// --- Notify me --------------------------------------------------------------------------------

let notify = false;

function revealNotify() {
  const button = document.querySelector("[data-notify]");
  if (!(button instanceof HTMLElement) || !("Notification" in window)) return;
  button.hidden = notify || Notification.permission === "denied";
}

document.addEventListener("click", async (event) => {
  const button = event.target instanceof Element ? event.target.closest("[data-notify]") : null;
  if (!button) return;
  notify = (await Notification.requestPermission()) === "granted";
  revealNotify();
});

function announce() {
  if (!notify || !document.hidden) return;
  const name = build.dataset.name ?? "";
  const words =
    build.dataset.state === "built"
      ? _("%(name)s is ready", { name })
      : _("%(name)s was not built", { name });
  const icon = `${settings().static}state-${build.dataset.state === "built" ? "good" : "bad"}.svg`;
  new Notification(words, { icon });
}

// An ended build opens at the line that decided it, or at its beginning; a running one at its end.
const mark = Number(build.dataset.mark) || 0;
if (!startedHere) log.follow(false);
log.point(mark, lineOfAddress() || (startedHere ? 0 : mark));
revealNotify();
connect();
onBack(() => {
  if (ended) return;
  connect();
  wake();
});
if (lineOfAddress()) log.box.scrollIntoView({ block: "nearest" });
if (startedHere) wake();
