import { byCodePoint } from "./text.js";

/** The most that the server gives at once. */
const LIMIT = 1000;

/** How many are read at first, and with each step on. */
const PAGE = 500;

/**
 * The beginning of a long list on the server, as far as anyone has wanted to see it.
 *
 * What is read anew is merged by name: the list may have changed anywhere since.
 */
export class Paged {
  items = [];
  /** Whether there is nothing after the last item. */
  complete = false;
  #fetch;
  #nameOf;
  #turn = Promise.resolve();

  /**
   * @param {function({after: string, limit: number}, AbortSignal): Promise<{items: Array, next: ?string}>} fetch
   * @param {function(Object): string} nameOf
   */
  constructor(fetch, nameOf) {
    [this.#fetch, this.#nameOf] = [fetch, nameOf];
  }

  /** Read the beginning. */
  start(signal) {
    return this.#inTurn(() => this.#read(0, PAGE, signal));
  }

  /** Read on after the last item. */
  more(signal) {
    return this.#inTurn(() => (this.complete ? null : this.#read(this.items.length, PAGE, signal)));
  }

  /** Read the items from one index up to another anew. */
  refresh(first, end, signal) {
    return this.#inTurn(() => this.#read(first, Math.min(LIMIT, Math.max(end - first, 1)), signal));
  }

  async #read(first, limit, signal) {
    const before = this.items[Math.min(first, this.items.length) - 1];
    const { items, next } = await this.#fetch({ after: before && this.#nameOf(before), limit }, signal);
    const start = before ? this.items.indexOf(before) + 1 : 0;
    const end = next === null ? this.items.length : this.#after(next);
    this.complete = next === null || (this.complete && end < this.items.length);
    this.items.splice(start, Math.max(0, end - start), ...items);
  }

  /** The index of the first item whose name comes after another. */
  #after(name) {
    let [low, high] = [0, this.items.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (byCodePoint(this.#nameOf(this.items[middle]), name) <= 0) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }

  #inTurn(work) {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => {});
    return turn;
  }
}
