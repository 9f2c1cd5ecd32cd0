/** How many times as long as it reads it rests. */
const SHARE = 4;

/**
 * Reads something anew: soon after it is told that it has changed, and now and then anyway, since not everything that
 * changes is an event. However many events there are, it asks once in a while, and never twice at a time. What takes
 * long to read is read less often.
 */
export class Refresher {
  #load;
  #rest;
  #period;
  #timer = 0;
  #last = -Infinity;
  /** How long the last reading took, in milliseconds. */
  #took = 0;
  #life = new AbortController();
  #running = false;
  #again = false;

  /**
   * @param {function(AbortSignal): Promise} load  handles its own errors
   * @param {number} rest  milliseconds between the end of one reading and the next, at least
   * @param {number} period  and at most
   */
  constructor(load, rest, period) {
    [this.#load, this.#rest, this.#period] = [load, rest, period];
  }

  /** What was read is, or may be, no longer true. */
  touch() {
    if (this.#running) {
      this.#again = true;
    } else {
      this.#plan(this.#last + this.#pause - performance.now());
    }
  }

  stop() {
    this.#life.abort();
    clearTimeout(this.#timer);
  }

  #plan(milliseconds) {
    clearTimeout(this.#timer);
    if (!this.#life.signal.aborted) {
      this.#timer = setTimeout(() => this.#run(), Math.max(0, milliseconds));
    }
  }

  async #run() {
    if (document.hidden) {
      // Nobody looks. When somebody does, the page touches everything.
      return;
    }
    [this.#running, this.#again] = [true, false];
    const began = performance.now();
    try {
      await this.#load(this.#life.signal);
    } finally {
      this.#running = false;
      this.#last = performance.now();
      this.#took = this.#last - began;
      this.#plan(this.#again ? this.#pause : Math.max(this.#period, this.#pause));
    }
  }

  get #pause() {
    return Math.max(this.#rest, SHARE * this.#took);
  }
}
