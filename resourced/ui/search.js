import { byId, el, name, setText } from "./dom.js";
import { SELECTORS, state } from "./rows.js";
import { Away } from "./server.js";
import { whole } from "./sifted.js";
import { address, count, folded } from "./text.js";

/** How many results are shown, and for how many milliseconds what was read counts as new. */
const [SHOWN, FRESH] = [50, 10_000];

/** Milliseconds after which a search begins that was typed in. */
const SOON = 150;

/**
 * Finds any part of a name, an owner, a tag or a note, whatever its case, in all that the key may see.
 *
 * The server has no index of these: everything is listed once a search begins, and results come as it is read.
 */
export class Search {
  #failed;
  #server = null;
  /** What there is to be found, each with its address and the words in which one may search. */
  #entries = [];
  #read = -Infinity;
  #reading = null;
  #field = byId("search-field");
  #results = byId("search-results");
  #active = -1;
  #timer = 0;

  /** @param {function(Error): string} failed  told of every error; returns what to say of it, if anything */
  constructor(failed) {
    this.#failed = failed;
    this.#field.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#search(), SOON);
    });
    this.#field.addEventListener("keydown", (event) => this.#pressed(event));
    this.#field.addEventListener("focus", () => this.#field.value && this.#search());
    byId("search").addEventListener("focusout", ({ relatedTarget }) => {
      if (!byId("search").contains(relatedTarget)) {
        this.#hide();
      }
    });
    this.#results.addEventListener("mousedown", (event) => event.preventDefault()); // the focus stays in the field
    this.#results.addEventListener("click", ({ target }) => this.#open(target.closest("[role=option]")));
    addEventListener("keydown", (event) => {
      if (event.key === "/" && !event.ctrlKey && !event.metaKey && !event.target.closest("input, textarea, select, dialog")) {
        event.preventDefault();
        this.#field.focus();
      }
    });
  }

  open(server) {
    this.#server = server;
  }

  close() {
    this.#reading?.abort();
    this.#server = this.#reading = null;
    [this.#entries, this.#read, this.#field.value] = [[], -Infinity, ""];
    this.#hide();
  }

  #search() {
    const words = folded(this.#field.value.trim());
    if (!words || !this.#server) {
      this.#hide();
      return;
    }
    if (!this.#reading && performance.now() - this.#read > FRESH) {
      this.#readAll(new AbortController());
    }
    this.#show(words);
  }

  async #readAll(reading) {
    this.#reading = reading;
    const { signal } = reading;
    const server = this.#server;
    const found = [];
    try {
      const resources = await whole((page) => server.resources(page, signal), signal);
      found.push(...resources.map((resource) => ({ names: [resource.name], words: [folded(resource.name)], resource })));
      const waits = await whole((page) => server.locks({ ...page, sort: "waiting" }, signal), signal);
      found.push(
        ...waits.map(({ want, waiter, resource, selector }) => ({
          names: want ? [want[0].resource] : [resource, selector],
          words: [folded(waiter.owner)],
          waiter,
        })),
      );
      this.#progress(found, "Reading…");
      for (const [at, { name: title }] of resources.entries()) {
        const selectors = await whole((page) => server.selectors(title, page, signal), signal);
        found.push(
          ...selectors.map((selector) => ({
            names: [title, selector.selector],
            words: SELECTORS.wordsOf(selector).map(folded),
            selector,
          })),
        );
        this.#progress(found, `Read ${at + 1} of ${count(resources.length, "resource", "resources")}…`);
      }
      this.#entries = found;
      this.#read = performance.now();
      this.#reading = null;
      this.#again();
    } catch (error) {
      if (reading === this.#reading) {
        this.#reading = null;
        setText(byId("search-status"), this.#failed(error) || (error instanceof Away ? error.message : ""));
      }
    }
  }

  /** Show what is known so far, unless more is known from before. */
  #progress(found, words) {
    if (found.length > this.#entries.length || this.#read === -Infinity) {
      this.#entries = found;
    }
    this.#again();
    setText(byId("search-status"), words);
  }

  #again() {
    if (!byId("search-found").hidden) {
      this.#show(folded(this.#field.value.trim()));
    }
  }

  #show(search) {
    const fits = this.#entries.filter(({ words }) => words.some((word) => word.includes(search)));
    const shown = fits.slice(0, SHOWN);
    const said = JSON.stringify(shown.map(({ names, selector, waiter }) => [names, waiter?.owner, selector?.holder?.fence, selector?.card]));
    if (said !== this.#results.said) {
      const active = this.#results.children[this.#active]?.dataset.address;
      this.#results.said = said;
      this.#results.replaceChildren(...shown.map(option));
      this.#activate([...this.#results.children].findIndex((row) => row.dataset.address === active));
    }
    byId("search-found").hidden = false;
    this.#field.setAttribute("aria-expanded", "true");
    if (!this.#reading) {
      const more = fits.length > SHOWN ? ` These are the first ${SHOWN}.` : "";
      setText(byId("search-status"), fits.length ? `${count(fits.length, "result", "results")}.${more}` : "Nothing has this in it.");
    }
  }

  #hide() {
    clearTimeout(this.#timer);
    byId("search-found").hidden = true;
    this.#field.setAttribute("aria-expanded", "false");
    this.#activate(-1);
  }

  #pressed(event) {
    const last = this.#results.children.length - 1;
    if (event.key === "Escape") {
      this.#hide();
    } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && !byId("search-found").hidden) {
      event.preventDefault();
      const step = event.key === "ArrowDown" ? 1 : -1;
      this.#activate(Math.max(0, Math.min(last, this.#active + step)));
    } else if (event.key === "Enter") {
      clearTimeout(this.#timer);
      this.#search(); // what is shown may be the results of a shorter word
      this.#open(this.#results.children[Math.max(0, this.#active)]);
    }
  }

  #activate(index) {
    this.#active = index;
    for (const [at, row] of [...this.#results.children].entries()) {
      row.setAttribute("aria-selected", at === index);
    }
    const row = this.#results.children[index];
    if (row) {
      this.#field.setAttribute("aria-activedescendant", row.id);
      row.scrollIntoView({ block: "nearest" });
    } else {
      this.#field.removeAttribute("aria-activedescendant");
    }
  }

  #open(row) {
    if (row && !byId("search-found").hidden) {
      this.#hide();
      this.#field.blur();
      location.hash = row.dataset.address;
    }
  }
}

function option({ names, resource, selector, waiter }, at) {
  const row = el("div", { role: "option", id: `found-${at}`, "aria-selected": "false", "data-address": address(...names) });
  row.append(...names.flatMap((part, place) => [...(place ? [" / "] : []), name(part)]));
  if (resource) {
    row.append(" ", el("span", { class: "faint" }, "resource"));
  } else if (waiter) {
    row.append(" ", el("span", { class: "row-details" }, name(waiter.owner), " waits"));
  } else {
    const { holder, card } = selector;
    row.append(
      " ",
      state(holder, card),
      el(
        "span",
        { class: "row-details" },
        ...(holder ? [name(holder.owner), " "] : []),
        ...(card?.out ? [el("span", { class: "why" }, name(card.out)), " "] : []),
        ...(card ? card.tags.flatMap((tag) => [el("span", { class: "tag" }, tag), " "]) : []),
        ...(card?.note ? [name(card.note)] : []),
      ),
    );
  }
  return row;
}
