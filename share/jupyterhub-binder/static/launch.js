/**
 * A launch's page: what is being waited for, and then the server itself.
 * @module
 */
import { fetchPage, openEvents } from "./api.js";
import { UNSEEN, plainText } from "./ansi.js";
import { noticeTrouble, onBack } from "./connection.js";
import { byId, renew } from "./dom.js";
import { reveal } from "./page.js";
import { tick } from "./times.js";

const launch = /** @type {HTMLElement} */ (byId("launch"));
const id = launch.dataset.id ?? "";
const TAIL = 9;
const HARMFUL = new RegExp(UNSEEN, "g");

let ended = !isUnfinished();
let failures = 0;

function isUnfinished() {
  return ["pending", "starting"].includes(launch.dataset.state ?? "");
}

/** Keep the page as the server would show it now. */
async function refresh() {
  const page = await fetchPage(location.href);
  const fresh = page.getElementById("top");
  const top = byId("top");
  if (fresh && top) renew(top, fresh);
  launch.dataset.state = page.getElementById("launch")?.dataset.state ?? "";
  document.title = page.title.trim();
  const icon = page.querySelector("link[rel=icon]")?.getAttribute("href");
  if (icon) document.querySelector("link[rel=icon]")?.setAttribute("href", icon);
  reveal();
  tick();
}

/** Go to the server, in the place of this page: Back leads to where one came from. */
function enter() {
  const link = byId("go");
  if (link instanceof HTMLAnchorElement) location.replace(link.href);
}

/** The newest lines of the build that is waited for. */
function showTail() {
  const tail = byId("tail");
  const build = launch.dataset.build;
  if (!tail || !build) return;
  /** @type {string[]} */
  const lines = [];
  let provisional = false;
  const stream = openEvents(`builds/${build}/events`);
  stream.addEventListener("message", (message) => {
    const { message: text } = JSON.parse(message.data);
    if (provisional) lines.pop();
    provisional = text.endsWith("\r");
    lines.push(plainText(text).slice(0, 300).replace(HARMFUL, ""));
    if (lines.length > TAIL) lines.shift();
    tail.hidden = false;
    tail.textContent = lines.join("\n");
  });
  stream.addEventListener("end", () => {
    stream.close();
    tail.hidden = true;
  });
}

let refreshing = Promise.resolve();

/** @type {EventSource | undefined} */
let stream;

function connect() {
  stream?.close();
  stream = openEvents(`launches/${id}/events`);
  stream.addEventListener("launch", () => {
    failures = 0;
    refreshing = refreshing.then(refresh).catch(() => {});
  });
  stream.addEventListener("end", (message) => {
    ended = true;
    stream?.close();
    refreshing = refreshing.then(refresh).catch(() => {});
    refreshing.then(() => {
      const tail = byId("tail");
      if (tail) tail.hidden = true;
      if (JSON.parse(message.data).state === "ready") enter();
    });
  });
  stream.addEventListener("error", () => {
    if (ended) return;
    noticeTrouble();
    if (stream?.readyState !== EventSource.CLOSED) return;
    failures += 1;
    setTimeout(connect, Math.min(30, 2 ** failures) * 1000);
  });
}

if (!ended) {
  connect();
  showTail();
  onBack(() => ended || connect());
} else if (launch.dataset.fresh === "true" && launch.dataset.state === "ready") {
  enter();
}
