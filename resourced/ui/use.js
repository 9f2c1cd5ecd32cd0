import { byId, el, name, svg } from "./dom.js";
import { count, duration, measured, visible } from "./text.js";

/** How many units, and how many owners, have a bar of their own; the rest share one. */
const BARS = 12;

/** Pixels: the height of a row and of its bar, and how far from the edge. */
const [ROW, BAR, EDGE] = [38, 14, 1];

const PERIODS = [
  [1, "today"],
  [7, "7 days"],
  [30, "30 days"],
];

const DAY = 86_400;

/** The use of a resource in the last days, as a picture and in figures. */
export class UseCard {
  days = 7;
  #usage = null;
  #charts = el("div");
  /** Stays as it is when anything is drawn anew: who has opened it goes on reading. */
  #figures = el("details", { class: "figures" }, el("summary", {}, "Figures"), el("div"));
  #periods;

  /** @param {function()} changed  called when other days are wanted */
  constructor(changed) {
    const buttons = PERIODS.map(([days, words]) => {
      const button = el("button", { type: "button", "aria-pressed": String(days === this.days) }, words);
      button.addEventListener("click", () => {
        this.days = days;
        for (const one of buttons) {
          one.setAttribute("aria-pressed", one === button);
        }
        changed();
      });
      return button;
    });
    this.#periods = el("div", { class: "segments", role: "group", "aria-label": "Period" }, ...buttons);
    new ResizeObserver(() => this.#draw()).observe(this.#charts);
  }

  open() {
    this.#usage = null;
    this.#figures.hidden = true;
    this.#charts.replaceChildren(el("p", { class: "faint" }, "…"));
    byId("use").replaceChildren(el("h3", { id: "use-heading" }, "Use"), this.#periods, this.#charts, this.#figures);
  }

  /** @param {Object} usage  what `GET /usage` says */
  show(usage) {
    if (usage.days !== this.days || JSON.stringify(usage) === JSON.stringify(this.#usage)) {
      return; // other days were chosen meanwhile, or who reads or points at something is not disturbed
    }
    this.#usage = usage;
    this.#figures.hidden = !usage.units.length;
    this.#figures.lastChild.replaceChildren(figures(usage.units, usage.owners));
    this.#draw();
  }

  #draw() {
    const width = this.#charts.clientWidth;
    if (!this.#usage || !width) {
      return;
    }
    const { units, owners, days } = this.#usage;
    if (!units.length) {
      this.#charts.replaceChildren(el("p", { class: "faint" }, "Nothing was used in this time."));
      return;
    }
    this.#charts.replaceChildren(
      ...chart("By unit", units, (use) => use.selector, days * DAY, width),
      ...chart("By owner", owners, (use) => use.owner, 0, width),
    );
  }
}

/** A bar for each, as long as it was held, with its share of the `whole` time in words, unless that is 0. */
function chart(title, uses, nameOf, whole, width) {
  const rows = uses.slice(0, BARS).map((use) => ({ ...use, title: nameOf(use) ?? "all others" }));
  const rest = uses.slice(BARS);
  if (rest.length) {
    const sum = (field) => rest.reduce((total, use) => total + use[field], 0);
    rows.push({ title: count(rest.length, "other", "others"), grants: sum("grants"), held: sum("held"), expiries: sum("expiries"), breaks: sum("breaks") });
  }
  const most = Math.max(1, ...rows.map(({ held }) => held));
  const said = rows.slice(0, 3).map((use) => `${visible(use.title)} ${duration(use.held)}`).join(", ");
  return [
    el("h4", {}, title),
    svg(
      "svg",
      { class: "bars", role: "img", "aria-label": `${title}, held longest: ${said}. The figures say it in words.`, viewBox: `0 0 ${width} ${rows.length * ROW}`, height: rows.length * ROW },
      ...rows.map((use, at) => bar(use, at * ROW, (use.held / most) * (width - 2 * EDGE), whole, width)),
    ),
  ];
}

function bar(use, top, length, whole, width) {
  const letters = [...visible(use.title)];
  const share = whole ? ` (${Math.round((use.held / whole) * 100)} %)` : "";
  const more = [
    ...(use.expiries ? [count(use.expiries, "lease ran out", "leases ran out")] : []),
    ...(use.breaks ? [`${use.breaks.toLocaleString("en")} broken`] : []),
  ];
  const figures = `${duration(use.held)}${share}, ${count(use.grants, "lock", "locks")}`;
  const room = Math.max(4, Math.floor(width / 7.6) - figures.length - 2);
  const label = letters.length > room ? `${letters.slice(0, room - 1).join("")}…` : letters.join("");
  const kind = use.breaks ? "break" : use.expiries ? "expiry" : "held";
  return svg(
    "g",
    {},
    svg("title", {}, [`${visible(use.title)}: held ${figures}`, ...more].join(", ")),
    svg("text", { class: "lane", x: EDGE, y: top + 15 }, label),
    svg("text", { class: "tick", x: width - EDGE, y: top + 15, "text-anchor": "end" }, figures),
    svg("rect", { class: "ground", x: EDGE, y: top + 20, width: width - 2 * EDGE, height: BAR, rx: 2 }),
    svg("rect", { class: `use ${kind}`, x: EDGE, y: top + 20, width: Math.max(2, length), height: BAR, rx: 2 }),
  );
}

function figures(units, owners) {
  const head = ["locks", "held", "mean wait", "95 % waited", "ran out", "broken"];
  const rows = (uses, nameOf) =>
    uses.slice(0, 100).map((use) =>
      el(
        "tr",
        {},
        el("th", { scope: "row" }, nameOf(use) === null ? "all others" : name(nameOf(use))),
        ...[
          use.grants.toLocaleString("en"),
          duration(use.held),
          use.wait_mean === null ? "" : measured(use.wait_mean),
          use.wait_p95 === null ? "" : `≤ ${duration(use.wait_p95)}`,
          use.expiries.toLocaleString("en"),
          use.breaks.toLocaleString("en"),
        ].map((text) => el("td", { class: "number" }, text)),
      ),
    );
  const table = (caption, first, body) =>
    el(
      "table",
      {},
      el("caption", {}, caption),
      el("thead", {}, el("tr", {}, ...[first, ...head].map((word) => el("th", { scope: "col" }, word)))),
      el("tbody", {}, ...body),
    );
  return el(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": "Figures of the use" },
    table("By unit", "unit", rows(units, (use) => use.selector)),
    table("By owner", "owner", rows(owners, (use) => use.owner)),
  );
}
