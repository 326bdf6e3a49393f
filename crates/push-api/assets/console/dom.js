// Elements, times and small parts that all pages use. Text goes in as text: nothing that was sent is ever read as HTML.

/** An element with attributes (`on…` are listeners) and children; `null` and `false` are left out. */
export function h(tag, attributes = {}, ...children) {
  return build(document.createElement(tag), attributes, children);
}

/** The same in SVG. */
export function svg(tag, attributes = {}, ...children) {
  return build(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function build(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Shows these in a place, unless the same stand there: what is focused, marked or scrolled to stays so. */
export function update(place, children) {
  const now = h("div", {}, [children]);
  const [wanted, there] = [[...now.childNodes], [...place.childNodes]];
  const same = wanted.length === there.length && wanted.every((node, at) => node.isEqualNode(there[at]));
  if (!same) renew(place, wanted);
}

/** Shows these in a place, whatever stood there. Whoever had the focus there is not sent to the top of the page. */
export function renew(place, children) {
  const focused = place.contains(document.activeElement);
  place.replaceChildren(...children);
  if (focused && document.activeElement === document.body) document.getElementById("main").focus({ preventScroll: true });
}

const UTC = { timeZone: "UTC", year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
const CLOCK = new Intl.DateTimeFormat("sv-SE", UTC);

/** A time in UTC. `exact`: with milliseconds. */
export function time(text, exact = false) {
  if (!text) return "–";
  const at = new Date(text);
  const thousandths = exact ? `.${String(at.getUTCMilliseconds()).padStart(3, "0")}` : "";
  return h("time", { datetime: text, title: text }, `${CLOCK.format(at)}${thousandths} UTC`);
}

/** A number of seconds in words. */
export function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} days`;
}

/** Milliseconds in words. */
export function milliseconds(value) {
  if (value === null || value === undefined) return "–";
  return value < 1000 ? `${value} ms` : `${(value / 1000).toFixed(1)} s`;
}

const NUMBER = new Intl.NumberFormat("en");

/** A number with its thousands apart. */
export function number(value) {
  return value === null || value === undefined ? "–" : NUMBER.format(value);
}

/** A part of one in per cent. */
export function percent(value) {
  return value === null || value === undefined ? "–" : `${(value * 100).toFixed(value > 0.99 && value < 1 ? 2 : 1)} %`;
}

const KINDS = {
  sent: "good", success: "good", accepted: "good", open: "", delivered: "good", connected: "good", done: "good", ok: "good",
  failed: "bad", broken: "bad", disconnected: "bad", token_dead: "bad", refused: "bad",
  pending: "warn", paused: "warn", throttled: "warn", blocked: "warn", running: "warn", suppressed: "", replayed: "good", discarded: "",
};

/** A state as a coloured word; the word alone says it, too. */
export function tag(word) {
  return word ? h("span", { class: `tag ${KINDS[word] ?? ""}` }, word.replaceAll("_", " ")) : "–";
}

/** A table. `columns`: `[heading, cell of a row, class]`. */
export function table(caption, columns, rows, empty = "Nothing here.") {
  if (rows.length === 0) return h("p", { class: "dim" }, empty);
  const head = columns.map(([name, , kind]) => h("th", { scope: "col", class: kind }, name));
  const line = (row) => h("tr", {}, columns.map(([, cell, kind]) => h("td", { class: kind }, cell(row) ?? "–")));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", { class: "visually-hidden" }, caption), h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows.map(line))));
}

/** Asks for the next page, once. Without a cursor there is none. */
export function older(cursor, load) {
  return cursor ? h("button", { onclick: async ({ target }) => {
    target.disabled = true;
    await load(cursor);
    target.disabled = false;
  } }, "Older ones") : "";
}

/** Names and values. */
export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(([, value]) => value !== undefined)
    .map(([name, value]) => [h("dt", {}, name), h("dd", {}, value ?? "–")]));
}

/** A field with its label. */
export function field(label, input) {
  return h("label", {}, label, h("br"), input);
}

/** A choice; `""` is any. */
export function choice(name, options, chosen, any = "any") {
  const option = (value) => h("option", { value, selected: value === chosen }, value === "" ? any : value.replaceAll("_", " "));
  return h("select", { name }, ["", ...options].map(option));
}

/** Tells what came of something, for eyes and screen readers. */
export function toast(text) {
  const place = document.getElementById("toast");
  place.textContent = text;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => { place.textContent = ""; }, 8000);
}

/** An error as a reader can use it. */
export function problem(error) {
  const more = (error.errors ?? []).map(({ field: name, message }) => h("li", {}, `${name} ${message}`));
  const id = error.requestId ? h("p", { class: "dim" }, `Request ${error.requestId}`) : null;
  return h("div", { class: "note bad", role: "alert" }, h("strong", {}, error.message ?? String(error)), more.length > 0 && h("ul", {}, more), id);
}

/** Asks before something is done. Resolves to the form's values, or `null`. `body` may have fields. */
export function ask(title, body, { yes = "OK", danger = false } = {}) {
  return new Promise((resolve) => {
    const heading = h("h2", { id: "ask-title" }, title);
    const form = h("form", { method: "dialog" }, heading, body, h("div", { class: "row" },
      h("button", { type: "button", onclick: () => dialog.close() }, "Back"),
      h("button", { class: danger ? "danger" : "main", value: "yes" }, yes)));
    const dialog = h("dialog", { "aria-labelledby": "ask-title" }, form);
    const before = document.activeElement;
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "yes" ? Object.fromEntries(new FormData(form)) : null);
      dialog.remove();
      // What was focused may be gone meanwhile. Whoever left the page is elsewhere already.
      if (before?.isConnected) before.focus();
      if (document.activeElement === document.body) document.getElementById("main").focus();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** A filter's fields as the end of an address, without the empty ones. */
export function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return given.length === 0 ? "" : `?${new URLSearchParams(given)}`;
}

/** What a `datetime-local` field has, taken as UTC. */
export function utc(local) {
  return local ? `${local.length === 16 ? `${local}:00` : local}Z` : "";
}
