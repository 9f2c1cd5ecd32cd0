/**
 * The locks that were taken on this page, and the name that they were taken under. The browser keeps both, so that a lock of some hours can be
 * given back after the tab was closed. A ticket is of no use without a key of the name that it was given to.
 */

const [LOCKS, OWNER] = ["resourced-locks", "resourced-owner"];

export const owner = () => localStorage.getItem(OWNER) ?? "";

export const rememberOwner = (name) => localStorage.setItem(OWNER, name);

/** @returns {?{ticket: string, fence: number}} the lock of a selector, if it was taken here */
export const lockOf = (resource, selector) => read()[at(resource, selector)] ?? null;

/** @param {?{ticket: string, fence: number}} lock  null when it is over */
export function remember(resource, selector, lock) {
  const locks = read();
  if (lock) {
    locks[at(resource, selector)] = lock;
  } else {
    delete locks[at(resource, selector)];
  }
  localStorage.setItem(LOCKS, JSON.stringify(locks));
}

const at = (resource, selector) => JSON.stringify([resource, selector]);

function read() {
  try {
    return JSON.parse(localStorage.getItem(LOCKS)) ?? {};
  } catch {
    return {};
  }
}
