/**
 * Charts of usage: drawn in the colours of the theme, and read with the pointer or the arrow keys.
 * A chart takes its texts from its table.
 * @module
 */
import "./page.js";
import { clock } from "./times.js";
import { language } from "./words.js";

/** @typedef {{column: number, colour: number, values: (number | null)[]}} Series */
/** @typedef {{stacked: boolean, seconds: boolean, series: Series[]}} Drawn */
/** @typedef {{head: string[], rows: string[][]}} Table */

const MAX_TICKS = 6;
/** Steps of an axis with durations; above these, whole days. */
const STEPS = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 10800, 21600, 43200];
const DAY = 86400;

/** @type {NodeListOf<HTMLElement>} */
const plots = document.querySelectorAll("[data-chart]");

const { Chart } = await import("./chart.js").catch((error) => {
  for (const plot of plots) {
    plot.hidden = true;
    plot.parentElement?.querySelector("details")?.setAttribute("open", "");
  }
  throw error;
});
Object.assign(Chart.defaults, { animation: false, locale: language, maintainAspectRatio: false });
// Paper shows more than a screen.
Chart.defaults.devicePixelRatio = Math.max(2, devicePixelRatio);

// --- What is drawn -------------------------------------------------------------------------------

/** @param {HTMLElement} plot @returns {Table} */
function readTable(plot) {
  const found = [...(plot.parentElement?.querySelectorAll("tr") ?? [])];
  const [head, ...rows] = found.map((row) => [...row.cells].map((cell) => cell.textContent ?? ""));
  return { head, rows };
}

/** @param {Table} table @param {number} at @param {number[]} columns @param {number} length */
function sayCells({ head, rows }, at, columns, length) {
  const told = columns.filter((column) => rows[at][column]);
  return told.map((column) => `${shorten(head[column], length)}: ${rows[at][column]}`);
}

/** @param {string} text @param {number} length */
function shorten(text, length) {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}

/** @param {number} seconds */
function duration(seconds) {
  return seconds < 60 ? `${seconds} s` : clock(seconds);
}

/** A step for durations, so that the axis has few ticks. @param {Series[]} series */
function stepOf(series) {
  const longest = Math.max(...series.flatMap((each) => each.values.map(Number)));
  const least = longest / (MAX_TICKS - 1);
  return STEPS.find((step) => step >= least) ?? DAY * Math.ceil(least / DAY);
}

/** The field behind the column that is being read. */
const marker = {
  id: "marker",
  /** @param {any} chart */
  beforeDatasetsDraw(chart) {
    const [active] = chart.getActiveElements();
    if (!active) return;
    const { chartArea, ctx, data } = chart;
    const width = chartArea.width / data.labels.length;
    ctx.save();
    ctx.globalAlpha = 0.14;
    ctx.fillStyle = Chart.defaults.color;
    ctx.fillRect(chartArea.left + width * active.index, chartArea.top, width, chartArea.height);
    ctx.restore();
  },
};

/**
 * @param {Series} series
 * @param {CSSStyleDeclaration} style
 * @param {boolean} stacked
 */
function datasetOf({ colour, values }, style, stacked) {
  const ink = style.getPropertyValue(`--b-s${colour}`);
  const paper = style.getPropertyValue("--bs-body-bg");
  const border = stacked ? paper : ink;
  return {
    data: values,
    backgroundColor: ink,
    hoverBackgroundColor: ink,
    borderColor: border,
    hoverBorderColor: border,
    borderWidth: stacked ? { top: 1 } : 2.5,
    barPercentage: 1,
    categoryPercentage: 0.85,
    clip: 4,
    maxBarThickness: 64,
    // A point without neighbours is seen, too.
    pointRadius: (/** @type {{dataIndex: number}} */ { dataIndex: at }) =>
      (values[at - 1] ?? values[at + 1] ?? null) === null ? 2.5 : 0,
  };
}

/**
 * @param {HTMLElement} plot
 * @param {CSSStyleDeclaration} style
 */
