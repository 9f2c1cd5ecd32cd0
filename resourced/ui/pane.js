import { setText } from "./dom.js";
import { List } from "./list.js";
import { Paged } from "./paged.js";
import { Refresher } from "./refresher.js";
import { Sifted } from "./sifted.js";
import { byCodePoint, folded } from "./text.js";

/** Milliseconds: see `Refresher`. */
const [REST, PERIOD] = [700, 4000];

/** How many rows before its end the list is read on. */
const AHEAD = 100;

/** A long list that can be searched and sorted, which keeps what is in view true. */
export class Pane {
  #list;
  #empty;
  #filter;
  #sort;
  #nameOf;
  #wordsOf;
  #orders;
  #about;
  #failed;
  #fetch = null;
  #source = null;
  #refresher = null;
  #growing = null;
  /** The row that is to come into view as soon as it is known where it stands. */
  #sought = null;
  #marked = null;

  /**
   * @param {HTMLElement} section
   * @param {Object} parts  those of the list; `wordsOf(item)`, in which one may search; `orders`, by the value of each
   *     choice of the select how to compare two items; `about(search)`, what to say if there is nothing;
   *     `failed(error)`, which is told of every error and returns what to say of it, or nothing to leave the list alone
   */
  constructor(section, { wordsOf, orders, about, failed, ...parts }) {
    [this.#wordsOf, this.#orders, this.#about, this.#failed] = [wordsOf, orders, about, failed];
    this.#nameOf = parts.nameOf;
    this.#empty = section.querySelector(".empty");
    this.#filter = section.querySelector("input");
    this.#sort = section.querySelector("select");
    this.#list = new List(section.querySelector(".list"), {
      ...parts,
      seen: () => {
        this.touch();
        this.#grow();
      },
    });
    this.#filter.addEventListener("input", () => this.#begin());
    this.#sort.addEventListener("change", () => this.#begin());
  }

  /** Show a list from its beginning; `fetch` takes a page (`after`, `limit`) and a signal. */
  open(fetch) {
    this.#fetch = fetch;
    this.#filter.value = "";
    this.#sort.selectedIndex = 0;
    this.#begin();
  }

  close() {
    this.#refresher?.stop();
    this.#source = this.#refresher = this.#growing = null;
    this.#list.show([], true);
    this.#empty.hidden = true;
  }

  /** Something in the list has, or may have, changed. */
  touch() {
    this.#refresher?.touch();
  }

  /** Mark the row that is open elsewhere on the page, and let it be seen. */
  mark(name) {
    if (name !== this.#marked) {
      [this.#marked, this.#sought] = [name, name];
      this.touch();
    }
    this.#list.mark(name);
  }

  #begin() {
    this.close();
    const search = folded(this.#filter.value.trim());
    const compare = this.#orders[this.#sort.value] ?? null;
    const source =
      search || compare
        ? new Sifted(this.#fetch, (item) => this.#wordsOf(item).some((words) => folded(words).includes(search)), compare)
        : new Paged(this.#fetch, this.#nameOf);
    this.#list.rewind();
    this.#source = source;
    this.#sought = this.#marked;
    this.#refresher = new Refresher((signal) => this.#read(source, signal), REST, PERIOD);
    this.touch();
  }

  async #read(source, signal) {
    const { first, end } = this.#list;
    await this.#attempt(source, () => (source.items.length ? source.refresh(first, end, signal) : source.start(signal)));
    await this.#seek(source);
    await this.#grow();
  }

  /** Read on until it is known where the row is that is sought. */
  async #seek(source) {
    while (source === this.#source && this.#sought !== null && source.items.length) {
      if (this.#list.reveal(this.#sought)) {
        this.#sought = null;
      } else if (source.complete || byCodePoint(this.#nameOf(source.items.at(-1)), this.#sought) > 0) {
        this.#sought = null; // nobody has used it yet
      } else if (!(await this.#attempt(source, () => source.more()))) {
        return;
      }
    }
  }

  /** Read on, if the end of what is known comes near. */
  async #grow() {
    const source = this.#source;
    while (source && source === this.#source && this.#growing !== source && this.#nearsEnd(source)) {
      this.#growing = source;
      const grown = await this.#attempt(source, () => source.more());
      this.#growing = null;
      if (!grown) {
        return;
      }
    }
  }

  #nearsEnd(source) {
    return source.items.length > 0 && !source.complete && this.#list.end + AHEAD >= source.items.length;
  }

  async #attempt(source, work) {
    let problem = "";
    try {
      await work();
    } catch (error) {
      problem = this.#failed(error);
      if (!problem) {
        return false;
      }
    }
    if (source === this.#source) {
      const nothing = source.items.length === 0 ? this.#about(this.#filter.value.trim()) : "";
      this.#list.show(problem ? [] : source.items, source.complete);
      setText(this.#empty, problem || nothing);
      this.#empty.hidden = !problem && !nothing;
    }
    return !problem;
  }
}
