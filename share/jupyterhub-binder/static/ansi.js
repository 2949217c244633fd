/**
 * Reads the terminal codes of a log line into pieces of styled text. Pure: makes no elements,
 * and whatever it does not know it drops.
 * @module
 */

/**
 * How text looks: 0 to 15 are classes; "#rrggbb" is a colour of its own.
 * @typedef {object} Style
 * @property {number | string | null} fg
 * @property {number | string | null} bg
 * @property {string} marks letters out of "bdius": bold, dim, italic, underlined, struck
 * @property {boolean} swapped
 */

/**
 * @typedef {{text: string, style: Style}} Piece
 */

/** @type {Readonly<Style>} */
export const PLAIN = Object.freeze({ fg: null, bg: null, marks: "", swapped: false });

// Control sequences, operating-system commands (until BEL or ST), other two-character escapes.
const CODES =
  // eslint-disable-next-line no-control-regex
  /\x1b(?:\[([0-?]*)[ -/]*([@-~])|[\]P_^X][^\x07\x1b]*(?:\x07|\x1b\\|$)|[ -/]*[0-~]|$)/g;

const ON = new Map([
  [1, "b"],
  [2, "d"],
  [3, "i"],
  [4, "u"],
  [9, "s"],
]);
const OFF = new Map([
  [22, "bd"],
  [23, "i"],
  [24, "u"],
  [29, "s"],
]);

/**
 * Split a line into pieces of one style each.
 * @param {string} line
 * @param {Readonly<Style>} [style] with which the line begins
 * @returns {{pieces: Piece[], style: Style}} the pieces, and the style after them
 */
export function parseLine(line, style = PLAIN) {
  /** @type {Piece[]} */
  const pieces = [];
  let now = { ...style };
  let position = 0;
  const add = (/** @type {string} */ text) => {
    if (text) pieces.push({ text, style: now });
  };
  for (const match of line.matchAll(CODES)) {
    add(line.slice(position, match.index));
    position = match.index + match[0].length;
    if (match[2] === "m") now = restyle(now, match[1] ?? "");
  }
  add(line.slice(position));
  return { pieces, style: now };
}

/**
 * Take the codes out of a line.
 * @param {string} line
 * @returns {string}
 */
export function plainText(line) {
  return line.replace(CODES, "");
}

/** Characters that nobody sees, or that turn the reading direction. */
export const UNSEEN =
  // eslint-disable-next-line no-control-regex
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/;

/**
 * @param {Style} style
 * @param {string} parameters of a "select graphic rendition" sequence
 * @returns {Style}
 */
function restyle(style, parameters) {
  const codes = parameters.split(/[;:]/).map((text) => Number(text) || 0);
  let next = { ...style };
  for (let at = 0; at < codes.length; at += 1) {
    const code = codes[at];
    if (code === 38 || code === 48) {
      const [colour, used] = extended(codes, at + 1);
      if (colour !== null) next = code === 38 ? { ...next, fg: colour } : { ...next, bg: colour };
      at += used;
    } else {
      next = simple(next, code);
    }
  }
  return next;
}

/**
 * @param {Style} style
 * @param {number} code
 * @returns {Style}
 */
function simple(style, code) {
  if (code === 0) return { ...PLAIN };
  if (code === 7 || code === 27) return { ...style, swapped: code === 7 };
  const on = ON.get(code);
  if (on) return { ...style, marks: style.marks.includes(on) ? style.marks : style.marks + on };
  const off = OFF.get(code);
  if (off) return { ...style, marks: [...style.marks].filter((m) => !off.includes(m)).join("") };
  if (code === 39) return { ...style, fg: null };
  if (code === 49) return { ...style, bg: null };
  const colour = colourOf(code);
  if (colour === null) return style;
  return colour.ground ? { ...style, bg: colour.number } : { ...style, fg: colour.number };
}

/** @param {number} code */
function colourOf(code) {
  if (code >= 30 && code <= 37) return { ground: false, number: code - 30 };
  if (code >= 90 && code <= 97) return { ground: false, number: code - 82 };
  if (code >= 40 && code <= 47) return { ground: true, number: code - 40 };
  if (code >= 100 && code <= 107) return { ground: true, number: code - 92 };
  return null;
}

/**
 * Read "5;n" or "2;r;g;b".
 * @param {number[]} codes
 * @param {number} at
 * @returns {[number | string | null, number]} the colour, and how many codes it took
 */
function extended(codes, at) {
  if (codes[at] === 5) return [indexed(codes[at + 1] ?? 0), 2];
  if (codes[at] === 2) return [hex(codes.slice(at + 1, at + 4)), 4];
  return [null, 1];
}

/** @param {number} index one of the 256 colours */
function indexed(index) {
  if (index < 0 || index > 255) return null;
  if (index < 16) return index;
  if (index >= 232) return hex(Array(3).fill(8 + (index - 232) * 10));
  const level = (/** @type {number} */ n) => (n ? 55 + n * 40 : 0);
  const cube = index - 16;
  return hex([Math.floor(cube / 36), Math.floor(cube / 6) % 6, cube % 6].map(level));
}

/** @param {number[]} channels */
function hex(channels) {
  const bytes = [0, 1, 2].map((n) => Math.min(255, Math.max(0, channels[n] ?? 0)));
  return `#${bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
