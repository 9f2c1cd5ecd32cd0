/** The page as a whole: the key, the address, the connection, and the three panes. */

import { creating } from "./acting.js";
import { byId, name, setText } from "./dom.js";
import { Dialog } from "./dialog.js";
import { Overview } from "./overview.js";
import { Pane } from "./pane.js";
import { Refresher } from "./refresher.js";
import { ResourcePane } from "./resource.js";
import { RESOURCES, SELECTORS } from "./rows.js";
import { Search } from "./search.js";
import { SelectorPane } from "./selector.js";
import { Away, Refused, Server } from "./server.js";
import { recent, Stream } from "./stream.js";
import { address, count, duration, visible } from "./text.js";

/**
 * Where the tab keeps its key. It outlives a reload, which telephones do to every tab that was out of sight for a
 * while, but neither the tab nor this origin.
 */
const KEY = "resourced-key";

/** How far the page looks back for what just happened, in ids of events. */
const RECENT = 200;

/** Milliseconds between two looks at what the key may do. */
const [REST, PERIOD] = [2000, 60_000];

class App {
  #server = null;
  #stream = null;
  #route = { resource: null, selector: null };
  #away = null;
  #open = false;
  #news = "";
  #telling = 0;
  #resources;
  #selectors;
  #selector;
  #permissions = null;
  #dialog = new Dialog();
  #failing = (error) => this.#failed(error);
  #overview = new Overview(this.#failing);
  #resource = new ResourcePane(this.#failing);
  #search = new Search(this.#failing);

