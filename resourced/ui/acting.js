/** Taking, keeping and giving back a lock, and writing under it: questions for the dialog. */

import { el, name } from "./dom.js";
import { lockOf, owner, remember, rememberOwner } from "./own.js";
import { Refused } from "./server.js";
import { duration, pretty } from "./text.js";

const HOUR = 3600;

/** Milliseconds between two renewals of the lock under which data is edited. */
const RENEWAL = 10_000;

const ownerField = () => ({ name: "owner", label: "Your name, for others to see", required: true, maxlength: 255, pattern: "[ -~]+", value: owner() });

/** For how long a lock may be taken: 1 or 4 hours, if the resource allows it, or else for as long as it does. */
function leases({ timeout, longest }) {
  const most = longest || timeout;
  const hours = [1, 4].filter((number) => number * HOUR <= most).map((number) => [number === 1 ? "1 hour" : `${number} hours`, number * HOUR]);
  return hours.length ? hours : [[most ? duration(most) : "the server's lease", most || ""]];
}

const leaseField = (about) => ({ name: "lease", label: "For", choices: leases(about) });

/** @param {{server, resource, selector, about}} target  `about` is the resource as it is defined */
export function taking({ server, resource, selector, about }) {
  return {
    heading: "Take this lock?",
    text: [el("p", {}, "It is yours until you give it back, or until its time is over.")],
    fields: [ownerField(), leaseField(about)],
    confirm: "Take the lock",
    act: async (values) => {
      rememberOwner(values.owner.trim());
      remember(resource, selector, await takeNow(server, resource, selector, { lease: values.lease }));
    },
  };
}

export function extending({ server, resource, selector, about }) {
  return {
    heading: "Keep this lock for longer?",
    text: [el("p", {}, "Its time begins anew now.")],
    fields: [leaseField(about)],
    confirm: "Keep it",
    act: ({ lease }) => takeNow(server, resource, selector, { lease, ticket: lockOf(resource, selector).ticket }),
  };
}

/** @param {boolean} unit  whether it can be given back as broken */
export function givingBack({ server, resource, selector }, unit) {
  return {
    heading: "Give this lock back?",
    text: [el("p", {}, "The next waiter has it at once.")],
    fields: unit ? [{ name: "out", label: "If it is broken: why. It is then out of service", maxlength: 255 }] : [],
    confirm: "Give it back",
    act: async ({ out = "" }) => {
      await server.unlock(resource, selector, lockOf(resource, selector).ticket, out.trim());
      remember(resource, selector, null);
    },
  };
}

/**
 * Take the lock, unless it is held on this page already, ask for the data, write it, and give the lock back.
 *
 * @param {function(Object)} ask  see `Dialog`
 * @param {function(string)} problem  says why it cannot be edited
 */
export async function edit({ server, resource, selector }, ask, problem) {
  let [own, lock] = [false, null];
  try {
    lock = await stillHeld(server, resource, selector);
    own = lock !== null;
    lock ??= await takeNow(server, resource, selector);
    const before = await server.data(resource, selector);
    const renew = () =>
      takeNow(server, resource, selector, lock).catch((error) => {
        if (error instanceof Refused) {
          // It is lost, which whoever saves is told. The same ticket must not get the lock anew, for other data by then.
          clearInterval(renewal);
        }
      });
    const renewal = setInterval(renew, RENEWAL);
    let written = false;
    ask({
      heading: "Edit the data",
      text: [el("p", {}, "As long as this is open you have the lock of ", name(selector), ".")],
      fields: [{ name: "data", label: "JSON", tag: "textarea", value: before === null ? "" : pretty(before), required: true }],
      confirm: "Save",
      act: async ({ data }) => {
        await server.write(resource, selector, data, lock.ticket, !own);
        written = true;
      },
      closed: () => {
        clearInterval(renewal);
        if (!own && !written) {
          letGo(server, resource, selector, lock);
        }
      },
    });
  } catch (error) {
    if (lock && !own) {
      letGo(server, resource, selector, lock);
    }
    problem(error);
  }
}

/** Keep the lock that was taken on this page; null if there is none, or if it is lost. */
async function stillHeld(server, resource, selector) {
  const lock = lockOf(resource, selector);
  if (lock) {
    try {
      const { ticket, fence } = await takeNow(server, resource, selector, lock);
      if (fence === lock.fence) {
        return lock;
      }
      // The server has forgotten the ticket and has given it the lock anew.
      await server.unlock(resource, selector, ticket);
    } catch (error) {
      if (!(error instanceof Refused)) {
        throw error;
      }
    }
    remember(resource, selector, null);
  }
  return null;
}

/** Fires when this page has let go of the lock that it took last for an edit. */
let free = Promise.resolve();

/** Let go of a lock that was taken for an edit. */
function letGo(server, resource, selector, { ticket }) {
  free = server.unlock(resource, selector, ticket).catch(() => {}); // it ends with its lease
}

/** Take a lock that is free, or keep one; whoever does not get it at once does not wait. */
async function takeNow(server, resource, selector, { lease, ticket } = {}) {
  // Else it would be refused because this page has it.
  await free;
  const taken = await server.take(resource, selector, { lease, ticket, owner: owner() });
  if (!taken.locked) {
    await server.unlock(resource, selector, taken.ticket);
    throw new Refused(423, "locked", taken.out ? `It is out of service: ${taken.out}` : "Somebody else has the lock.");
  }
  return { ticket: taken.ticket, fence: taken.fence };
}

/** @param {function(string)} created  called with the name of the new resource */
export function creating(server, created) {
  return {
    heading: "Create a resource",
    fields: [
      { name: "name", label: "Name", required: true, maxlength: 255 },
      { name: "timeout", label: "Lease in seconds; 0 is the server's", type: "number", min: 0, max: 2 ** 31 - 1, value: "0", required: true },
      { name: "longest", label: "Longest lease that may be asked for, in seconds; 0 is the lease", type: "number", min: 0, max: 2 ** 31 - 1, value: "0", required: true },
      { name: "slots", label: "Slots: units that the server makes, 1 to this number", type: "number", min: 0, max: 10_000, value: "0", required: true },
    ],
    confirm: "Create",
    act: async ({ name: title, ...numbers }) => {
      const set = Object.entries(numbers).map(([field, value]) => [field, Number(value)]);
      await server.create({ name: title, ...Object.fromEntries(set.filter(([, value]) => value)) });
      created(title);
    },
  };
}
