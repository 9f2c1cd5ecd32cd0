/** What the page asks the daemon, and what may be wrong with the answer. */

const ROOT = new URL(".", document.baseURI);

/** Milliseconds after which a silent server counts as away. */
const TIMEOUT = 20_000;

/** The server has understood, and says no. */
export class Refused extends Error {
  constructor(status, code, sentence) {
    super(sentence);
    this.status = status;
    this.code = code;
  }
}

/** There is no answer, or only that there can be none at present. */
export class Away extends Error {
  /** @param {number} [retryAfter]  in seconds, if the server says so */
  constructor(sentence, retryAfter = 0) {
    super(sentence);
    this.retryAfter = retryAfter;
  }
}

export class Server {
  #key;
  #heard;

  /** Add this to the time of day here, in milliseconds, and it is that of the server, to the second. */
  skew = 0;

  /**
   * @param {string} key
   * @param {function(?Error)} heard  told after each request why there was no answer, or null if there was one
   */
  constructor(key, heard = () => {}) {
    this.#key = key;
    this.#heard = heard;
  }

  /** The time of day at the server, in milliseconds. */
  get now() {
    return Date.now() + this.skew;
  }

  async resources(page, signal) {
    const { resources, next } = await this.#json("resource", page, signal);
    return { items: resources, next };
  }

  /** What the key may do. */
  key(signal) {
    return this.#json("key", {}, signal);
  }

  /** The nodes, and who owns what: see `GET /cluster`. */
  cluster(signal) {
    return this.#json("cluster", {}, signal);
  }

  /** Who holds what, or who waits, the longest first: see `GET /locks`. */
  async locks(query, signal) {
    const { locks, next } = await this.#json("locks", query, signal);
    return { items: locks, next };
  }

  usage(resource, days, signal) {
    return this.#json("usage", { resource, days }, signal);
  }

  async selectors(resource, page, signal) {
    const { selectors, next, ...about } = await this.#json(path("resource", resource), page, signal);
    return { items: selectors, next, about };
  }

  lock(resource, selector, limit, signal) {
    return this.#json(path("resource", resource, selector, "lock"), { limit }, signal);
  }

  history(resource, selector, page, signal) {
    return this.#json(path("resource", resource, selector, "events"), page, signal);
  }

  /** @returns {Promise<?string>}  the JSON as it was written, or null if nothing is there */
  async data(resource, selector, signal) {
    try {
      const response = await this.#ask("GET", path("resource", resource, selector), { lock: 0, raw: 1 }, signal);
      return await read(response.text());
    } catch (error) {
      if (error.code === "no_data") {
        return null;
      }
      throw error;
    }
  }

  async break(resource, selector, fence, reason) {
    await this.#ask("DELETE", path("resource", resource, selector, "lock"), { fence, reason });
  }

  /** @param {{tags: ?string[], note: ?string, out: ?string}} change  what is left out stays; null takes it away */
  async changeCard(resource, selector, change) {
    await this.#ask("PATCH", path("resource", resource, selector), {}, undefined, { body: JSON.stringify(change) });
  }

  async create(definition) {
    await this.#ask("POST", "resource", {}, undefined, { body: JSON.stringify(definition) });
  }

  /**
   * Take a lock, or keep one.
   *
   * @param {{owner: string, ticket: ?string, lease: ?(number|string)}} how  `lease` in seconds
   * @returns {Promise<{locked: boolean, ticket: string, fence: number, out: ?string}>}
   */
  async take(resource, selector, { owner, ticket, lease }) {
    const headers = { ...(owner && { "x-owner": owner }), ...(ticket && { "x-ticket": ticket }) };
    // Else it might wait for as long as the server is set to.
    const query = { lease, wait: 0 };
    const response = await this.#ask("POST", path("resource", resource, selector, "lock"), query, undefined, { headers });
    const { locked, out } = await read(response.json());
    return { locked, out, ticket: response.headers.get("x-ticket"), fence: Number(response.headers.get("x-fence")) };
  }

  /** Give a lock back, or a place in the queue; `out` is why the unit is broken, if it is. */
  async unlock(resource, selector, ticket, out = "") {
    const more = { headers: { "x-ticket": ticket }, ...(out && { body: JSON.stringify({ out }) }) };
    await this.#ask("POST", path("resource", resource, selector, "unlock"), {}, undefined, more);
  }

  /** Write JSON text under a lock. */
  async write(resource, selector, text, ticket, unlock) {
    const more = { headers: { "x-ticket": ticket }, body: text };
    await this.#ask("PUT", path("resource", resource, selector), unlock ? { unlock: 1 } : {}, undefined, more);
  }

  async removeCard(resource, selector) {
    await this.#ask("DELETE", path("resource", resource, selector, "card"), {});
  }

  /** Open the stream of events after one of them, or from now on. It stays open until it is aborted. */
  async events(lastEventId, signal) {
    const headers = lastEventId === "" ? {} : { "last-event-id": lastEventId };
    return (await this.#send("GET", "events", {}, signal, { headers })).body;
  }

  async #json(where, query, signal) {
    return read((await this.#ask("GET", where, query, signal)).json());
  }

  async #ask(method, where, query, signal, more = {}) {
    const timeout = AbortSignal.timeout(TIMEOUT);
    try {
      const both = signal ? AbortSignal.any([signal, timeout]) : timeout;
      const response = await this.#send(method, where, query, both, more);
      this.skew = (Date.parse(response.headers.get("date")) || Date.now()) - Date.now();
      this.#heard(null);
      return response;
    } catch (error) {
      if (error.name !== "AbortError") {
        this.#heard(error instanceof Away ? error : null);
      }
      throw error;
    }
  }

  async #send(method, where, query, signal, { headers = {}, body } = {}) {
    const url = new URL(where, ROOT);
    for (const [field, value] of Object.entries(query)) {
      if (value !== undefined && value !== "") {
        url.searchParams.set(field, value);
      }
    }
    // What cannot be a header is the fault of whoever typed it in, not of the server.
    const sent = new Headers({ "x-api-key": this.#key, ...headers });
    let response;
    try {
      response = await fetch(url, { method, body, signal, cache: "no-store", headers: sent });
    } catch (error) {
      throw error.name === "AbortError" ? error : new Away("The server cannot be reached.");
    }
    if (!response.ok) {
      const { code, sentence } = await problem(response);
      throw response.status >= 500
        ? new Away(sentence, Number(response.headers.get("retry-after")) || 0)
        : new Refused(response.status, code, sentence);
    }
    return response;
  }
}

const path = (...names) => names.map(encodeURIComponent).join("/");

/** Wait for a body, which may break off. */
async function read(body) {
  try {
    return await body;
  } catch (error) {
    throw error.name === "AbortError" ? error : new Away("The answer of the server broke off.");
  }
}

async function problem(response) {
  try {
    const { code, error } = await response.json();
    return { code: String(code), sentence: String(error ?? `The server answers ${response.status}.`) };
  } catch {
    // Something between here and the daemon has answered, in its own way.
    return { code: "", sentence: `The server answers ${response.status}.` };
  }
}
