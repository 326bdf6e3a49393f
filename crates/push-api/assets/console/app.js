// Which page is shown, and who is signed in.

import { ApiError, call, get, post } from "./api.js";
import { field, h, problem, toast } from "./dom.js";
import * as customer from "./customer.js";
import * as letters from "./letters.js";
import * as notification from "./notification.js";
import * as operations from "./operations.js";
import * as overview from "./overview.js";
import * as search from "./search.js";

const PAGES = { overview, search, customers: customer, notifications: notification, "dead-letters": letters, operations };

const main = document.getElementById("main");
let session = null;
let leaving = new AbortController();

const go = (address) => {
  if (location.hash === address) show();
  else location.hash = address;
};

/** `#/name/place?parameters`. */
function where() {
  const [path, parameters = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, place = ""] = path.split("/");
  return { name: name || "overview", place: decoded(place), parameters: Object.fromEntries(new URLSearchParams(parameters)) };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Leaves the page: what it asks ends, and so does what it was asking about. */
function leave() {
  leaving.abort();
  leaving = new AbortController();
  for (const dialog of document.querySelectorAll("dialog")) dialog.close();
}

function show() {
  leave();
  if (!session) { signIn(); return; }
  const { name, place, parameters } = where();
  const page = Object.hasOwn(PAGES, name) ? PAGES[name] : undefined;
  for (const link of document.querySelectorAll("#nav a")) {
    if (link.hash === `#/${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const title = page?.title(place) ?? "There is no such page";
  const heading = h("h1", { tabindex: "-1" }, title, place && ` ${place}`);
  document.title = `${title} · Push console`;
  main.replaceChildren(heading);
  heading.focus({ preventScroll: true });
  scrollTo(0, 0);
  page?.page(main, { signal: leaving.signal, place, parameters, session, go });
}

function signIn(error = null) {
  document.getElementById("nav").hidden = true;
  document.getElementById("who").hidden = true;
  document.title = "Sign in · Push console";
  const key = h("input", { id: "key", name: "key", type: "password", required: true, autocomplete: "current-password", spellcheck: "false" });
  const form = h("form", {
    class: "card sign-in", onsubmit: async (event) => {
      event.preventDefault();
      try {
        const answer = await post("/admin/session", null, { headers: { Authorization: `Bearer ${key.value.trim()}` } });
        if (!answer.expiresAt) throw new ApiError("A token cannot be kept as a session: sign in with an API key");
        key.value = "";
        await begin();
      } catch (wrong) {
        signIn(wrong.status === 403 ? new ApiError("This key lacks the scope admin", wrong) : wrong);
      }
    },
  },
  h("h1", { tabindex: "-1" }, "Sign in"),
  // Whoever keeps the key in a password manager finds it under this name.
  h("input", { type: "text", name: "username", value: "push console", autocomplete: "username", hidden: true, readonly: true }),
  error && problem(error),
  field("API key with the scope admin", key),
  h("button", { class: "main" }, "Sign in"),
  h("p", { class: "dim" }, "The key is not kept in the browser. You stay signed in for 12 hours."));
  main.replaceChildren(form);
  key.focus();
}

async function begin() {
  session = await get("/admin/session");
  document.getElementById("nav").hidden = false;
  const who = document.getElementById("who");
  who.hidden = false;
  who.replaceChildren(h("span", {}, session.name), session.expiresAt && h("button", {
    onclick: async () => {
      try {
        await call("DELETE", "/admin/session");
      } catch (error) {
        // Whoever is told to be signed out must be.
        if (error.status !== 401) { toast(`Not signed out: ${error.message}`); return; }
      }
      session = null;
      show();
    },
  }, "Sign out"));
  show();
}

document.addEventListener("signed-out", () => {
  if (!session) return;
  const why = Date.parse(session.expiresAt) <= Date.now() ? "it lasts 12 hours" : "its key was taken back, or it was ended elsewhere";
  session = null;
  leave();
  signIn(new ApiError(`Your session is over: ${why}. Sign in again`));
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", show);

/** Until the service answers: somebody may have opened the page while it restarts. */
async function start() {
  try {
    await begin();
  } catch (error) {
    if (error.status === 401 || error.status === 403) { signIn(); return; }
    if (!main.querySelector("[role=alert]")) main.replaceChildren(problem(error), h("p", {}, "It is asked again by itself."));
    setTimeout(start, 3_000);
  }
}
start();
