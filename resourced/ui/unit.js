import { byId, el, linked } from "./dom.js";
import { moment } from "./text.js";

/** The card of a selector, which makes it a unit: its tags, its note, and whether it is in service. */
export class UnitCard {
  #section = byId("unit");
  #shown = null;
  #ask;
  #target = null;

  /** @param {function(Object)} ask  asks a question: see `Dialog` */
  constructor(ask) {
    this.#ask = ask;
  }

  open(server, resource, selector) {
    this.#target = { server, resource, selector };
    this.#shown = null;
    this.#section.hidden = true;
  }

  /** @param {?Object} card  null if it has none */
  show(card) {
    const said = JSON.stringify(card);
    if (said === this.#shown) {
      return; // who reads it or has a button in focus is not disturbed
    }
    const hadFocus = this.#section.contains(document.activeElement);
    this.#shown = said;
    this.#section.hidden = false;
    // Without a card there is something to see only for whoever may make it a unit.
    this.#section.toggleAttribute("data-needs-write", card === null);
    this.#section.replaceChildren(el("h3", { id: "unit-heading" }, "Unit"), ...(card ? this.#content(card) : this.#invitation()));
    if (hadFocus) {
      byId("selector-heading").focus();
    }
  }

  #content(card) {
    const { tags, note, out } = card;
    return [
      out
        ? el("p", { class: "state out" }, "Out of service: ", linked(out))
        : el("p", { class: "state in" }, "In service"),
      ...(out ? [el("p", { class: "faint" }, "since ", el("time", { datetime: card.out_since }, moment(Date.parse(card.out_since))))] : []),
      el("p", { class: "tags" }, ...(tags.length ? tags.flatMap((tag) => [el("span", { class: "tag" }, tag), " "]) : [el("span", { class: "faint" }, "no tags")])),
      ...(note ? [el("p", { class: "note-text" }, linked(note))] : []),
      el(
        "div",
        { class: "actions", "data-needs-write": true },
        out
          ? button("back", "Bring it back", () => this.#bringBack())
          : button("out", "Take out of service…", () => this.#takeOut()),
        button("edit-card", "Edit tags and note…", () => this.#edit(card)),
        button("remove-card", "Remove from the pool…", () => this.#remove()),
      ),
    ];
  }

  #invitation() {
    return [
      el("p", { class: "faint" }, "It is no unit: a request for any unit does not get it."),
      el("div", { class: "actions" }, button("edit-card", "Make it a unit…", () => this.#edit({ tags: [], note: "" }, "Make it a unit"))),
    ];
  }

  #takeOut() {
    this.#ask({
      heading: "Take it out of service?",
      text: [el("p", {}, "Nobody gets it any more. A holder keeps it until it is given back.")],
      fields: [{ name: "out", label: "Why", required: true, maxlength: 255 }],
      confirm: "Take out of service",
      act: ({ out }) => this.#change({ out: out.trim() }),
    });
  }

  #bringBack() {
    this.#ask({
      heading: "Bring it back?",
      text: [el("p", {}, "It is in service again, and goes to the next waiter.")],
      confirm: "Bring it back",
      act: () => this.#change({ out: null }),
    });
  }

  #edit({ tags, note }, heading = "Edit tags and note") {
    this.#ask({
      heading,
      fields: [
        { name: "tags", label: "Tags, with spaces between", value: tags.join(" ") },
        { name: "note", label: "Note; an address becomes a link", value: note, maxlength: 255 },
      ],
      confirm: "Save",
      act: (values) => this.#change({ tags: values.tags.split(/[\s,]+/).filter(Boolean), note: values.note.trim() }),
    });
  }

  #remove() {
    const { server, resource, selector } = this.#target;
    this.#ask({
      heading: "Remove it from the pool?",
      text: [el("p", {}, "It loses its tags and its note, and no request for any unit gets it. Its data stays, and so does a holder.")],
      confirm: "Remove",
      danger: true,
      act: () => server.removeCard(resource, selector),
    });
  }

  #change(change) {
    const { server, resource, selector } = this.#target;
    return server.changeCard(resource, selector, change);
  }
}

const button = (id, words, onclick) => el("button", { type: "button", id, onclick }, words);
