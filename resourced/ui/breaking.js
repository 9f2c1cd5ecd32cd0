import { el, linked, name } from "./dom.js";

/**
 * The question whether a lock is really to be broken: see `Dialog`. It is about the lock of one holder, whatever happens to
 * the selector meanwhile: by the fence, this lock is broken or none.
 *
 * @param {function()} broken  called when it was
 */
export function breaking(server, resource, selector, { owner, fence }, broken) {
  return {
    heading: "Break this lock?",
    text: [
      el("p", {}, "The lock of ", name(selector), " in ", name(resource), " is taken from its holder:"),
      el(
        "dl",
        { class: "facts" },
        el("div", {}, el("dt", {}, "owner"), el("dd", {}, linked(owner))),
        el("div", {}, el("dt", {}, "fence"), el("dd", { class: "number" }, String(fence))),
      ),
      el(
        "p",
        {},
        "The next waiter has it at once. The server refuses what the old holder still writes here, but what it does elsewhere goes on.",
      ),
    ],
    fields: [{ name: "reason", label: "Reason, for the history", maxlength: 255 }],
    confirm: "Break the lock",
    danger: true,
    act: async ({ reason }) => {
      await server.break(resource, selector, fence, reason.trim());
      broken();
    },
    over: (error) =>
      error.status === 412
        ? "Nothing was broken: this fence does not hold the lock any more."
        : `Nothing was broken. ${error.message}`,
  };
}
