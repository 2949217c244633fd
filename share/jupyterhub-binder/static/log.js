/**
 * A log as real text: numbered lines that link, colours, progress lines that replace each
 * other, and an end that is followed while one is there. Knows nothing of where lines come from.
 * @module
 */
import { PLAIN, UNSEEN, parseLine, plainText } from "./ansi.js";
import { make } from "./dom.js";
import { _ } from "./words.js";

/**
 * @typedef {{seq: number, time: string, phase: string, message: string}} LogEvent
 */

const CHUNK = 200;
/** Lines longer than this are cut on the page; the plain text has them whole. */
const LONGEST = 20000;

/** A growing log in a scrolling element. */
export class LogView {
  /** @param {HTMLElement} box scrolls; takes the lines */
  constructor(box) {
    this.box = box;
    /** @type {LogEvent[]} */
    this.queue = [];
    /** Each shown line's text, for finding. @type {{seq: number, text: string, element: HTMLElement}[]} */
    this.lines = [];
    /** @type {HTMLElement | null} */
    this.chunk = null;
    this.inChunk = 0;
    this.style = PLAIN;
    this.provisional = false;
    this.following = true;
    this.marked = 0;
    this.target = 0;
    this.frame = 0;
    /** @type {(following: boolean) => void} */
    this.onFollow = () => {};
    /** Called when all lines that came are on the page. */
    this.onDrawn = () => {};
    box.addEventListener("scroll", () => this.noticeScroll(), { passive: true });
    // What a person does stops following at once; what the page does never.
    for (const kind of ["wheel", "touchmove", "keydown", "pointerdown"]) {
      box.addEventListener(kind, () => (this.touched = performance.now()), { passive: true });
    }
    this.touched = -Infinity;
    // A message above it makes it smaller: its end stays in view.
    new ResizeObserver(() => this.following && this.toEnd()).observe(box);
  }

  /** @returns {number} the sequence number of the last line taken in */
  get last() {
    return this.queue.at(-1)?.seq ?? this.lines.at(-1)?.seq ?? 0;
  }

  /** @returns {number} the sequence number of the last line drawn */
  get drawn() {
    return this.lines.at(-1)?.seq ?? 0;
  }

  /**
   * Take in one line; many of them are drawn together.
   * @param {LogEvent} event
   */
  add(event) {
    if (event.seq <= this.last) return;
    this.queue.push(event);
    if (!this.frame) this.frame = this.soon(() => this.draw());
  }

  /** A hidden page has no frames. @param {() => void} work */
  soon(work) {
    return document.hidden ? window.setTimeout(work, 200) : requestAnimationFrame(work);
  }

  draw() {
    this.frame = 0;
    const batch = this.queue.splice(0, 4000);
    for (const event of batch) this.append(event);
    if (this.following) this.toEnd();
    if (this.queue.length) this.frame = this.soon(() => this.draw());
    else this.onDrawn();
    if (this.target && this.drawn >= this.target) this.show(this.target);
  }

  /** @param {LogEvent} event */
  append(event) {
    const provisional = event.message.endsWith("\r");
    const line = this.makeLine(event);
    if (this.provisional && this.lines.length) {
      const old = /** @type {{element: HTMLElement}} */ (this.lines.pop());
      old.element.replaceWith(line);
    } else {
      this.place(line);
    }
    this.lines.push({ seq: event.seq, text: plainText(event.message), element: line });
    this.provisional = provisional;
  }

  /** @param {HTMLElement} line */
  place(line) {
    if (!this.chunk || this.inChunk >= CHUNK) {
      this.chunk = make("div", "b-chunk");
      this.inChunk = 0;
      this.box.append(this.chunk);
    }
    this.chunk.append(line);
    this.inChunk += 1;
  }

  /**
   * @param {LogEvent} event
   * @returns {HTMLElement}
   */
  makeLine(event) {
    const line = make("div", event.seq === this.marked ? "b-ln b-mark" : "b-ln");
    line.id = `L${event.seq}`;
    const number = make("a", "b-no");
    number.href = `#L${event.seq}`;
    number.dataset.n = String(event.seq);
    number.setAttribute("aria-label", _("Line %(number)s", { number: event.seq }));
    number.tabIndex = -1;
    const text = make("span", "b-tx");
    this.fill(text, event.message.replace(/\r+$/, ""));
    line.append(number, text);
    return line;
  }