  constructor() {
    this.#resources = new Pane(byId("resources"), {
      ...RESOURCES,
      open: (resource) => this.#go(resource),
      about: (search) => (search ? "No resource has this in its name." : "There is no resource yet."),
      failed: this.#failing,
    });
    this.#selectors = new Pane(byId("selectors"), {
      ...SELECTORS,
      open: (selector) => this.#go(this.#route.resource, selector),
      about: (search) => (search ? "Nothing here has this in it." : "Nothing is kept, held or waited for here."),
      failed: this.#failing,
    });
    this.#selector = new SelectorPane(this.#dialog, this.#failing, (words) => this.#announce(words));

    byId("key-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#enter(byId("key").value.trim());
    });
    byId("create").addEventListener("click", () => this.#dialog.ask(creating(this.#server, (resource) => this.#go(resource))));
    byId("forget").addEventListener("click", () => this.#leave(""));
    byId("try-now").addEventListener("click", () => this.#hurry());
    addEventListener("hashchange", () => this.#follow(true));
    addEventListener("online", () => this.#hurry());
    document.addEventListener("visibilitychange", () => this.#seen());
  }

  start() {
    const key = sessionStorage.getItem(KEY);
    if (key) {
      this.#begin(key);
    } else {
      this.#leave("");
    }
  }

  // -- The key

  /** Try a key that was typed in, and only keep it if it is good for something. */
  async #enter(key) {
    const submit = byId("key-submit");
    submit.disabled = true;
    byId("key-problem").textContent = "";
    try {
      await new Server(key).key();
      byId("key").value = "";
      sessionStorage.setItem(KEY, key);
      this.#begin(key);
    } catch (error) {
      byId("key-problem").textContent =
        error instanceof TypeError ? "A key has only letters, digits and signs in it." : error.message;
      byId("key").select();
    }
    submit.disabled = false;
  }

  #begin(key) {
    byId("sign-in").hidden = true;
    for (const id of ["panes", "forget", "connection", "search"]) {
      byId(id).hidden = false;
    }
    this.#server = new Server(key, (error) => this.#heard(error));
    this.#stream = new Stream(
      this.#server,
      (event) => this.#happened(event),
      (open, error) => this.#streaming(open, error),
      (last) => this.#readRecent(this.#server, last),
    );
    this.#stream.start();
    this.#overview.begin(this.#server);
    this.#permissions = new Refresher((signal) => this.#readPermissions(signal), REST, PERIOD);
    this.#permissions.touch();
    this.#search.open(this.#server);
    this.#resources.open((page, signal) => this.#server.resources(page, signal));
    this.#follow(true);
  }

  /** Show the buttons for what the key may do, and no others. */
  async #readPermissions(signal) {
    try {
      const { permissions } = await this.#server.key(signal);
      for (const permission of ["lock", "write"]) {
        document.body.classList.toggle(`may-${permission}`, permissions.includes(permission));
      }
    } catch (error) {
      this.#failed(error);
    }
  }

  /** Forget the key, and ask for one. */
  #leave(why) {
    sessionStorage.removeItem(KEY);
    this.#stream?.stop();
    this.#permissions?.stop();
    this.#search.close();
    this.#resources.close();
    this.#close();
    document.body.classList.remove("may-lock", "may-write");
    this.#server = this.#stream = this.#away = null;
    this.#open = false;
    for (const id of ["panes", "forget", "connection", "search", "banner"]) {
      byId(id).hidden = true;
    }
    byId("sign-in").hidden = false;
    byId("key-problem").textContent = why;
    document.title = "resourced";
    byId("key").focus();
  }

  // -- The address: #/resource/selector

  #go(...names) {
    const hash = address(...names);
    if (hash === location.hash) {
      this.#focus();
    } else {
      location.hash = hash;
    }
  }

  #follow(focus) {
    if (!this.#server) {
      return;
    }
    const route = read(location.hash);
    if (route.resource !== this.#route.resource) {
      this.#selectors.close();
      if (route.resource !== null) {
        setText(byId("selectors-summary"), "");
        byId("selectors-heading").replaceChildren(name(route.resource));
        this.#selectors.open((page, signal) => this.#readSelectors(route.resource, page, signal));
      }
      this.#selector.lasts(0);
    }
    const depth = route.selector !== null ? "selector" : route.resource !== null ? "selectors" : "resources";
    if (depth === "selectors") {
      this.#resource.open(this.#server, route.resource);
    } else {
      this.#resource.close();
    }
    if (depth === "resources") {
      this.#overview.open();
    } else {
      this.#overview.close();
    }
    if (route.selector === null) {
      this.#selector.close();
    } else if (route.selector !== this.#route.selector || route.resource !== this.#route.resource) {
      this.#selector.open(this.#server, route.resource, route.selector);
    }
    this.#route = route;
    byId("panes").dataset.depth = depth;
    byId("overview").hidden = depth !== "resources";
    byId("selectors").hidden = route.resource === null;
    byId("resource").hidden = depth !== "selectors";
    byId("selector").hidden = route.selector === null;
    this.#resources.mark(route.resource);
    this.#selectors.mark(route.selector);
    document.title = [route.selector, route.resource, "resourced"].filter(Boolean).map(visible).join(" · ");
    if (focus) {
      this.#focus();
    }
  }

  /** Let the keyboard go on where the page does. */
  #focus() {
    byId(`${byId("panes").dataset.depth}-heading`).focus({ preventScroll: true });
  }

  #close() {
    this.#overview.close();
    this.#selectors.close();
    this.#resource.close();
    this.#selector.close();
    this.#route = { resource: null, selector: null };
  }

  async #readSelectors(resource, page, signal) {
    const { about, ...list } = await this.#server.selectors(resource, page, signal);
    setText(byId("selectors-summary"), summary(about));
    this.#selector.lasts(about.timeout);
    return list;
  }

  // -- What happens

  #happened(event) {
    if (event.event === "reset") {
      this.#selector.restart();
      this.#touch();
      return;
    }
    this.#resources.touch();
    if (event.resource === this.#route.resource) {
      this.#selectors.touch();
      this.#resource.happened();
      this.#selector.happened(event);
    }
    this.#overview.happened(event);
  }

  async #readRecent(server, last) {
    try {
      this.#overview.before(server, await recent(server, last, RECENT));
    } catch (error) {
      if (server === this.#server) {
        this.#failed(error);
      }
    }
  }

  #touch() {
    this.#resources.touch();
    this.#selectors.touch();
    this.#overview.touch();
    this.#resource.touch();
    this.#selector.touch();
    this.#permissions?.touch();
  }

  #seen() {
    if (document.hidden) {
      // A browser has few connections to each server, for all tabs together.
      this.#stream?.stop();
    } else if (this.#stream) {
      this.#stream.start();
      this.#touch();
    }
  }

  /** Tell those who do not see the page, and of what follows quickly only the last. */
  #announce(words) {
    this.#news = words;
    this.#telling ||= setTimeout(() => {
      this.#telling = 0;
      byId("announcer").textContent = this.#news;
    }, 1000);
  }

  // -- The connection

  #hurry() {
    this.#stream?.hurry();
    this.#touch();
  }

  #streaming(open, error) {
    this.#open = open;
    if (error instanceof Refused && error.status === 401) {
      this.#failed(error);
      return;
    }
    this.#touch();
    this.#showConnection();
  }

  #heard(error) {
    const back = this.#away && !error;
    this.#away = error;
    if (back) {
      this.#hurry();
    }
    this.#showConnection();
  }

  #showConnection() {
    if (!this.#server) {
      return;
    }
    const state = this.#away ? "away" : this.#open ? "live" : "slow";
    const words = { away: "Server away", live: "Live", slow: "Not live, asks now and then" };
    byId("connection").className = `connection ${state}`;
    setText(byId("connection"), words[state]);
    byId("banner").hidden = !this.#away;
    byId("panes").classList.toggle("stale", Boolean(this.#away));
    if (this.#away) {
      setText(byId("banner-text"), `${this.#away.message} What you see may be old. The page keeps trying.`);
    }
  }

  /** @returns {string} what to show in place of what could not be read; nothing if the old is to stay */
  #failed(error) {
    if (error instanceof Refused) {
      if (error.status === 401) {
        this.#leave(error.message);
      }
      return error.message;
    }
    if (error instanceof Away || error.name === "AbortError") {
      return "";
    }
    throw error;
  }
}

/** @returns {{resource: ?string, selector: ?string}} what a hash names; what cannot be read names nothing */
function read(hash) {
  try {
    const [resource, selector] = hash.replace(/^#?\/?/, "").split("/").map(decodeURIComponent);
    return { resource: resource || null, selector: (resource && selector) || null };
  } catch {
    return { resource: null, selector: null };
  }
}

function summary({ units, out, held, waiting, timeout }) {
  const number = (value) => value.toLocaleString("en");
  return [
    ...(units ? [count(units, "unit", "units")] : []),
    ...(out ? [`${number(out)} out of service`] : []),
    `${number(held)} held`,
    `${number(waiting)} waiting`,
    timeout ? `lease ${duration(timeout)}` : "the server's lease",
  ].join(", ");
}

new App().start();
