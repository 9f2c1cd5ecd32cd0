import { el, name } from "./dom.js";
import { address } from "./text.js";

/** What a request for several things asks for, in words. */
export function wanted(wants) {
  return wants.flatMap((want, at) => [...(at ? [" and "] : []), ...one(want)]);
}

function one({ resource, selector, tags = [], count }) {
  if (selector !== undefined) {
    return [el("a", { class: "place", href: address(resource, selector) }, name(resource), " / ", name(selector))];
  }
  const chips = tags.flatMap((tag) => [" ", el("span", { class: "tag" }, tag)]);
  return [count === "all" ? "all of " : `${count} of `, el("a", { class: "place", href: address(resource) }, name(resource)), ...chips];
}
