/** How times, numbers, names and data are written, and how names are sorted. */

/**
 * A name as it is shown: what cannot be seen in it, or turns around what stands beside it, is spelled out, so that no
 * two names look the same by that.
 */
export const visible = (text) =>
  text
    .replace(/^ +| +$/g, (spaces) => "␣".repeat(spaces.length))
    .replace(UNSEEN, (character) => `⟨${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);

/** Characters that format and separate, but not the one that joins emoji and letters. */
const UNSEEN = /(?!\u200d)[\p{Cf}\p{Zl}\p{Zp}\u00a0\u2800\u3164\uffa0]/gu;

/** The address of a resource, or of a selector of it, on this page. */
export const address = (...names) => `#/${names.map(encodeURIComponent).join("/")}`;

/** Whole seconds for people: `47 s`, `4:47`, `1:02:03`, `3 d 4 h`. */
export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) {
    return `${whole} s`;
  }
  const two = (number) => String(number).padStart(2, "0");
  const [minutes, hours, days] = [Math.floor(whole / 60), Math.floor(whole / 3600), Math.floor(whole / 86400)];
  if (hours < 1) {
    return `${minutes}:${two(whole % 60)}`;
  }
  return days < 1 ? `${hours}:${two(minutes % 60)}:${two(whole % 60)}` : `${days} d ${hours % 24} h`;
}

/** Seconds that were measured: exact where they are few. */
export const measured = (seconds) => (seconds < 10 ? `${Number(seconds.toFixed(2))} s` : duration(seconds));

/** Text for a comparison that pays no regard to case. */
export const folded = (text) => text.normalize("NFKC").toLowerCase();

export const count = (number, one, many) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

/** The time of day, and the day too unless that is today. */
export function moment(milliseconds) {
  const then = new Date(milliseconds);
  const today = then.toDateString() === new Date().toDateString();
  return today ? CLOCK.format(then) : `${DAY.format(then)}, ${CLOCK.format(then)}`;
}

/** Compare two names by code points, as the server sorts them; JavaScript alone compares halves of surrogate pairs. */
export function byCodePoint(one, other) {
  const length = Math.min(one.length, other.length);
  for (let at = 0; at < length; at++) {
    const [a, b] = [one.charCodeAt(at), other.charCodeAt(at)];
    if (a !== b) {
      const [high, higher] = [isSurrogate(a), isSurrogate(b)];
      return high === higher ? a - b : high - higher;
    }
  }
  return one.length - other.length;
}

const isSurrogate = (unit) => Number(unit >= 0xd800 && unit <= 0xdfff);

const TOKEN = /"(?:[^"\\]|\\.)*"|[[\]{},:]|[^\s"[\]{},:]+/g;

/**
 * Write JSON text on lines of its own. It is not read as values, so that every number and every repeated field
 * stays as it was written.
 */
export function pretty(json) {
  const lines = [];
  let line = "";
  let depth = 0;
  const tokens = json.match(TOKEN) ?? [];
  const turn = () => {
    lines.push(line);
    line = "  ".repeat(depth);
  };
  for (const [at, token] of tokens.entries()) {
    if (token === "}" || token === "]") {
      depth--;
      if (tokens[at - 1] !== "{" && tokens[at - 1] !== "[") {
        turn();
      }
      line += token;
    } else {
      line += token === ":" ? ": " : token;
      if (token === "{" || token === "[") {
        depth++;
      }
      const opened = (token === "{" || token === "[") && tokens[at + 1] !== "}" && tokens[at + 1] !== "]";
      if (opened || token === ",") {
        turn();
      }
    }
  }
  lines.push(line);
  return lines.join("\n");
}
