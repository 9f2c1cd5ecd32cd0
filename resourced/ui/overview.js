import { byId, el, linked, name } from "./dom.js";
import { kept } from "./kept.js";
import { whole } from "./sifted.js";
import { address, count, duration, moment } from "./text.js";
import { wanted } from "./wants.js";
import { summaryOf } from "./history.js";

/** Milliseconds: see `Refresher`. */
const TIMES = { rest: 1500, period: 5000 };

/** How many locks, waits and events are shown, and pools at most. */
const [LOCKS, EVENTS, POOLS] = [10, 12, 30];

/** What an operator looks for first: what is held longest, who waits longest, what just happened, how busy the pools are. */
export class Overview {
  #failed;
  #refresher = null;
  #server = null;
  /** The newest events first. */
  #events = [];
  #drawing = 0;

  /** @param {function(Error): string} failed  told of every error */
  constructor(failed) {
    this.#failed = failed;
  }

  /** Begin with another server, of which nothing is known. */
  begin(server) {
    [this.#server, this.#events] = [server, []];
    for (const [id, title] of Object.entries(TITLES)) {
      put(id, title, el("p", { class: "faint" }, "…"));
    }
  }

  open() {
    this.close();
    this.#refresher = kept(TIMES, (signal) => this.#read(signal), (read) => this.#show(read), this.#failed);
    this.#refresher.touch();
    this.#showEvents();
  }

  close() {
    this.#refresher?.stop();
    this.#refresher = null;
  }

  touch() {
    this.#refresher?.touch();
  }

  /** @param {Array} events  what happened before the page followed the server, oldest first */
  before(server, events) {
    if (server === this.#server) {
      this.#events = [...this.#events, ...events.toReversed()].slice(0, EVENTS);
      this.#showEvents();
    }
  }

  happened(event) {
    this.#events = event.event === "reset" ? [] : [event, ...this.#events].slice(0, EVENTS);
    if (this.#refresher) {
      this.touch();
      this.#drawing ||= setTimeout(() => this.#showEvents(), 500);
    }
  }

  async #read(signal) {
    const server = this.#server;
    const [held, waiting, resources, cluster] = await Promise.all([
      server.locks({ sort: "held", limit: LOCKS }, signal),
      server.locks({ sort: "waiting", limit: LOCKS }, signal),
      whole((page, within) => server.resources(page, within), signal),
      server.cluster(signal),
    ]);
    return { held: held.items, waiting: waiting.items, resources, cluster };
  }

  #show({ held, waiting, resources, cluster }) {
    list("longest-held", held.map(heldRow), "Nothing is held.");
    list("longest-waits", waiting.map(waitingRow), "Nobody waits.");
    const pools = resources.filter(({ units }) => units).sort((one, other) => share(other) - share(one));
    const more = pools.length > POOLS ? [el("p", { class: "faint" }, `These are the ${POOLS} busiest of ${pools.length} pools.`)] : [];
    const sum = (field) => resources.reduce((total, resource) => total + resource[field], 0);
    put(
      "busy",
      TITLES.busy,
      el("p", { class: "faint" }, `${count(resources.length, "resource", "resources")}, ${sum("held").toLocaleString("en")} held, ${sum("waiting").toLocaleString("en")} waiting.`),
      ...pools.slice(0, POOLS).map(poolRow),
      ...more,
    );
    // A daemon without others has nothing to tell of them.
    byId("nodes").hidden = cluster.nodes.length < 2;
    const moving = cluster.moving ? [el("p", { class: "faint" }, `${count(cluster.moving, "partition has", "partitions have")} no owner at this moment.`)] : [];
    put("nodes", TITLES.nodes, el("ul", { class: "plain" }, ...cluster.nodes.map(nodeRow)), ...moving);
  }

  #showEvents() {
    clearTimeout(this.#drawing);
    this.#drawing = 0;
    list("news", this.#events.map(eventRow), "Nothing has happened lately.");
  }
}

const TITLES = {
  "longest-held": "Held longest",
  "longest-waits": "Waits longest",
  busy: "How busy each pool is",
  news: "Just happened",
  nodes: "Nodes",
};

function put(id, title, ...content) {
  byId(id).replaceChildren(el("h3", { id: `${id}-heading` }, title), ...content);
}

/** Show rows, without touching what someone has the focus on unless it is another one. */
function list(id, rows, nothing) {
  const active = byId(id).contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  put(id, TITLES[id], rows.length ? el("ul", { class: "plain" }, ...rows) : el("p", { class: "faint" }, nothing));
  if (active !== null) {
    const same = [...byId(id).querySelectorAll("a[href]")].find((link) => link.getAttribute("href") === active);
    same?.focus({ preventScroll: true });
  }
}

const row = (time, ...content) => el("li", {}, el("span", { class: "number time" }, time), el("span", {}, ...content));

const place = ({ resource, selector }) =>
  el("a", { class: "place", href: address(resource, selector) }, name(resource), " / ", name(selector));

const queued = (waiting) => (waiting ? [", ", el("span", { class: "figure waiting" }, `${waiting.toLocaleString("en")} waiting`)] : []);

function heldRow({ holder, waiting, ...key }) {
  return row(duration(holder.held), place(key), " by ", linked(holder.owner), ...queued(waiting));
}

function waitingRow({ want, holder, waiter, ...key }) {
  const held = holder ? [", held by ", linked(holder.owner), ` for ${duration(holder.held)}`] : [];
  const what = want ? wanted(want) : [place(key), ...held];
  return row(duration(waiter.waited), linked(waiter.owner), " waits for ", ...what);
}

const share = ({ units, held }) => held / units;

function poolRow({ name: title, units, out = 0, held, waiting }) {
  const busy = Math.min(1, share({ units, held }));
  const bar = el("span", { class: "meter", "aria-hidden": "true" }, el("span", { class: "busy" }));
  bar.firstChild.style.width = `${busy * 100}%`;
  return el(
    "div",
    { class: "pool" },
    el("a", { href: address(title) }, name(title)),
    bar,
    el("span", {}, `${held.toLocaleString("en")} of ${count(units, "unit", "units")} held`, ...(out ? [`, ${out.toLocaleString("en")} out of service`] : []), ...queued(waiting)),
  );
}

function nodeRow({ id, url, state, still, draining, partitions, here }) {
  const what = state === "up" ? count(partitions, "partition", "partitions") : state;
  const more = state === "up" ? [draining ? ", draining" : "", here ? ", asked by this page" : `, seen ${duration(still)} ago`] : [];
  return row(String(id), name(url), `: ${what}`, ...more);
}

function eventRow(event) {
  const how = event.event === "out" || event.event === "back" ? " by " : " ";
  return row(moment(Date.parse(event.at)), place(event), " ", el("span", { class: `what ${event.event}` }, ...summaryOf(event)), how, linked(event.owner));
}
