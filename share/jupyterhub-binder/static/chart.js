/**
 * Chart.js, which the build of the package brings from npm, as a module.
 * @module
 */
import "./commonjs.js";
import "./vendor/chart.umd.min.js";

const page = /** @type {any} */ (globalThis);

/** The library's class. */
export const Chart = page.module.exports;

delete page.module;
delete page.exports;
