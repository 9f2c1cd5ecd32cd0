import { byId, el, name } from "./dom.js";
import { Away, Refused } from "./server.js";

/** Asks whether a lock is really to be broken, breaks it, and says what came of it. */
export class Breaking {
  #dialog = byId("breaking");
  #text = byId("breaking-text");
  #reason = byId("breaking-reason");
  #problem = byId("breaking-problem");
  #confirm = byId("breaking-confirm");
  #cancel = byId("breaking-cancel");
  #server = null;
  #lock = null;
  #done;

  /** @param {function(boolean)} done  told when the server has answered: whether the lock was broken */
  constructor(done) {
    this.#done = done;
    this.#cancel.addEventListener("click", () => this.#dialog.close());
    this.#confirm.addEventListener("click", () => this.#break());
  }

  /** Ask about the lock of one holder, whatever happens to the selector meanwhile. */
  ask(server, resource, selector, { owner, fence }) {
    [this.#server, this.#lock] = [server, { resource, selector, fence }];
    this.#text.replaceChildren(
      el("p", {}, "The lock of ", name(selector), " in ", name(resource), " is taken from its holder:"),
      el(
        "dl",
        { class: "facts" },
        el("div", {}, el("dt", {}, "owner"), el("dd", {}, name(owner))),
        el("div", {}, el("dt", {}, "fence"), el("dd", { class: "number" }, String(fence))),
      ),
      el(
        "p",
        {},
        "The next waiter has it at once. The server refuses what the old holder still writes here, but what it does elsewhere goes on.",
      ),
    );
    this.#reason.value = "";
    this.#problem.textContent = "";
    this.#confirm.hidden = false;
    this.#confirm.disabled = false;
    this.#cancel.textContent = "Leave it";
    this.#dialog.showModal();
    this.#cancel.focus();
  }

  close() {
    this.#dialog.close();
  }

  async #break() {
    const { resource, selector, fence } = this.#lock;
    this.#confirm.disabled = true;
    this.#problem.textContent = "";
    try {
      await this.#server.break(resource, selector, fence, this.#reason.value.trim());
      this.#dialog.close();
      this.#done(true);
    } catch (error) {
      this.#failed(error);
    }
    this.#confirm.disabled = false;
  }

  #failed(error) {
    if (error instanceof Away) {
      // The fence makes it safe to try again: it breaks this lock or none.
      this.#problem.textContent = `${error.message} It is not known whether the lock was broken. You may try again.`;
      return;
    }
    if (!(error instanceof Refused)) {
      throw error;
    }
    this.#problem.textContent =
      error.status === 412
        ? "Nothing was broken: this fence does not hold the lock any more."
        : `Nothing was broken. ${error.message}`;
    this.#confirm.hidden = true;
    this.#cancel.textContent = "Close";
    this.#cancel.focus();
    this.#done(false);
  }
}
