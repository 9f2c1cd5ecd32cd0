import { Refresher } from "./refresher.js";

/**
 * Read something now and then and show it, until it is stopped.
 *
 * @param {{rest: number, period: number}} times  milliseconds: see `Refresher`
 * @param {function(AbortSignal): Promise} load
 * @param {function(*)} show  takes what was read
 * @param {function(Error): string} failed  told of every error; returns what to say of it, if anything
 * @param {function(string)} refused  says it
 * @returns {Refresher}
 */
export function kept({ rest, period }, load, show, failed, refused = () => {}) {
  const read = async (signal) => {
    try {
      const loaded = await load(signal);
      if (!signal.aborted) {
        show(loaded);
      }
    } catch (error) {
      const words = signal.aborted ? "" : failed(error);
      if (words) {
        refused(words);
      }
    }
  };
  return new Refresher(read, rest, period);
}
