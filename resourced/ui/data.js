import { byId, el } from "./dom.js";
import { count, pretty } from "./text.js";

/** How many characters are shown unless more are asked for: a browser takes long to break a megabyte into lines. */
const SHOWN = 50_000;

/** What is kept at a selector. */
export class DataCard {
  #card = byId("data");
  #text;
  #onedit;

  /** @param {function()} onedit  called when somebody wants to edit it */
  constructor(onedit) {
    this.#onedit = onedit;
  }

  /** @param {?string|undefined} text  the JSON as it was written; null if there is none, undefined if that is not known */
  show(text) {
    if (text === this.#text && this.#card.childElementCount) {
      return; // who reads or has selected something of it is not disturbed
    }
    this.#text = text;
    const heading = el("h3", { id: "data-heading" }, "Data");
    if (typeof text !== "string") {
      const words = text === null ? "Nothing was written here." : "…";
      this.#card.replaceChildren(heading, el("p", { class: "faint" }, words), ...(text === null ? [this.#edit("Write some…")] : []));
      return;
    }
    const whole = pretty(text);
    const block = el("pre", { tabindex: 0, "aria-labelledby": "data-heading", dir: "ltr" }, whole.slice(0, SHOWN));
    this.#card.replaceChildren(heading, block, this.#edit("Edit…"));
    if (whole.length > SHOWN) {
      const all = el("button", { type: "button", class: "quiet" }, `Show all ${count(whole.length, "character", "characters")}`);
      all.addEventListener("click", () => {
        block.textContent = whole;
        all.remove();
        block.focus();
      });
      this.#card.append(all);
    }
  }

  #edit(words) {
    return el("button", { type: "button", id: "edit", "data-needs-write": true, onclick: () => this.#onedit() }, words);
  }
}
