/**
 * The texts of scripts in the language of the page: the page brings what English is not.
 * @module
 */

const page = document.getElementById("binder");

/** @type {Record<string, string>} */
const catalogue = JSON.parse(page?.dataset.words ?? "{}");

/** The language of the page, as `Intl` takes it. */
export const language = (page?.lang || "en").replace("_", "-");

/**
 * Translate a text, and put values into it.
 * @param {string} text in English, with `%(name)s` where a value belongs
 * @param {Record<string, string | number>} [values]
 * @returns {string}
 */
export function _(text, values = {}) {
  const said = Object.hasOwn(catalogue, text) ? catalogue[text] : text;
  return said.replace(/%\((\w+)\)s/g, (whole, name) => String(values[name] ?? whole));
}
