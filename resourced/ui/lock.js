import { byId, el, linked, name, setText } from "./dom.js";
import { duration } from "./text.js";

/** How many of the queue are shown at first, and how many more at a time; the server gives at most 1000. */
const [SHOWN, STEP, MOST] = [20, 100, 1000];

/** The holder of a lock with its lease running down, and those who wait for it. */
export class LockCard {
  /** How many of the queue to ask for. */
  limit = SHOWN;
  #lock = byId("lock");
  #queue = byId("queue");
  #state = null;
  #timeout = 0;
  #since = 0;
  #left = null;
  #onbreak;
  #onmore;
  #actions;
  #parts = null;

  /**
   * @param {function(Object)} onbreak  called with the holder whose lock is to be broken
   * @param {function()} onmore  called when more of the queue is wanted
   * @param {function(?Object): Node[]} actions  returns the buttons for what else may be done, by the holder
   */
  constructor(onbreak, onmore, actions) {
    [this.#onbreak, this.#onmore, this.#actions] = [onbreak, onmore, actions];
  }

  /** Whether the lease of what is shown has run out, so that it can hardly still be true. */
  get over() {
    return this.#left !== null && performance.now() >= this.#left.end;
  }

  /**
   * Show the state of the lock, or that it is not known.
   *
   * @param {?Object} state  what the server says of the lock
   * @param {number} timeout  the lease of the resource's locks in seconds, 0 if the server has its own
   */
  show(state, timeout = 0) {
    const before = this.#state?.holder;
    [this.#state, this.#timeout, this.#since] = [state, timeout, performance.now()];
    if (!state) {
      this.limit = SHOWN;
      this.#left = null;
      this.#lock.replaceChildren(el("h3", { id: "lock-heading" }, "Lock"), el("p", { class: "faint" }, "…"));
      this.#queue.replaceChildren(el("h3", { id: "queue-heading" }, "Queue"));
      this.#parts = null;
      return;
    }
    const { holder } = state;
    if (!this.#parts || ["owner", "key", "fence", "claimed"].some((field) => before?.[field] !== holder?.[field])) {
      this.#left = null;
      this.#showLock(holder);
    }
    if (holder) {
      this.#settle(holder, timeout);
    }
    this.#showQueue(state);
    this.tick();
  }

  /** Offer anew what may be done: this page may have taken the lock meanwhile. */
  renew() {
    if (this.#state) {
      this.#left = this.#parts = null;
      this.show(this.#state, this.#timeout);
    }
  }

  /** Let the time pass. */
  tick() {
    if (!this.#state) {
      return;
    }
    const passed = (performance.now() - this.#since) / 1000;
    for (const cell of this.#queue.querySelectorAll("[data-at]")) {
      const seconds = Number(cell.dataset.at) + Number(cell.dataset.step) * passed;
      setText(cell, duration(seconds));
    }
    if (this.#left) {
      const { held, left, bar } = this.#parts;
      const rest = Math.max(0, (this.#left.end - performance.now()) / 1000);
      setText(held, duration((performance.now() - this.#left.start) / 1000));
      setText(left, rest > 0 ? duration(rest) : "running out");
      bar.style.transform = `scaleX(${Math.min(1, rest / this.#left.whole)})`;
      bar.parentElement.classList.toggle("low", rest < this.#left.whole / 5);
    }
  }

  /** The server speaks in whole seconds, so what it says now may be what is shown already. */
  #settle(holder, timeout) {
    const now = performance.now();
    const [end, start] = [now + holder.left * 1000, now - holder.held * 1000];
    this.#left ??= { end, start, whole: 0 };
    if (this.#left.end < end - 200 || this.#left.end > end + 1200) {
      this.#left.end = end;
    }
    if (this.#left.start > start + 200 || this.#left.start < start - 1200) {
      this.#left.start = start;
    }
    this.#left.whole = Math.max(this.#left.whole, holder.left, holder.claimed ? timeout : 0, 1);
  }

  #showLock(holder) {
    const heading = el("h3", { id: "lock-heading" }, "Lock");
    if (this.#lock.contains(document.activeElement)) {
      // Not to the next holder's button: who presses a key twice has not meant that one.
      byId("selector-heading").focus();
    }
    if (!holder) {
      this.#parts = {};
      this.#lock.replaceChildren(heading, el("p", { class: "state free" }, "Free"), el("div", { class: "actions" }, ...this.#actions(null)));
      return;
    }
    const [held, left, bar] = [el("dd", { class: "number" }), el("dd", { class: "number" }), el("span")];
    this.#parts = { held, left, bar };
    const term = (word, value) => el("div", {}, el("dt", {}, word), value);
    this.#lock.replaceChildren(
      heading,
      el(
        "p",
        { class: "state held" },
        holder.claimed ? "Held by " : "Offered to ",
        linked(holder.owner, { id: "holder" }),
      ),
      el("div", { class: "lease", "aria-hidden": "true" }, bar),
      el(
        "dl",
        { class: "facts" },
        term(holder.claimed ? "lease left" : "to be claimed within", left),
        term("held for", held),
        term("key", el("dd", { id: "holder-key" }, name(holder.key))),
        term("fence", el("dd", { class: "number", id: "fence" }, String(holder.fence))),
      ),
      el(
        "div",
        { class: "actions" },
        ...this.#actions(holder),
        el(
          "button",
          { type: "button", class: "danger", id: "break", "data-needs-write": true, onclick: () => this.#onbreak(this.#state.holder) },
          "Break the lock…",
        ),
      ),
    );
  }

  #showQueue({ waiting, queue }) {
    const heading = el(
      "h3",
      { id: "queue-heading" },
      "Queue",
      ...(waiting ? [" ", el("span", { class: "figure waiting" }, `${waiting.toLocaleString("en")} waiting`)] : []),
    );
    const hadFocus = this.#queue.contains(document.activeElement);
    if (!waiting) {
      this.#queue.replaceChildren(heading, el("p", { class: "faint" }, "Nobody waits."));
      return;
    }
    const time = (seconds, step) => {
      const cell = el("td", { class: "number" }, duration(seconds));
      Object.assign(cell.dataset, { at: seconds, step });
      return cell;
    };
    const rows = queue.map(({ position, owner, key, waited, left }) =>
      el(
        "tr",
        {},
        el("td", { class: "number" }, String(position)),
        el("td", {}, linked(owner)),
        el("td", {}, name(key)),
        time(waited, 1),
        time(left, -1),
      ),
    );
    const head = ["", "owner", "key", "waits for", "place lasts"].map((word, at) =>
      el("th", { scope: "col", class: at === 1 || at === 2 ? "" : "number" }, word || el("span", { class: "unseen" }, "position")),
    );
    this.#queue.replaceChildren(
      heading,
      el(
        "table",
        { "aria-labelledby": "queue-heading" },
        el("thead", {}, el("tr", {}, ...head)),
        el("tbody", {}, ...rows),
      ),
    );
    if (waiting > queue.length && this.limit < MOST) {
      const more = el(
        "button",
        {
          type: "button",
          class: "quiet",
          onclick: () => {
            this.limit = Math.min(MOST, this.limit + STEP);
            this.#onmore();
          },
        },
        "Show more of the queue",
      );
      this.#queue.append(more);
      if (hadFocus) {
        more.focus();
      }
    } else if (waiting > queue.length) {
      this.#queue.append(el("p", { class: "faint" }, `These are the first ${MOST}.`));
    }
  }
}
