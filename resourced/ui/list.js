import { el } from "./dom.js";

/** How many rows are there above and below those that can be seen. */
const SPARE = 8;

/**
 * A list box of any length: only the rows that can be seen, and a few around them, are in the document.
 *
 * The keyboard moves an active row, which the list box names to a screen reader; Enter opens it.
 */
export class List {
  /** The first row in the document and the one after the last. */
  first = 0;
  end = 0;
  #root;
  #rows;
  #fill;
  #nameOf;
  #open;
  #seen;
  #still;
  #age;
  #items = [];
  #complete = false;
  #shown = new Map();
  #height = 0;
  #measured = false;
  /** The index of the row that the keyboard is at, and its name, which stays when rows come and go above it. */
  #active = null;
  #activeName = null;
  #current = null;
  #frame = 0;

  /**
   * @param {HTMLElement} root  scrolls, and has the role
   * @param {function(HTMLElement, Object)} fill  makes a row say what an item is
   * @param {function(Object): string} nameOf
   * @param {function(string)} open  called with the name of the row that was chosen
   * @param {function()} seen  called when other rows have come into view
   * @param {function(Object): *} still  what of an item a row has to be filled anew for
   * @param {function(HTMLElement, Object)} age  brings up to date what changes with the time
   */
  constructor(root, { fill, nameOf, open, seen, still = (item) => item, age = () => {} }) {
    [this.#root, this.#fill, this.#nameOf, this.#open, this.#seen] = [root, fill, nameOf, open, seen];
    [this.#still, this.#age] = [still, age];
    this.#rows = el("div", { class: "rows", role: "presentation" });
    root.append(this.#rows);
    root.addEventListener("scroll", () => this.#soon(), { passive: true });
    root.addEventListener("keydown", (event) => this.#pressed(event));
    root.addEventListener("focus", () => this.#activate(this.#active ?? this.#current ?? 0, false));
    root.addEventListener("click", ({ target }) => {
      const row = target.closest("[role=option]");
      if (row) {
        this.#choose(Number(row.dataset.index));
      }
    });
    new ResizeObserver(() => {
      this.#measured = false;
      this.#soon();
    }).observe(root);
  }

  /** Show these; `complete` says that none come after them. The array is only looked at when the next change is shown. */
  show(items, complete) {
    [this.#items, this.#complete] = [items, complete];
    if (this.#active !== null && this.#nameAt(this.#active) !== this.#activeName) {
      const found = items.findIndex((item) => this.#nameOf(item) === this.#activeName);
      this.#reach(found < 0 ? this.#active : found);
    }
    this.#render();
  }

  /** Mark the row that is open elsewhere on the page. */
  mark(name) {
    this.#current = name;
    this.#render();
  }

  /** Bring a row into the middle of what can be seen, unless it can be seen; tell whether it is there. */
  reveal(name) {
    const index = this.#items.findIndex((item) => this.#nameOf(item) === name);
    if (index < 0 || !this.#height) {
      return index >= 0;
    }
    const [top, room] = [index * this.#height, this.#root.clientHeight];
    if (top < this.#root.scrollTop || top + this.#height > this.#root.scrollTop + room) {
      this.#root.scrollTop = top - (room - this.#height) / 2;
      this.#render();
    }
    return true;
  }

  /** Go back to the beginning. */
  rewind() {
    [this.#active, this.#activeName] = [null, null];
    this.#root.scrollTop = 0;
  }

  #soon() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      const [first, end] = [this.first, this.end];
      this.#render();
      if (first !== this.first || end !== this.end) {
        this.#seen();
      }
    });
  }

  #render() {
    if (!this.#measured && !this.#measure()) {
      return; // not on the page at present
    }
    const height = this.#height;
    const { scrollTop, clientHeight } = this.#root;
    const total = this.#items.length;
    this.#rows.style.height = `${total * height}px`;
    this.end = Math.min(total, Math.ceil((scrollTop + clientHeight) / height) + SPARE);
    this.first = Math.max(0, Math.min(this.end, Math.floor(scrollTop / height) - SPARE));
    for (const [index, row] of this.#shown) {
      if (index < this.first || index >= this.end) {
        row.remove();
        this.#shown.delete(index);
      }
    }
    for (let index = this.first; index < this.end; index++) {
      this.#show(index, height);
    }
    const active = this.#active === null ? undefined : this.#shown.get(this.#active);
    if (active) {
      this.#root.setAttribute("aria-activedescendant", active.id);
    } else {
      this.#root.removeAttribute("aria-activedescendant");
    }
  }

  #show(index, height) {
    let row = this.#shown.get(index);
    if (!row) {
      row = el("div", { role: "option", class: "row", id: `${this.#root.parentElement.id}-${index}` });
      row.dataset.index = index;
      row.style.transform = `translateY(${index * height}px)`;
      this.#shown.set(index, row);
      // In the order of the list, for those who read the document and not the screen.
      this.#rows.insertBefore(row, this.#shown.get(index + 1) ?? null);
    }
    const item = this.#items[index];
    const said = JSON.stringify(this.#still(item));
    if (row.said !== said) {
      // Not more often than need be: a click that begins on what is then replaced comes to nothing.
      row.said = said;
      this.#fill(row, item);
    }
    this.#age(row, item);
    row.setAttribute("aria-posinset", index + 1);
    row.setAttribute("aria-setsize", this.#complete ? this.#items.length : -1);
    row.setAttribute("aria-selected", this.#nameOf(item) === this.#current);
    row.classList.toggle("active", index === this.#active);
  }

  /** How high a row is depends on the fonts and the size of the screen. */
  #measure() {
    const probe = el("div", { class: "row" });
    this.#rows.append(probe);
    const height = probe.offsetHeight;
    probe.remove();
    if (height && height !== this.#height) {
      this.#height = height;
      for (const row of this.#shown.values()) {
        row.remove();
      }
      this.#shown.clear();
    }
    this.#measured = height > 0;
    return this.#measured;
  }

  #pressed(event) {
    const page = Math.max(1, Math.floor(this.#root.clientHeight / (this.#height || 1)) - 1);
    const at = this.#active ?? -1;
    const moves = {
      ArrowDown: at + 1,
      ArrowUp: at - 1,
      PageDown: at + page,
      PageUp: at - page,
      Home: 0,
      End: this.#items.length - 1,
    };
    if (event.altKey || event.ctrlKey || event.metaKey) {
      return;
    }
    if (event.key in moves) {
      event.preventDefault();
      this.#activate(moves[event.key], true);
    } else if ((event.key === "Enter" || event.key === " ") && this.#active !== null) {
      event.preventDefault();
      this.#choose(this.#active);
    }
  }

  #activate(where, scroll) {
    if (!this.#items.length) {
      return;
    }
    this.#reach(typeof where === "string" ? this.#items.findIndex((item) => this.#nameOf(item) === where) : where);
    const [top, height] = [this.#active * this.#height, this.#height];
    if (scroll && top < this.#root.scrollTop) {
      this.#root.scrollTop = top;
    } else if (scroll && top + height > this.#root.scrollTop + this.#root.clientHeight) {
      this.#root.scrollTop = top + height - this.#root.clientHeight;
    }
    this.#render();
    this.#seen();
  }

  #choose(index) {
    if (index < this.#items.length) {
      this.#reach(index);
      this.#open(this.#activeName);
    }
  }

  #reach(index) {
    this.#active = this.#items.length ? Math.max(0, Math.min(this.#items.length - 1, index)) : null;
    this.#activeName = this.#active === null ? null : this.#nameAt(this.#active);
  }

  #nameAt(index) {
    return index < this.#items.length ? this.#nameOf(this.#items[index]) : null;
  }
}
