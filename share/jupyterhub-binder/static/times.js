/**
 * Times and durations in words, kept true while the page is open.
 * @module
 */
import { _, language } from "./words.js";

const relative = new Intl.RelativeTimeFormat(language, { numeric: "always" });

/** @type {[Intl.RelativeTimeFormatUnit, number, number][]} */
const UNITS = [
  ["minute", 60, 60],
  ["hour", 3600, 24],
  ["day", 86400, 30],
];

/**
 * Say how long ago something was.
 * @param {Date} then
 * @param {Date} [now]
 * @returns {string}
 */
export function ago(then, now = new Date()) {
  const seconds = (now.getTime() - then.getTime()) / 1000;
  if (seconds < 45) return _("just now");
  for (const [unit, size, most] of UNITS) {
    const count = Math.max(1, Math.round(seconds / size));
    if (count < most) return relative.format(-count, unit);
  }
  // As the server writes it.
  return language === "en"
    ? then.toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" })
    : then.toLocaleDateString(language, { dateStyle: "medium" });
}

/**
 * Write a duration as on a clock.
 * @param {number} seconds
 * @returns {string}
 */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/** When each running clock was first seen, so that it goes on from there. */
const seen = /** @type {WeakMap<Element, {from: string, at: number}>} */ (new WeakMap());

/** Bring every time and running clock of the page up to date. */
export function tick() {
  for (const element of document.querySelectorAll("time[data-ago]")) {
    const then = new Date(element.getAttribute("datetime") ?? "");
    if (Number.isNaN(then.getTime())) continue;
    const words = ago(then);
    if (element.textContent !== words) element.textContent = words;
    const exact = then.toLocaleString(language);
    if (element.getAttribute("title") !== exact) element.setAttribute("title", exact);
  }
  for (const element of document.querySelectorAll("[data-since]")) {
    const from = element.getAttribute("data-since") ?? "0";
    const known = seen.get(element);
    const start = known && known.from === from ? known : { from, at: performance.now() };
    seen.set(element, start);
    const seconds = Number(from) + (performance.now() - start.at) / 1000;
    element.textContent = clock(seconds);
    // What was expected tells nothing any more once it is over.
    const expected = Number(element.getAttribute("data-expected") ?? Infinity);
    if (seconds > expected) element.nextElementSibling?.setAttribute("hidden", "");
  }
}

/** Start the page's one clock. */
export function startClock() {
  tick();
  setInterval(() => {
    if (!document.hidden) tick();
  }, 1000);
}
