/**
 * The server's events as they come, over `fetch`: an `EventSource` cannot send a key.
 *
 * The format and the rules for going on are those of server-sent events in the HTML standard.
 */

import { Away, Refused } from "./server.js";

/** Milliseconds of silence after which a stream is taken for dead; a comment comes every 15 seconds at least. */
const SILENCE = 45_000;

/** Milliseconds before the first new try, and the most that there may be between two. */
const [SOON, LATE] = [500, 20_000];

/** Milliseconds that a stream must have lived for its end not to count as a failure. */
const PROVEN = 5_000;

/** Makes events of text that arrives in pieces. */
export class Parser {
  lastEventId = "";
  #rest = "";
  #id = "";
  #type = "";
  #data = [];

  /** @returns {Array<{id: string, type: string, data: string}>} the events that are complete with this piece */
  push(text) {
    const events = [];
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        this.#dispatch(events);
      } else {
        this.#field(line);
      }
    }
    return events;
  }

  /** Forget what had begun, since the stream has ended. */
  reset() {
    [this.#rest, this.#id, this.#type, this.#data] = ["", this.lastEventId, "", []];
  }

  #field(line) {
    const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line);
    if (field === "data") {
      this.#data.push(value);
    } else if (field === "event") {
      this.#type = value;
    } else if (field === "id" && !value.includes("\0")) {
      this.#id = value;
    }
  }

  #dispatch(events) {
    this.lastEventId = this.#id;
    if (this.#data.length) {
      events.push({ id: this.#id, type: this.#type || "message", data: this.#data.join("\n") });
    }
    [this.#type, this.#data] = ["", []];
  }
}

export class Stream {
  #server;
  #onevent;
  #onstate;
  #onbegin;
  #begun = false;
  #parser = new Parser();
  #life = null;
  #hurry = () => {};

  /**
   * @param {Server} server
   * @param {function(Object)} onevent  an event of the server, or `{event: "reset"}`
   * @param {function(boolean, ?Error)} onstate  whether it is open, and why not
   * @param {function(number)} onbegin  called once, with the id of the last event before the stream
   */
  constructor(server, onevent, onstate, onbegin = () => {}) {
    [this.#server, this.#onevent, this.#onstate, this.#onbegin] = [server, onevent, onstate, onbegin];
  }

  start() {
    if (!this.#life) {
      this.#life = new AbortController();
      this.#run(this.#life.signal);
    }
  }

  stop() {
    this.#life?.abort();
    this.#life = null;
  }

  /** Try at once, if it is not open. */
  hurry() {
    this.#hurry();
  }

  async #run(signal) {
    let failures = 0;
    while (!signal.aborted) {
      const began = performance.now();
      let problem = null;
      try {
        await this.#follow(signal);
      } catch (error) {
        problem = error;
      }
      if (signal.aborted) {
        return;
      }
      this.#parser.reset();
      if (problem instanceof Refused && problem.code === "bad_last_event_id") {
        this.#parser = new Parser();
      }
      this.#onstate(false, problem);
      failures = performance.now() - began > PROVEN ? 0 : failures + 1;
      const wait = Math.min(LATE, SOON * 2 ** failures);
      // All pages lose a server at the same moment, and need not come back at the same moment.
      await this.#pause(Math.max((problem?.retryAfter ?? 0) * 1000, wait) * (0.5 + Math.random() / 2), signal);
    }
  }

  async #follow(signal) {
    const silence = new AbortController();
    let watch;
    const listen = () => {
      clearTimeout(watch);
      watch = setTimeout(() => silence.abort(), SILENCE);
    };
    listen();
    try {
      const body = await this.#server.events(this.#parser.lastEventId, AbortSignal.any([signal, silence.signal]));
      signal.throwIfAborted();
      this.#onstate(true, null);
      const reader = body.pipeThrough(new TextDecoderStream()).getReader();
      for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
        listen();
        for (const { type, data } of this.#parser.push(piece.value)) {
          this.#onevent(type === "reset" ? { event: type } : JSON.parse(data));
        }
        if (!this.#begun && this.#parser.lastEventId) {
          this.#begun = true;
          this.#onbegin(Number(this.#parser.lastEventId));
        }
      }
    } finally {
      clearTimeout(watch);
    }
  }

  #pause(milliseconds, signal) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#hurry = resolve;
      signal.addEventListener("abort", resolve);
    }).finally(() => {
      this.#hurry = () => {};
    });
  }
}

/**
 * Read what has happened last, up to an event.
 *
 * @param {number} last  the id of the event
 * @param {number} span  how far to go back, in ids, which have gaps
 * @returns {Promise<Array>} the events, oldest first
 */
export async function recent(server, last, span) {
  const life = new AbortController();
  const timer = setTimeout(() => life.abort(), SILENCE);
  const events = [];
  try {
    const parser = new Parser();
    const body = await server.events(String(Math.max(0, last - span)), life.signal);
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      events.push(...parser.push(piece.value).filter(({ type }) => type !== "reset"));
      if (Number(parser.lastEventId) >= last) {
        break;
      }
    }
  } catch (error) {
    throw error instanceof Refused ? error : new Away("The answer of the server broke off.");
  } finally {
    clearTimeout(timer);
    life.abort();
  }
  return events.map(({ data }) => JSON.parse(data)).filter(({ id }) => id <= last);
}
