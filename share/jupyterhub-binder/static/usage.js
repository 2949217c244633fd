/**
 * Charts of usage: the arrow keys and the pointer read their columns. Narrow screens begin with
 * the newest, and keep the axis in sight.
 * @module
 */
import "./page.js";

/**
 * Show what a column says, and mark it.
 * @param {Element} plot
 * @param {number} to
 */
function tell(plot, to) {
  const columns = [...plot.querySelectorAll(".b-column")];
  const place = Math.min(columns.length - 1, Math.max(0, to));
  columns.forEach((column, at) => column.toggleAttribute("data-here", at === place));
  columns[place]?.scrollIntoView({ block: "nearest", inline: "nearest" });
  const told = plot.nextElementSibling;
  if (told) told.textContent = columns[place]?.querySelector("title")?.textContent ?? "";
}

/** @param {Element} plot */
function placeIn(plot) {
  const columns = [...plot.querySelectorAll(".b-column")];
  return { at: columns.findIndex((each) => each.hasAttribute("data-here")), last: columns.length - 1 };
}

document.addEventListener("keydown", (event) => {
  const plot = event.target;
  if (!(plot instanceof Element) || !plot.matches("[data-plot]")) return;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const { at, last } = placeIn(plot);
  const from = at < 0 ? last + 1 : at;
  /** @type {Record<string, number>} */
  const steps = { ArrowLeft: from - 1, ArrowRight: at < 0 ? 0 : at + 1, Home: 0, End: last };
  if (!Object.hasOwn(steps, event.key)) return;
  event.preventDefault();
  tell(plot, steps[event.key]);
});

/**
 * Keep the values of a scrolled chart's axis in sight.
 * @param {HTMLElement} plot
 */
function holdAxis(plot) {
  const chart = plot.querySelector("svg");
  if (!chart) return;
  const scale = chart.viewBox.baseVal.width / chart.getBoundingClientRect().width;
  plot.style.setProperty("--b-scrolled", `${plot.scrollLeft * scale}px`);
}

/** @type {NodeListOf<HTMLElement>} */
const plots = document.querySelectorAll("[data-plot]");
for (const plot of plots) {
  const columns = [...plot.querySelectorAll(".b-column")];
  plot.addEventListener("scroll", () => holdAxis(plot));
  plot.scrollLeft = plot.scrollWidth;
  plot.addEventListener("pointerover", (event) => {
    const to = event.target instanceof Element ? columns.indexOf(event.target) : -1;
    if (to >= 0) tell(plot, to);
  });
}