function configure(plot, style) {
  /** @type {Drawn} */
  const { seconds, series, stacked } = JSON.parse(plot.dataset.chart ?? "");
  const table = readTable(plot);
  const drawn = series.map((each) => each.column);
  const others = table.head.map((_, column) => column).filter((at) => at && !drawn.includes(at));
  const say = (/** @type {number} */ at, /** @type {number[]} */ columns) =>
    sayCells(table, at, columns, Math.min(40, plot.clientWidth / 10));
  return {
    type: stacked ? "bar" : "line",
    data: {
      labels: table.rows.map((row) => row[0]),
      datasets: series.map((each) => datasetOf(each, style, stacked)),
    },
    plugins: [marker],
    options: {
      interaction: { mode: "index", intersect: false },
      scales: {
        x: {
          stacked,
          offset: true,
          grid: { display: false },
          ticks: { maxRotation: 0, autoSkipPadding: 16 },
        },
        y: {
          stacked,
          beginAtZero: true,
          suggestedMax: 1,
          border: { display: false },
          ticks: {
            maxTicksLimit: MAX_TICKS,
            precision: 0,
            ...(seconds && { callback: duration, stepSize: stepOf(series) }),
          },
        },
      },
      plugins: {
        legend: { display: false },
        tooltip: {
          backgroundColor: style.getPropertyValue("--bs-body-bg"),
          borderColor: style.color,
          borderWidth: 1,
          boxPadding: 4,
          bodyColor: style.color,
          footerColor: style.color,
          titleColor: style.color,
          /** Zeros are many in a stack. @type {(item: any, at: number, all: any[]) => boolean} */
          filter: (item, _, all) => !stacked || item.raw || !all.some((each) => each.raw),
          callbacks: {
            /** @param {any} item */
            label: ({ dataIndex, datasetIndex }) => say(dataIndex, [drawn[datasetIndex]]),
            /** @param {any[]} items */
            footer: ([item]) => say(item.dataIndex, others),
          },
        },
      },
    },
  };
}

// --- Drawing -------------------------------------------------------------------------------------

/** @type {Map<EventTarget, any>} */
const charts = new Map();

function drawAll() {
  for (const plot of plots) {
    const canvas = plot.firstElementChild;
    if (!canvas) continue;
    const style = getComputedStyle(plot);
    const { defaults } = Chart;
    defaults.color = style.color;
    defaults.borderColor = style.getPropertyValue("--b-track");
    defaults.font.family = style.fontFamily;
    charts.get(canvas)?.destroy();
    charts.set(canvas, new Chart(canvas, configure(plot, style)));
  }
}

const page = document.documentElement;
drawAll();
new MutationObserver(drawAll).observe(page, { attributeFilter: ["data-bs-theme"] });

/** The theme before the page was printed, which is done in the light one. */
let theme = "light";
window.addEventListener("beforeprint", () => {
  theme = page.dataset.bsTheme ?? theme;
  page.dataset.bsTheme = "light";
});
window.addEventListener("afterprint", () => {
  page.dataset.bsTheme = theme;
});

// --- Reading with the keyboard -------------------------------------------------------------------

/**
 * Return the values of a column, as Chart.js names them.
 * @param {any} chart
 * @param {number} index
 */
function valuesAt(chart, index) {
  const has = chart.data.datasets.map((/** @type {any} */ { data }) => data[index] !== null);
  const found = [...has.keys()].filter((datasetIndex) => has[datasetIndex]);
  return found.map((datasetIndex) => ({ datasetIndex, index }));
}

/**
 * Show the values of a column, and say them.
 * @param {any} chart
 * @param {{datasetIndex: number, index: number}[]} values none for no column
 */
function tell(chart, values) {
  const { canvas, tooltip } = chart;
  chart.setActiveElements(values);
  tooltip.setActiveElements(values, { x: 0, y: 0 });
  chart.update();
  canvas.parentElement.nextElementSibling.textContent = values.length ? textOf(tooltip) : "";
}

/** @param {any} tooltip one that has shown a column */
function textOf({ title, body, footer }) {
  const lines = body.flatMap((/** @type {{lines: string[]}} */ { lines }) => lines);
  return `${title}: ${[...lines, ...footer].join(", ")}`;
}

document.addEventListener("keydown", (event) => {
  const chart = event.target && charts.get(event.target);
  if (!chart || event.ctrlKey || event.metaKey || event.altKey) return;
  const columns = [...chart.data.labels.keys()].map((index) => valuesAt(chart, index));
  const filled = columns.filter((values) => values.length);
  const last = filled.length - 1;
  const shown = chart.getActiveElements()[0]?.index;
  const at = filled.findIndex(([{ index }]) => index === shown);
  /** @type {Record<string, number>} */
  const places = {
    ArrowLeft: at < 0 ? last : Math.max(0, at - 1),
    ArrowRight: Math.min(last, at + 1),
    End: last,
    Escape: -1,
    Home: 0,
  };
  if (!Object.hasOwn(places, event.key)) return;
  event.preventDefault();
  tell(chart, filled[places[event.key]] ?? []);
});

document.addEventListener("focusout", (event) => {
  const chart = event.target && charts.get(event.target);
  if (chart) tell(chart, []);
});
