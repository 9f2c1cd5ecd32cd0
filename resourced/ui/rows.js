/** How resources and selectors are written in the lists. */

import { el, name, setText } from "./dom.js";
import { duration } from "./text.js";

/** The rows of resources. */
export const RESOURCES = {
  nameOf: (resource) => resource.name,
  wordsOf: (resource) => [resource.name],
  orders: {
    held: (one, other) => other.held - one.held,
    waiting: (one, other) => other.waiting - one.waiting,
  },
  fill(row, { name: title, held, waiting, units }) {
    const share = units ? [el("span", { class: "of" }, ` of ${units.toLocaleString("en")}`)] : [];
    row.replaceChildren(
      name(title, { title }),
      el("span", { class: held ? "figure held" : "figure none" }, number(held), ...share, unseen(" held ")),
      figure(waiting),
    );
  },
};

/** The rows of selectors, which are a board of what each of them is doing. */
export const SELECTORS = {
  nameOf: (selector) => selector.selector,
  wordsOf: ({ selector, holder, card }) => [
    selector,
    ...(holder ? [holder.owner, holder.key] : []),
    ...(card ? [card.note, card.out ?? "", ...card.tags] : []),
  ],
  orders: {
    held: (one, other) => (other.holder?.held ?? -1) - (one.holder?.held ?? -1),
    waiting: (one, other) => other.waiting - one.waiting,
    out: (one, other) => Number(isOut(other)) - Number(isOut(one)),
  },
  still: ({ holder, ...item }) => [item, holder && [holder.fence, holder.owner, holder.claimed]],
  fill(row, { selector, data, waiting, holder, card }) {
    const details = [
      ...(holder ? [el("span", {}, name(holder.owner), " for ", el("span", { class: "number age" }))] : []),
      ...(card?.out ? [el("span", { class: "why" }, name(card.out))] : []),
      ...(card ? card.tags.map((tag) => el("span", { class: "tag" }, tag)) : []),
      ...(card?.note ? [name(card.note, { class: "name note" })] : []),
      ...(data ? [el("span", { class: "mark" }, el("span", { "aria-hidden": "true" }, "{ }"), unseen("data"))] : []),
    ];
    row.replaceChildren(
      name(selector, { title: selector }),
      state(holder, card),
      figure(waiting),
      el("span", { class: "row-details" }, ...details.flatMap((detail) => [detail, " "])),
    );
  },
  age(row, { holder }) {
    if (holder) {
      setText(row.querySelector(".age"), duration(holder.held));
    }
  },
};

const isOut = ({ card }) => Boolean(card?.out);

/** What a selector is doing, in a word: a unit that is out of service may still be held. */
export function state(holder, card) {
  const [kind, word] = card?.out
    ? ["out", holder ? "out, held" : "out"]
    : holder
      ? ["held", holder.claimed ? "held" : "offered"]
      : ["free", "free"];
  return el("span", { class: `lamp ${kind}` }, word, unseen(" "));
}

const figure = (waiting) =>
  el("span", { class: waiting ? "figure waiting" : "figure none" }, number(waiting), unseen(" waiting "));

const number = (value) => value.toLocaleString("en");

/** Words for those who hear a row, in place of the heads of its columns. */
const unseen = (words) => el("span", { class: "unseen" }, words);
