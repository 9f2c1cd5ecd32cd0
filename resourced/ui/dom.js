/** Elements without markup: whatever comes from a client is text here, and nothing else. */

import { visible } from "./text.js";

const SVG = "http://www.w3.org/2000/svg";

/**
 * Make an element.
 *
 * @param {string} tag
 * @param {Object} attributes  `onclick` and the like are listeners; `true` is an attribute without a value, and one
 *     that is `false`, `null` or `undefined` is left out
 * @param {...(Node|string)} children  strings become text
 */
export const el = (tag, attributes = {}, ...children) => build(document.createElement(tag), attributes, children);

/** The same for a part of a picture. */
export const svg = (tag, attributes = {}, ...children) =>
  build(document.createElementNS(SVG, tag), attributes, children);

/** A name that a client has chosen: kept apart from its surroundings, whatever direction it is written in. */
export const name = (text, attributes = {}) => el("bdi", { class: "name", ...attributes }, visible(text));

/** The same for an owner or a note: an http(s) address is a link, which learns nothing of this page. */
export const linked = (text, attributes = {}) =>
  isAddress(text)
    ? el("bdi", { class: "name", ...attributes }, el("a", { href: text, rel: "noopener noreferrer", target: "_blank" }, visible(text)))
    : name(text, attributes);

const isAddress = (text) => /^https?:\/\/[^\s\\]+$/i.test(text) && URL.canParse(text);

export const byId = (id) => document.getElementById(id);

/** Put a text in place, unless it is there already. */
export function setText(element, text) {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

function build(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) {
      element.addEventListener(key.slice(2), value);
    } else if (value === true) {
      element.setAttribute(key, "");
    } else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(key, value);
    }
  }
  element.append(...children);
  return element;
}
