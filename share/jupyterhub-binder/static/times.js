/**
 * Times and durations in words, kept true while the page is open.
 * @module
 */
import { _, language } from "./words.js";

const relative = new Intl.RelativeTimeFormat(language, { numeric: "always" });
/** English dates are British, as the server writes them. */
const dates = language === "en" ? "en-GB" : language;

/** @type {[Intl.RelativeTimeFormatUnit, number][]} */
const UNITS = [
  ["week", 604800],
  ["day", 86400],
  ["hour", 3600],
  ["minute", 60],
];
const MAX_SECONDS = 25 * 86400;

/**
 * Say how long ago something was, as the server does: Babel takes a unit from 0.85 of it.
 * @param {Date} then
 * @param {Date} [now]
 * @returns {string}
 */
export function ago(then, now = new Date()) {
  const seconds = (now.getTime() - then.getTime()) / 1000;
  if (seconds < 45) return _("just now");
  if (seconds < MAX_SECONDS) {
    const [unit, size] = UNITS.find(([, size]) => seconds >= 0.85 * size) ?? ["minute", 60];
    return relative.format(-Math.max(1, Math.round(seconds / size)), unit);
  }
  return then.toLocaleDateString(dates, { dateStyle: "medium" });
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
    const exact = then.toLocaleString(dates, { dateStyle: "medium", timeStyle: "medium" });
    if (element.getAttribute("title") !== exact) element.setAttribute("title", exact);
  }
  // While the service does not answer, nobody knows whether a clock is true.
  for (const element of document.querySelectorAll("#binder:not([data-offline]) [data-since]")) {
    const from = element.getAttribute("data-since") ?? "0";
    const known = seen.get(element);
    const start = known && known.from === from ? known : { from, at: performance.now() };
    seen.set(element, start);
    const seconds = Number(from) + (performance.now() - start.at) / 1000;
    element.textContent = clock(seconds);
    const expected = Number(element.getAttribute("data-expected") ?? Infinity);
    element.closest(".b-timing")?.classList.toggle("b-late", seconds > expected);
  }
}

/** Start the page's one clock. */
export function startClock() {
  tick();
  setInterval(() => {
    if (!document.hidden) tick();
  }, 1000);
}
