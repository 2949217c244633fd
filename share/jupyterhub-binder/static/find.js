/**
 * Finds text in a log: counts the lines that have it, and goes from one to the next.
 * The browser's own find works too; this one also counts what is far away.
 * @module
 */
import { _ } from "./words.js";

/** The find box of a log. */
export class Finder {
  /**
   * @param {import("./log.js").LogView} log
   * @param {{form: HTMLFormElement, input: HTMLInputElement, output: HTMLElement, previous: HTMLElement}} parts
   */
  constructor(log, { form, input, output, previous }) {
    this.log = log;
    this.input = input;
    this.output = output;
    /** @type {HTMLElement | null} */
    this.hit = null;
    form.hidden = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.go(1);
    });
    previous.addEventListener("click", () => this.go(-1));
    input.addEventListener("input", () => this.go(0));
    input.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        input.value = "";
        this.go(0);
        log.box.focus();
      } else if (event.key === "Enter" && event.shiftKey) {
        event.preventDefault();
        this.go(-1);
      }
    });
  }

  /** Take the cursor. */
  focus() {
    this.input.select();
  }

  /** @param {-1 | 0 | 1} by backwards, from here, onwards */
  go(by) {
    const wanted = this.input.value.toLowerCase();
    const current = this.hit;
    this.hit?.classList.remove("b-hit");
    this.hit = null;
    this.output.textContent = "";
    if (!wanted) return;
    const hits = this.log.lines.filter((line) => line.text.toLowerCase().includes(wanted));
    if (!hits.length) {
      this.output.textContent = _("no matches");
      return;
    }
    const at = hits.findIndex((line) => line.element === current);
    const to = at < 0 ? 0 : (at + by + hits.length) % hits.length;
    this.hit = hits[to].element;
    this.hit.classList.add("b-hit");
    this.output.textContent = `${to + 1} / ${hits.length}`;
    this.log.follow(false);
    this.log.reveal(this.hit);
  }
}
