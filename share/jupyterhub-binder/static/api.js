/**
 * Talks to the service: the REST API, and its own pages as fragments. Shows nothing.
 * @module
 */

import { _ } from "./words.js";

/**
 * What the server told the page about itself.
 * @typedef {{prefix: string, api: string, static: string, xsrf: string}} Settings
 */

/** @returns {HTMLElement} the element that holds the page */
export function root() {
  return /** @type {HTMLElement} */ (document.getElementById("binder"));
}

/** @returns {Settings} */
export function settings() {
  const { prefix, api, static: files, xsrf } = root().dataset;
  return { prefix: prefix ?? "/", api: api ?? "", static: files ?? "", xsrf: xsrf ?? "" };
}

/** An answer of the service that is not a success; its message is for people. */
export class ServiceError extends Error {
  /**
   * @param {string} message
   * @param {number} status
   * @param {string} code
   */
  constructor(message, status, code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/**
 * Call the REST API.
 * @param {string} method
 * @param {string} path below the API's root
 * @param {unknown} [body] sent as JSON
 * @returns {Promise<any>} the answer's JSON, null where there is none
 */
export async function call(method, path, body) {
  const { api, xsrf } = settings();
  const headers = /** @type {Record<string, string>} */ ({
    "X-XSRFToken": xsrf,
    "Binder-Language": root().lang,
  });
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await reach(api + path, {
    method,
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const value = parse(await answer.text());
  if (!answer.ok) {
    const error = value?.error ?? {};
    const words = error.message ?? _("The hub returned an error (%(status)s). Reload the page.", { status: answer.status });
    throw new ServiceError(words, answer.status, error.code ?? "");
  }
  return value;
}

/** Whether an answer is the service's, and not one of what stands before it. @param {Response} answer */
export function isOurs(answer) {
  return answer.headers.has("X-Request-ID");
}

/**
 * Fetch something of the service. What it does not answer itself is an error that says so.
 * @param {string} url
 * @param {RequestInit} options
 * @returns {Promise<Response>}
 */
async function reach(url, options) {
  /** @type {Response | undefined} */
  let answer;
  try {
    answer = await fetch(url, options);
  } catch (error) {
    if (options.signal?.aborted) throw error;
  }
  if (answer?.status === 401) {
    throw new ServiceError(_("You were signed out."), 401, "signed_out");
  }
  if (answer && isOurs(answer)) return answer;
  document.dispatchEvent(new Event("binder-trouble"));
  throw new ServiceError(_("The service did not answer. Try again."), 0, "offline");
}

/** @param {string} text */
function parse(text) {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return null;
  }
}

/**
 * Fetch the page again, to take parts out of it. Nothing in it runs. If it is not there any more, as
 * after the end of a share, the browser shows what the service says in its place.
 * @param {string} url
 * @param {AbortSignal} [signal]
 * @returns {Promise<Document>}
 */
export async function fetchPage(url, signal) {
  const answer = await reach(url, { headers: { "X-XSRFToken": settings().xsrf }, signal });
  if (answer.status === 404) location.reload();
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

/**
 * Open an event stream of the API.
 * @param {string} path
 * @param {Record<string, string>} [query]
 * @returns {EventSource}
 */
export function openEvents(path, query = {}) {
  const { api, xsrf } = settings();
  return new EventSource(`${api}${path}?${new URLSearchParams({ ...query, _xsrf: xsrf })}`);
}
