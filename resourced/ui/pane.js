import { setText } from "./dom.js";
import { List } from "./list.js";
import { Paged } from "./paged.js";
import { Refresher } from "./refresher.js";

/** Milliseconds: see `Refresher`. */
const [REST, PERIOD] = [700, 4000];

/** How many rows before its end the list is read on. */
const AHEAD = 100;

/** A long list with a filter in front of it, which keeps what is in view true. */
export class Pane {
  #list;
  #empty;
  #filter;
  #nameOf;
  #about;
  #failed;
  #fetch = null;
  #paged = null;
  #refresher = null;
  #growing = null;

  /**
   * @param {HTMLElement} section
   * @param {Object} parts  `fill`, `nameOf` and `open` for the list; `about(prefix)`, what to say if there is nothing;
   *     `failed(error)`, which is told of every error and returns what to say of it, or nothing to leave the list alone
   */
  constructor(section, { about, failed, ...parts }) {
    [this.#about, this.#failed, this.#nameOf] = [about, failed, parts.nameOf];
    this.#empty = section.querySelector(".empty");
    this.#filter = section.querySelector("input");
    this.#list = new List(section.querySelector(".list"), {
      ...parts,
      seen: () => {
        this.touch();
        this.#grow();
      },
    });
    this.#filter.addEventListener("input", () => this.#begin());
  }

  /** Show a list from its beginning; `fetch` takes a page (`prefix`, `after`, `limit`) and a signal. */
  open(fetch) {
    this.#fetch = fetch;
    this.#filter.value = "";
    this.#begin();
  }

  close() {
    this.#refresher?.stop();
    this.#paged = this.#refresher = this.#growing = null;
    this.#list.show([], true);
    this.#empty.hidden = true;
  }

  /** Something in the list has, or may have, changed. */
  touch() {
    this.#refresher?.touch();
  }

  mark(name) {
    this.#list.mark(name);
  }

  #begin() {
    this.close();
    const prefix = this.#filter.value;
    const paged = new Paged((page, signal) => this.#fetch({ prefix, ...page }, signal), this.#nameOf);
    this.#list.rewind();
    this.#paged = paged;
    this.#refresher = new Refresher((signal) => this.#read(paged, signal), REST, PERIOD);
    this.touch();
  }

  async #read(paged, signal) {
    const { first, end } = this.#list;
    await this.#attempt(paged, () => (paged.items.length ? paged.refresh(first, end, signal) : paged.start(signal)));
    await this.#grow();
  }

  /** Read on, if the end of what is known comes near. */
  async #grow() {
    const paged = this.#paged;
    while (paged && paged === this.#paged && this.#growing !== paged && this.#nearsEnd(paged)) {
      this.#growing = paged;
      const grown = await this.#attempt(paged, () => paged.more());
      this.#growing = null;
      if (!grown) {
        return;
      }
    }
  }

  #nearsEnd(paged) {
    return paged.items.length > 0 && !paged.complete && this.#list.end + AHEAD >= paged.items.length;
  }

  async #attempt(paged, work) {
    let problem = "";
    try {
      await work();
    } catch (error) {
      problem = this.#failed(error);
      if (!problem) {
        return false;
      }
    }
    if (paged === this.#paged) {
      const nothing = paged.items.length === 0 ? this.#about(this.#filter.value) : "";
      this.#list.show(problem ? [] : paged.items, paged.complete);
      setText(this.#empty, problem || nothing);
      this.#empty.hidden = !problem && !nothing;
    }
    return !problem;
  }
}