  /**
   * @param {HTMLElement} into
   * @param {string} message
   */
  fill(into, message) {
    const cut = message.length > LONGEST ? message.slice(0, LONGEST) : message;
    // A bare carriage return inside: a terminal would show what came after it.
    const { pieces, style } = parseLine(cut.slice(cut.lastIndexOf("\r") + 1), this.style);
    this.style = style;
    for (const { text, style: look } of pieces) {
      if (look === PLAIN || isPlain(look)) addText(into, text);
      else into.append(styled(text, look));
    }
    if (cut !== message) {
      into.append(make("span", "b-unseen", _("… %(count)s more characters", { count: message.length - LONGEST })));
    }
  }

  /**
   * Mark the line that decided the outcome, and open the one of the address if there is one.
   * @param {number} marked
   * @param {number} target
   */
  point(marked, target) {
    this.marked = marked;
    this.target = target;
    if (target) this.follow(false);
    this.find(marked)?.element.classList.add("b-mark");
    if (target && this.drawn >= target) this.show(target);
  }

  /** No more lines come: go where the address wanted to, or as near as there is. */
  settle() {
    if (!this.frame) {
      if (this.target) this.show(Math.min(this.target, this.drawn));
    } else {
      this.soon(() => this.settle());
    }
  }

  /** @param {number} seq the line, or the one that took its place */
  find(seq) {
    return seq ? this.lines.find((line) => line.seq >= seq) : undefined;
  }

  /** @param {number} seq */
  show(seq) {
    this.target = 0;
    const line = this.find(seq)?.element;
    if (!line) return;
    for (const old of this.box.querySelectorAll(".b-target")) old.classList.remove("b-target");
    line.classList.add("b-target");
    this.follow(false);
    this.reveal(line);
  }

  /** Scroll a line to the middle, twice: chunks get their true height when first drawn. @param {HTMLElement} line */
  reveal(line) {
    const to = () => {
      const box = this.box.getBoundingClientRect();
      const at = line.getBoundingClientRect();
      this.box.scrollTop += at.top - box.top - this.box.clientHeight / 2;
      this.box.scrollLeft = 0;
    };
    to();
    requestAnimationFrame(to);
  }

  toEnd() {
    this.box.scrollTop = this.box.scrollHeight;
  }

  /** @param {boolean} wanted */
  follow(wanted) {
    if (wanted) this.toEnd();
    if (this.following === wanted) return;
    this.following = wanted;
    this.onFollow(wanted);
  }

  noticeScroll() {
    const { scrollTop, scrollHeight, clientHeight } = this.box;
    const atEnd = scrollHeight - scrollTop - clientHeight < 24;
    if (atEnd === this.following) return;
    if (atEnd && !this.target) this.follow(true);
    else if (performance.now() - this.touched < 1500) this.follow(false);
  }

  /** @param {boolean} wanted */
  wrap(wanted) {
    this.box.classList.toggle("b-wrapped", wanted);
    if (this.following) this.toEnd();
  }
}

/** @param {import("./ansi.js").Style} style */
function isPlain(style) {
  return style.fg === null && style.bg === null && !style.marks && !style.swapped;
}

/**
 * @param {string} text
 * @param {import("./ansi.js").Style} style
 */
function styled(text, style) {
  const span = make("span");
  const fg = style.swapped ? (style.bg ?? 0) : style.fg;
  const bg = style.swapped ? (style.fg ?? 7) : style.bg;
  for (const mark of style.marks) span.classList.add(`a-${mark}`);
  if (typeof fg === "number") span.classList.add(`a-f${style.swapped && fg === 0 ? 15 : fg}`);
  else if (fg !== null) span.style.color = fg;
  if (typeof bg === "number") span.classList.add(`a-g${bg}`);
  else if (bg !== null) span.style.backgroundColor = bg;
  addText(span, text);
  return span;
}

/**
 * Append text, its invisible and direction-changing characters made visible.
 * @param {HTMLElement} into
 * @param {string} text
 */
function addText(into, text) {
  if (!UNSEEN.test(text)) {
    into.append(text);
    return;
  }
  for (const part of text.split(new RegExp(`(${UNSEEN.source})`))) {
    if (part.length === 1 && UNSEEN.test(part)) {
      const code = part.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0");
      into.append(make("span", "b-unseen", `U+${code}`));
    } else if (part) {
      into.append(part);
    }
  }
}
