import { byId, el, name, setText } from "./dom.js";
import { edit, extending, givingBack, taking } from "./acting.js";
import { breaking } from "./breaking.js";
import { DataCard } from "./data.js";
import { HistoryCard } from "./history.js";
import { kept } from "./kept.js";
import { lockOf, remember } from "./own.js";
import { LockCard } from "./lock.js";
import { address, visible } from "./text.js";
import { UnitCard } from "./unit.js";

/** Milliseconds between two looks at the lock, and at what every event is told of. */
const [REST, PERIOD, SELDOM] = [300, 2000, 15_000];

/** Everything about one selector. */
export class SelectorPane {
  #server = null;
  #resource = "";
  #selector = "";
  #timeout = 0;
  #isUnit = false;
  #fence = null;
  /** Whether there are events that are not shown yet: they may come faster than anyone can look. */
  #stale = false;
  #refreshers = {};
  #lock;
  #data;
  #history;
  #unit;
  #dialog;
  #failed;
  #announce;
  #problem = byId("selector-problem");
  #details = byId("selector-details");

  /**
   * @param {Dialog} dialog
   * @param {function(Error): string} failed  told of every error; returns what to say of it, if anything
   * @param {function(string)} announce  says something to those who do not see the page
   */
  constructor(dialog, failed, announce) {
    [this.#dialog, this.#failed, this.#announce] = [dialog, failed, announce];
    this.#history = new HistoryCard(failed);
    this.#lock = new LockCard(
      (holder) => this.#ask(breaking(this.#server, this.#resource, this.#selector, holder, () => announce("The lock was broken."))),
      () => this.#refreshers.lock.touch(),
      (holder) => this.#actions(holder),
    );
    this.#data = new DataCard(() => this.#edit());
    this.#unit = new UnitCard((question) => this.#ask(question));
    setInterval(() => this.#tick(), 500);
  }

  open(server, resource, selector) {
    this.close();
    [this.#server, this.#resource, this.#selector, this.#fence] = [server, resource, selector, null];
    byId("selector-heading").replaceChildren(name(selector));
    byId("selector-back").replaceChildren(name(resource));
    byId("selector-back").href = address(resource);
    this.#lock.show(null);
    this.#unit.open(server, resource, selector);
    this.#data.show(undefined);
    this.#history.open(server, (page, signal) => server.history(resource, selector, page, signal));
    this.#refreshers = {
      lock: this.#kept(
        PERIOD,
        (signal) => server.lock(resource, selector, this.#lock.limit, signal),
        (state) => this.#showLock(state),
        (words) => this.#refuse(words),
      ),
      data: this.#kept(
        SELDOM,
        (signal) => server.data(resource, selector, signal),
        (text) => this.#data.show(text),
      ),
      history: this.#kept(
        SELDOM,
        (signal) => this.#history.read(signal),
        () => {},
      ),
    };
    this.touch();
  }

  close() {
    for (const refresher of Object.values(this.#refreshers)) {
      refresher.stop();
    }
    this.#refreshers = {};
    this.#dialog.close();
  }

  /** Everything here may have changed. */
  touch() {
    for (const refresher of Object.values(this.#refreshers)) {
      refresher.touch();
    }
  }

  /** What was known of the past is no longer that of this server. */
  restart() {
    if (this.#refreshers.lock) {
      this.open(this.#server, this.#resource, this.#selector);
    }
  }

  /** How long a claimed lock lasts, in seconds; 0 if that is the server's to say. */
  lasts(timeout) {
    this.#timeout = timeout;
  }

  get #target() {
    return { server: this.#server, resource: this.#resource, selector: this.#selector };
  }

  /** The buttons for what may be done with the lock, by who holds it. */
  #actions(holder) {
    const button = (id, words, question) =>
      el("button", { type: "button", id, "data-needs-lock": true, onclick: () => this.#askWith(question) }, words);
    if (!holder) {
      return [button("take", "Take the lock…", taking)];
    }
    const own = lockOf(this.#resource, this.#selector);
    if (own && own.fence < holder.fence) {
      remember(this.#resource, this.#selector, null);
    }
    return own?.fence === holder.fence
      ? [
          button("extend", "Keep it for longer…", extending),
          button("give-back", "Give it back…", (target) => givingBack(target, this.#isUnit)),
        ]
      : [];
  }

  /** Ask about the lock as its resource is defined now: that says for how long it may be taken. */
  async #askWith(question) {
    const target = this.#target;
    try {
      const { about } = await target.server.selectors(target.resource, { limit: 1 });
      this.#ask(question({ ...target, about }));
    } catch (error) {
      this.#failed(error);
    }
  }

  #edit() {
    return edit(
      this.#target,
      (question) => this.#ask(question),
      (error) => {
        const words = this.#failed(error) || error.message;
        this.#dialog.tell("The data cannot be edited", words);
      },
    );
  }

  #ask(question) {
    const done = () => {
      this.#lock.renew();
      this.touch();
    };
    this.#dialog.ask({ ...question, done });
  }

  /** Something has happened somewhere. */
  happened(event) {
    if (event.resource === this.#resource && event.selector === this.#selector && this.#refreshers.lock) {
      this.#history.add(event);
      this.#stale = true;
      this.#refreshers.lock.touch();
      if (event.event === "write") {
        this.#refreshers.data.touch();
      }
    }
  }

  #tick() {
    if (!this.#refreshers.lock || document.hidden) {
      return;
    }
    this.#lock.tick();
    if (this.#lock.over) {
      this.#refreshers.lock.touch();
    }
    if (this.#stale) {
      this.#stale = false;
      this.#history.show();
    } else {
      this.#history.draw(false);
    }
  }

  #showLock(state) {
    this.#isUnit = Boolean(state.card);
    this.#lock.show(state, this.#timeout);
    this.#unit.show(state.card ?? null);
    this.#history.hold(state.holder);
    const fence = state.holder?.fence ?? 0;
    if (this.#fence !== null && this.#fence !== fence) {
      this.#announce(fence ? `${visible(state.holder.owner)} has the lock now.` : "The lock is free.");
    }
    this.#fence = fence;
    this.#problem.hidden = true;
    this.#details.hidden = false;
  }

  /** Say, in place of everything else, why there is nothing to see. */
  #refuse(words) {
    setText(this.#problem, words);
    this.#problem.hidden = false;
    this.#details.hidden = true;
  }

  #kept(period, load, show, refused) {
    return kept({ rest: REST, period }, load, show, this.#failed, refused);
  }
}
