/**
 * Lets the next module be loaded as in Node. The file of Chart.js would otherwise give itself to
 * the require.js of the hub's pages, which did not ask for it.
 * @module
 */
const page = /** @type {any} */ (globalThis);
page.module = { exports: {} };
page.exports = page.module.exports;
