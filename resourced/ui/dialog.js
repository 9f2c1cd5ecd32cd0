import { byId, el } from "./dom.js";
import { Away, Refused } from "./server.js";

/**
 * Asks before something is done, with fields to fill in, does it, and says what came of it.
 *
 * There is one for the whole page.
 */
export class Dialog {
  #dialog = byId("dialog");
  #text = byId("dialog-text");
  #problem = byId("dialog-problem");
  #confirm = byId("dialog-confirm");
  #cancel = byId("dialog-cancel");
  #question = null;

  constructor() {
    this.#cancel.addEventListener("click", () => this.#dialog.close());
    this.#dialog.addEventListener("close", () => {
      // It is told later than it happens, and the next question may have been asked meanwhile.
      if (!this.#dialog.open) {
        this.#over();
      }
    });
    byId("dialog-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#act(this.#question);
    });
  }

  /**
   * @param {Object} question
   * @param {string} question.heading
   * @param {Array<Node|string>} [question.text]
   * @param {Array<Object>} [question.fields]  each with a `name`, a `label`, the attributes of its input, and perhaps
   *     `tag` and `choices`; what is filled in comes to `act` by name
   * @param {string} question.confirm  what the button says
   * @param {boolean} [question.danger]  whether the other button has the focus at first
   * @param {function(Object): Promise} question.act
   * @param {function(Refused): ?string} [question.over]  what to say of a refusal after which there is nothing to try again
   * @param {function()} [question.done]  called when the server has answered
   * @param {function()} [question.closed]  called when the dialog is closed, whatever has come of it
   */
  ask(question) {
    this.close();
    this.#question = question;
    byId("dialog-heading").textContent = question.heading;
    this.#text.replaceChildren(...(question.text ?? []), ...(question.fields ?? []).map(field));
    this.#problem.textContent = "";
    this.#confirm.textContent = question.confirm;
    this.#confirm.className = question.danger ? "danger" : "primary";
    this.#confirm.hidden = this.#confirm.disabled = false;
    this.#cancel.hidden = false;
    this.#cancel.textContent = question.danger ? "Leave it" : "Cancel";
    this.#dialog.showModal();
    const first = question.danger ? this.#cancel : this.#text.querySelector("input, textarea, select");
    (first ?? this.#confirm).focus();
  }

  /** Say something that there is nothing to be done about. */
  tell(heading, words) {
    this.ask({ heading, text: [el("p", {}, words)], confirm: "Close", act: async () => {} });
    this.#cancel.hidden = true;
  }

  close() {
    this.#dialog.close();
    this.#over();
  }

  #over() {
    const question = this.#question;
    this.#question = null;
    question?.closed?.();
  }

  async #act(question) {
    if (!question || this.#confirm.disabled || this.#confirm.hidden) {
      return;
    }
    this.#confirm.disabled = true;
    this.#problem.textContent = "";
    const inputs = [...this.#text.querySelectorAll("[data-field]")];
    try {
      await question.act(Object.fromEntries(inputs.map(({ dataset, value }) => [dataset.field, value])));
      if (question === this.#question) {
        this.#dialog.close();
      }
      question.done?.();
    } catch (error) {
      if (!(error instanceof Away || error instanceof Refused)) {
        throw error;
      }
      if (question === this.#question) {
        this.#failed(question, error);
      }
    } finally {
      this.#confirm.disabled = false;
    }
  }

  #failed(question, error) {
    if (error instanceof Away) {
      this.#problem.textContent = `${error.message} It is not known whether it was done. You may try again.`;
      return;
    }
    const over = question.over?.(error);
    this.#problem.textContent = over ?? error.message;
    if (over) {
      this.#confirm.hidden = true;
      this.#cancel.textContent = "Close";
      this.#cancel.focus();
      question.done?.();
    }
  }
}

function field({ name, label, tag = "input", choices, ...attributes }) {
  const id = `dialog-${name}`;
  const about = { id, "data-field": name, autocomplete: "off", spellcheck: "false", ...attributes };
  const { value, ...rest } = about;
  const input = choices
    ? el("select", rest, ...choices.map(([words, choice]) => el("option", { value: choice }, words)))
    : el(tag, rest);
  if (value !== undefined) {
    input.value = value;
  }
  return el("p", { class: "field" }, el("label", { for: id }, label), input);
}
