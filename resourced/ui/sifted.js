/** The most that the server gives at once, and the most items that are read. */
const [LIMIT, MOST] = [1000, 20_000];

/**
 * What of a long list on the server someone looks for, in the order that they want.
 *
 * The server knows neither, so the whole list is read each time. It has the methods of `Paged`.
 */
export class Sifted {
  items = [];
  complete = true;
  #fetch;
  #keeps;
  #compare;

  /**
   * @param {function({after: string, limit: number}, AbortSignal): Promise<{items: Array, next: ?string}>} fetch
   * @param {function(Object): boolean} keeps  whether an item is wanted
   * @param {?function(Object, Object): number} compare  the order; null for that of the server
   */
  constructor(fetch, keeps, compare) {
    [this.#fetch, this.#keeps, this.#compare] = [fetch, keeps, compare];
  }

  async start(signal) {
    const kept = (await whole(this.#fetch, signal)).filter(this.#keeps);
    this.items = this.#compare ? kept.sort(this.#compare) : kept;
  }

  async more() {}

  refresh(first, end, signal) {
    return this.start(signal);
  }
}

/** Read a list to its end, or as far as it is looked at. */
export async function whole(fetch, signal) {
  const all = [];
  for (let after, next; next !== null && all.length < MOST; after = next) {
    const page = await fetch({ after, limit: LIMIT }, signal);
    all.push(...page.items);
    next = page.next;
  }
  return all;
}
