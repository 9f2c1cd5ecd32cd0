import { byId, el, linked, name } from "./dom.js";
import { count, measured, moment } from "./text.js";
import { spansOf } from "./spans.js";
import { describe, draw, ENDS } from "./timeline.js";
import { turnsOf } from "./turns.js";

/** How many events are read at a time, how many rows are shown with each step, and how many are kept at most. */
const [PAGE, ROWS, MOST] = [200, 25, 2000];

const WHAT = {
  grant: ["got the lock", "waited"],
  release: ["let go", "held"],
  expiry: ["lease ran out", "held"],
  break: ["was broken", "held"],
  write: ["wrote", "held"],
  out: ["taken out of service", ""],
  back: ["back in service", ""],
};

/** What befell those who never held it. */
const WAITED = {
  release: ["gave up its place", "waited"],
  expiry: ["place lapsed", "waited"],
  break: ["was taken out of the queue", "waited"],
};

const NOBODY = "Nobody held it in this time.";

const PERIODS = [
  ["all that is loaded", Infinity],
  ["the last day", 86_400],
  ["the last hour", 3600],
  ["the last 10 minutes", 600],
  ["the last minute", 60],
];

/** Who held a selector when: a picture, and the events as a table. */
export class HistoryCard {
  #server;
  #fetch = null;
  #holder = null;
  /** Newest first; `#next` is where older ones begin, null if there are none. */
  #events = [];
  #next = null;
  #known = false;
  #rows = ROWS;
  /** The rows of the turns that are shown, by their oldest event, and which of these turns are open. */
  #drawn = new Map();
  #opened = new Set();
  #picture = el("div", { class: "timeline", role: "img" });
  /** The time of day up to which the picture is drawn, and how long it takes until a pixel is added. */
  #until = 0;
  #grain = 0;
  #legend = el("p", { class: "legend", "aria-hidden": "true" });
  #body = el("tbody");
  #older = el("button", { type: "button", class: "quiet older", onclick: () => this.#showOlder() }, "Show older turns");
  #period = el(
    "select",
    { id: "period", onchange: () => this.draw() },
    ...PERIODS.map(([words, seconds]) => el("option", { value: seconds }, words)),
  );
  #nothing = el("p", { class: "faint" });
  #parts;
  #problem;

  /** @param {function(Error)} problem  told when older events could not be read */
  constructor(problem) {
    this.#problem = problem;
    const head = ["when", "what", "owner", "key", "waited", "held", "fence"].map((word) => el("th", { scope: "col" }, word));
    this.#parts = el(
      "div",
      {},
      el("p", { class: "period" }, el("label", { for: "period" }, "Picture of"), " ", this.#period),
      this.#picture,
      this.#legend,
      el(
        "div",
        { class: "scroll", tabindex: 0, role: "region", "aria-label": "Turns, newest first" },
        el("table", {}, el("thead", {}, el("tr", {}, ...head)), this.#body),
      ),
      this.#older,
    );
    byId("history").replaceChildren(el("h3", { id: "history-heading" }, "History"), this.#nothing, this.#parts);
    new ResizeObserver(() => this.draw()).observe(this.#picture);
  }

  /** Begin with another selector; `fetch` takes a page (`before`, `limit`) and a signal. */
  open(server, fetch) {
    [this.#server, this.#fetch, this.#holder] = [server, fetch, null];
    [this.#events, this.#next, this.#known, this.#rows] = [[], null, false, ROWS];
    this.#drawn.clear();
    this.#opened.clear();
    this.show();
  }

  /** Read the newest events, and keep the older ones that are known if nothing is missing between. */
  async read(signal) {
    const fetch = this.#fetch;
    const { events, next } = await fetch({ limit: PAGE }, signal);
    if (fetch !== this.#fetch) {
      return;
    }
    const oldest = events.at(-1)?.id ?? 0;
    const follows = next === null || (this.#events.length > 0 && this.#events[0].id >= oldest);
    const older = follows ? this.#events.filter(({ id }) => id < oldest) : [];
    const newer = this.#events.filter(({ id }) => id > (events[0]?.id ?? 0));
    this.#next = older.length ? this.#next : next;
    this.#events = [...newer, ...events, ...older];
    this.#known = true;
    this.show();
  }

  /** An event has just happened. */
  add(event) {
    if (this.#known && !(this.#events[0]?.id >= event.id)) {
      this.#events.unshift(event);
      if (this.#events.length > MOST) {
        this.#events.length = MOST;
        this.#next = this.#events.at(-1).id;
      }
    }
  }

  /** @param {?Object} holder  who holds it now */
  hold(holder) {
    this.#holder = holder;
  }

  show() {
    const nothing = this.#known ? "Nothing is kept of what happened here." : "…";
    this.#nothing.textContent = this.#events.length ? "" : nothing;
    this.#parts.hidden = !this.#events.length;
    const turns = turnsOf(this.#events);
    this.#drawn = new Map(
      turns.slice(0, this.#rows).map((turn) => {
        const drawn = this.#drawn.get(turn.at(-1).id);
        return [turn.at(-1).id, drawn?.length === turn.length ? drawn : { length: turn.length, rows: this.#rowsOf(turn) }];
      }),
    );
    const rows = [...this.#drawn.values()].flatMap((drawn) => drawn.rows);
    if (rows.length !== this.#body.children.length || rows.some((row, at) => row !== this.#body.children[at])) {
      const focused = this.#body.contains(document.activeElement) ? document.activeElement.dataset.turn : null;
      this.#body.replaceChildren(...rows);
      if (focused) {
        this.#body.querySelector(`[data-turn="${focused}"]`)?.focus({ preventScroll: true });
      }
    }
    this.#older.hidden = this.#rows >= MOST || (this.#rows >= turns.length && this.#next === null);
    this.draw();
  }

  /**
   * Draw the picture, whose right edge is now.
   *
   * @param {boolean} changed  whether there is more to it than that time has passed
   */
  draw(changed = true) {
    const width = this.#picture.clientWidth;
    if (!width || !this.#fetch) {
      return;
    }
    if (!changed && (this.#picture.matches(":hover") || this.#server.now < this.#until + this.#grain)) {
      return; // whoever points at a bar wants to read what it says
    }
    const now = Math.max(this.#server.now, Date.parse(this.#events[0]?.at) || 0);
    const seconds = Number(this.#period.value);
    const spans = spansOf(this.#events, this.#holder, now).filter(({ end }) => end >= now - seconds * 1000);
    if (!spans.length) {
      this.#picture.setAttribute("aria-label", NOBODY);
      this.#picture.replaceChildren(el("p", { class: "faint" }, NOBODY));
      this.#legend.replaceChildren();
      return;
    }
    const from = seconds === Infinity ? Math.min(...spans.map(({ start }) => start), now - 1000) : now - seconds * 1000;
    const frame = { from, to: now, width };
    [this.#until, this.#grain] = [now, Math.max(1000, (now - from) / width)];
    this.#picture.setAttribute("aria-label", describe(spans, frame));
    this.#picture.replaceChildren(draw(spans, frame));
    const kinds = Object.keys(ENDS).filter((how) => spans.some((span) => span.how === how));
    this.#legend.replaceChildren(...kinds.map((how) => el("span", { class: `key ${how}` }, ENDS[how])));
  }

  async #showOlder() {
    const fetch = this.#fetch;
    this.#rows += ROWS;
    if (this.#rows > turnsOf(this.#events).length && this.#next !== null) {
      this.#older.disabled = true;
      try {
        const { events, next } = await fetch({ before: this.#next, limit: PAGE });
        if (fetch === this.#fetch) {
          this.#events.push(...events.filter(({ id }) => id < (this.#events.at(-1)?.id ?? Infinity)));
          this.#next = next;
        }
      } catch (error) {
        this.#problem(error);
      }
      this.#older.disabled = false;
    }
    if (fetch === this.#fetch) {
      this.show();
      this.#older.focus();
    }
  }

  /** One row for a turn, and one for each of its events, which are hidden until it is opened. */
  #rowsOf(turn) {
    const id = turn.at(-1).id;
    if (turn.length === 1) {
      return [row(turn[0], turn)];
    }
    const events = turn.map((event) => row(event, [event], "event"));
    const open = el(
      "button",
      { type: "button", class: "quiet open", "data-turn": id, "aria-label": `The ${count(turn.length, "event", "events")} of this turn` },
    );
    const set = (opened) => {
      open.setAttribute("aria-expanded", opened);
      for (const event of events) {
        event.hidden = !opened;
      }
    };
    open.addEventListener("click", () => {
      const opened = !this.#opened.has(id);
      this.#opened[opened ? "add" : "delete"](id);
      set(opened);
    });
    set(this.#opened.has(id));
    return [row(turn[0], turn, "turn", open), ...events];
  }
}

/** What an event is, in words, with who did it and why if that is somebody else. */
export function summaryOf({ event, fence, by, reason }) {
  const [what] = (fence === 0 ? WAITED[event] : null) ?? WHAT[event] ?? [event];
  return [what, ...(by ? [" by ", name(by)] : []), ...(reason ? [" because ", linked(reason)] : [])];
}

/** @param {Array} turn  the events that the row is about, newest first; `event` is the newest of them */
function row(event, turn, kind = "", ...more) {
  const { at, owner, key, fence } = event;
  const granted = turn.find((one) => one.event === "grant");
  const writes = turn.filter((one) => one.event === "write").length;
  const [what, after] = kind === "turn" ? summaryOfTurn(event, writes) : [summaryOf(event), spent(event)];
  const waited = granted ? waitOf(granted) : after === "waited" ? measured(event.seconds) : "";
  const held = after === "held" ? measured(event.seconds) : "";
  return el(
    "tr",
    { class: kind },
    el("td", { class: "number" }, ...more, el("time", { datetime: at }, moment(Date.parse(at)))),
    el("td", { class: `what ${event.event}` }, ...what),
    el("td", {}, linked(owner)),
    el("td", {}, name(key)),
    el("td", { class: "number" }, waited),
    el("td", { class: "number" }, held),
    el("td", { class: "number" }, fence ? String(fence) : ""),
  );
}

/** What became of a turn, and how often it wrote meanwhile. */
function summaryOfTurn(last, writes) {
  const wrote = writes ? `wrote ${writes === 1 ? "once" : `${writes.toLocaleString("en")} times`}` : "";
  if (last.event === "write") {
    return [["got the lock, ", wrote], ""];
  }
  return [[...(wrote ? [wrote, ", "] : []), ...summaryOf(last)], "held"];
}

const spent = ({ event, fence }) => ((fence === 0 ? WAITED[event] : null) ?? WHAT[event] ?? [])[1];

const waitOf = ({ seconds }) => (seconds === 0 ? "at once" : measured(seconds));
