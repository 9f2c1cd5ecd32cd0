import { byId, el, linked, name } from "./dom.js";
import { kept } from "./kept.js";
import { address, duration } from "./text.js";
import { UseCard } from "./use.js";
import { wanted } from "./wants.js";

/** Milliseconds: see `Refresher`. */
const [SOON, SELDOM] = [{ rest: 1000, period: 4000 }, { rest: 300, period: 60_000 }];

/** How many of those who wait are shown. */
const SHOWN = 50;

/** What there is to say of a resource as a whole: who waits for what, and how it was used. */
export class ResourcePane {
  #failed;
  #refreshers = [];
  #resource = null;
  #use = new UseCard(() => this.#refreshers[1]?.touch());

  /** @param {function(Error): string} failed  told of every error */
  constructor(failed) {
    this.#failed = failed;
  }

  open(server, resource) {
    if (this.#refreshers.length && resource === this.#resource) {
      return;
    }
    this.close();
    this.#resource = resource;
    this.#showWaits(null);
    this.#use.open();
    this.#refreshers = [
      kept(
        SOON,
        (signal) => server.locks({ resource, sort: "waiting", limit: SHOWN }, signal),
        ({ items }) => this.#showWaits(items),
        this.#failed,
      ),
      kept(
        SELDOM,
        (signal) => server.usage(resource, this.#use.days, signal),
        (usage) => this.#use.show(usage),
        this.#failed,
      ),
    ];
    this.touch();
  }

  close() {
    for (const refresher of this.#refreshers) {
      refresher.stop();
    }
    this.#refreshers = [];
  }

  touch() {
    for (const refresher of this.#refreshers) {
      refresher.touch();
    }
  }

  /** Something has happened to something of this resource. */
  happened() {
    this.#refreshers[0]?.touch();
  }

  #showWaits(waits) {
    const heading = el("h3", { id: "waits-heading" }, "Who waits for what");
    if (!waits?.length) {
      byId("waits").replaceChildren(heading, el("p", { class: "faint" }, waits ? "Nobody waits." : "…"));
      return;
    }
    const rows = waits.map(({ want, waiter, holder, ...key }) =>
      el(
        "tr",
        {},
        el("td", { class: "number" }, duration(waiter.waited)),
        el("td", {}, linked(waiter.owner)),
        el("td", {}, ...(want ? wanted(want) : [el("a", { href: address(key.resource, key.selector) }, name(key.selector))])),
        el("td", {}, ...(holder ? [linked(holder.owner)] : [])),
      ),
    );
    const head = ["waits for", "owner", "wants", "held by"].map((word) => el("th", { scope: "col" }, word));
    const more = waits.length === SHOWN ? [el("p", { class: "faint" }, `These are the first ${SHOWN}.`)] : [];
    byId("waits").replaceChildren(
      heading,
      el("table", { "aria-labelledby": "waits-heading" }, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows)),
      ...more,
    );
  }
}
