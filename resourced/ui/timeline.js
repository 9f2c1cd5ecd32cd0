import { svg } from "./dom.js";
import { count, measured, moment, visible } from "./text.js";

/** Pixels. */
const [LANE, BAR, AXIS, EDGE] = [40, 16, 24, 1];

/** How many owners have a lane of their own; the rest share one. */
const LANES = 7;

const [SECOND, MINUTE, HOUR, DAY] = [1000, 60_000, 3_600_000, 86_400_000];
const STEPS = [
  ...[1, 2, 5, 10, 15, 30].map((seconds) => seconds * SECOND),
  ...[1, 2, 5, 10, 15, 30].map((minutes) => minutes * MINUTE),
  ...[1, 2, 3, 6, 12].map((hours) => hours * HOUR),
  ...[1, 2, 7, 14, 30, 90, 365].map((days) => days * DAY),
];

const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const DATE = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

/** How a span ended, in words; also what there is in the legend. */
export const ENDS = {
  now: "holds it",
  release: "let go",
  expiry: "lease ran out",
  break: "broken",
  unknown: "end not known",
};

/**
 * Draw who held a lock when: a lane for each owner, time from left to right.
 *
 * @param {Array} spans  see `spansOf`; at least one
 * @param {{from: number, to: number, width: number}} frame  times of day in milliseconds, and pixels
 * @returns {SVGElement}
 */
export function draw(spans, { from, to, width }) {
  const x = (time) => EDGE + ((Math.max(from, Math.min(to, time)) - from) / (to - from)) * (width - 2 * EDGE);
  const lanes = lanesOf(spans);
  const height = lanes.length * LANE + AXIS;
  return svg(
    "svg",
    { "aria-hidden": "true", viewBox: `0 0 ${width} ${height}`, height },
    svg(
      "defs",
      {},
      svg(
        "pattern",
        { id: "hatch", width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
        svg("rect", { class: "hatch-ground", width: 6, height: 6 }),
        svg("rect", { class: "hatch-line", width: 2.5, height: 6 }),
      ),
    ),
    ...ticks(from, to, width, height, x),
    ...lanes.flatMap((lane, at) => drawLane(lane, at * LANE, width, x)),
  );
}

/** One lane for each owner, the latest holder first. */
function lanesOf(spans) {
  const owners = new Map();
  for (const span of spans.toReversed()) {
    owners.set(span.owner, [span, ...(owners.get(span.owner) ?? [])]);
  }
  const lanes = [...owners].map(([owner, held]) => ({ title: visible(owner), spans: held }));
  if (lanes.length <= LANES) {
    return lanes;
  }
  const rest = lanes.splice(LANES - 1);
  const shared = rest.flatMap((lane) => lane.spans).sort((one, other) => one.start - other.start);
  return [...lanes, { title: count(rest.length, "other", "others"), spans: shared }];
}

function drawLane({ title, spans }, top, width, x) {
  const bars = [];
  const bar = top + LANE - BAR - 4;
  let reached = -1;
  for (const span of spans) {
    const [left, right] = [x(span.start), x(span.end)];
    const from = Math.min(left, width - EDGE - 2);
    const drawn = Math.max(2, right - from);
    if (from + drawn <= reached) {
      continue; // it would be hidden by the one before: there are no more bars than pixels
    }
    reached = Math.ceil(from + drawn);
    const said = `${visible(span.owner)}, fence ${span.fence}: ${moment(span.start)}, ${measured((span.end - span.start) / 1000)}, ${ENDS[span.how]}`;
    const marks = [svg("rect", { class: `span ${span.how}`, x: from, y: bar, width: drawn, height: BAR, rx: 2 })];
    if (drawn > 12) {
      marks.push(...span.writes.map((at) => svg("path", { class: "write", d: `M${x(at)} ${bar + 4}v${BAR - 8}` })));
    }
    if (span.how === "break") {
      marks.push(svg("path", { class: "cross", d: `M${right - 4} ${bar + 4}l8 8m0-8l-8 8` }));
    }
    bars.push(svg("g", {}, svg("title", {}, said), ...marks));
  }
  const room = Math.floor(width / 8);
  const letters = [...title];
  const label = letters.length > room ? `${letters.slice(0, room - 1).join("")}…` : title;
  return [
    svg("text", { class: "lane", x: EDGE, y: top + LANE - BAR - 10 }, label),
    svg("rect", { class: "ground", x: EDGE, y: bar, width: width - 2 * EDGE, height: BAR, rx: 2 }),
    ...bars,
  ];
}

function ticks(from, to, width, height, x) {
  const step = STEPS.find((step) => (step / (to - from)) * width > 80) ?? STEPS.at(-1);
  const zone = new Date(to).getTimezoneOffset() * MINUTE;
  const drawn = [];
  for (let time = Math.ceil((from - zone) / step) * step + zone; time <= to; time += step) {
    const at = x(time);
    const anchor = at < 30 ? "start" : at > width - 30 ? "end" : "middle";
    const word = step < MINUTE ? moment(time).split(", ").at(-1) : (step < DAY ? TIME : DATE).format(time);
    drawn.push(
      svg("path", { class: "grid", d: `M${at} 0V${height - AXIS + 4}` }),
      svg("text", { class: "tick", x: at, y: height - 6, "text-anchor": anchor }, word),
    );
  }
  return drawn;
}

/** Say in words what the picture shows. */
export function describe(spans, { from, to }) {
  const owners = new Set(spans.map(({ owner }) => owner)).size;
  const now = spans.at(-1).how === "now" ? ` ${visible(spans.at(-1).owner)} holds it now.` : "";
  return `Who held it from ${moment(from)} to ${moment(to)}: ${count(spans.length, "lock", "locks")} of ${count(owners, "owner", "owners")}.${now} The table says it in words.`;
}
