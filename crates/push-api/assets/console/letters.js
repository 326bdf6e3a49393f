// Dead letters: what was given up. To look at, to try again, to put aside; some, or all that a filter means.

import { get, post } from "./api.js";
import { ask, choice, facts, field, h, number, older, problem, query, table, tag, time, toast, utc } from "./dom.js";

export const title = (place) => place ? "Dead letter" : "Dead letters";

const STATES = ["open", "replayed", "discarded"];
const REASONS = ["retries_exhausted", "expired", "operator_must_act", "delivery_limit", "poison", "unprocessable"];
const PROVIDERS = ["fcm", "expo"];
const PER_SECOND = 100;

export function page(main, { signal, place: id, parameters, go }) {
  if (id) one(main, id, signal);
  else list(main, { state: "open", ...parameters }, signal, go);
}

function filterOf({ from, to, ...rest }) {
  return { ...rest, from: utc(from), to: utc(to) };
}

function list(main, given, signal, go) {
  const form = h("form", {
    class: "filters", onsubmit: (event) => {
      event.preventDefault();
      const { state, ...values } = Object.fromEntries(new FormData(form));
      // Any state has to be said: without a word it is those that are open.
      go(`#/dead-letters${query(values)}${query(values) ? "&" : "?"}state=${state}`);
    },
  },
  field("State", choice("state", STATES, given.state)),
  field("Reason", choice("reason", REASONS, given.reason)),
  field("Provider", choice("provider", PROVIDERS, given.provider)),
  field("Customer", h("input", { name: "customerId", value: given.customerId ?? "", inputmode: "numeric", pattern: "[0-9]*", autocomplete: "off" })),
  field("Notification id", h("input", { name: "notificationId", class: "wide", value: given.notificationId ?? "", autocomplete: "off", spellcheck: "false" })),
  field("From (UTC)", h("input", { name: "from", type: "datetime-local", value: given.from ?? "" })),
  field("To (UTC)", h("input", { name: "to", type: "datetime-local", value: given.to ?? "" })),
  h("button", { class: "main" }, "Filter"));
  const filter = filterOf(given);
  const actions = h("div", { class: "row" });
  const progress = h("div");
  const found = h("div", {}, h("p", { class: "dim" }, "Looking …"));
  main.append(form, h("section", { class: "card" }, actions, progress, found));
  const selection = new Selection(actions, progress, () => refresh(), filter, go, signal);
  // What is meant is what was filtered by, not what is being typed.
  form.addEventListener("input", () => selection.meansNothing());
  let items = [];
  const load = async (cursor = null) => {
    const answer = await get(`/admin/deadLetters${query({ ...filter, limit: 100, cursor })}`, { signal });
    items = cursor ? [...items, ...answer.items] : answer.items;
    selection.keep(items);
    found.replaceChildren(tableOf(items, selection), older(answer.nextCursor, (next) => load(next).catch(wrong)));
  };
  const wrong = (error) => { if (!signal.aborted) found.append(problem(error)); };
  const refresh = () => load().catch(wrong);
  refresh();
}

function tableOf(items, selection) {
  const columns = [
    ["", (item) => item.state === "open" && selection.box(item)],
    ["Recorded", (item) => time(item.createdAt), "nowrap"],
    ["Reason", (item) => h("a", { href: `#/dead-letters/${item.id}` }, item.reason.replaceAll("_", " "))],
    ["Error", (item) => `${item.error.code}: ${item.error.text}`, "text"],
    ["Customer", (item) => item.customerId && h("a", { href: `#/customers/${item.customerId}` }, item.customerId)],
    ["Notification", (item) => item.notificationId && h("a", { href: `#/notifications/${item.notificationId}` }, item.notificationId.slice(-8))],
    ["Provider", (item) => item.provider],
    ["Attempts", (item) => number(item.attempts), "num"],
    ["State", (item) => tag(item.state)],
  ];
  const made = table("Dead letters", columns, items, "No dead letter matches.");
  const head = made.querySelector("th");
  if (head) {
    const every = h("input", { type: "checkbox", "aria-label": "Select all that are shown", onchange: () => selection.all(every.checked, made) });
    head.append(every);
  }
  return made;
}

/** Which of those that are shown are meant, and what can be done with them or with all. */
class Selection {
  ids = new Set();

  constructor(actions, progress, refresh, filter, go, signal) {
    Object.assign(this, { progress, refresh, filter, go, signal, running: false });
    const button = (text, kind, action) => h("button", { class: kind, onclick: action }, text);
    this.replay = button("Replay selected", "main", () => this.replaySelected());
    this.discard = button("Discard selected", "danger", () => this.discardSelected());
    // Those that were handled are never meant by it.
    this.allThatMatch = !filter.state || filter.state === "open" ? [
      button("Replay all that match …", "", () => this.many("replay")),
      button("Discard all that match …", "danger", () => this.many("discard")),
    ] : [];
    actions.append(this.replay, this.discard, ...this.allThatMatch);
    this.show();
  }

  box({ id }) {
    return h("input", {
      type: "checkbox", value: id, checked: this.ids.has(id), "aria-label": `Select dead letter ${id}`,
      onchange: ({ target }) => { if (target.checked) this.ids.add(id); else this.ids.delete(id); this.show(); },
    });
  }

  all(checked, made) {
    for (const box of made.querySelectorAll("td input")) {
      box.checked = checked;
      if (checked) this.ids.add(Number(box.value)); else this.ids.delete(Number(box.value));
    }
    this.show();
  }

  /** Forgets what is not among these any more. */
  keep(items) {
    const open = new Set(items.filter(({ state }) => state === "open").map(({ id }) => id));
    this.ids = new Set([...this.ids].filter((id) => open.has(id)));
    this.show();
  }

  /** Until the filter is applied. */
  meansNothing() {
    for (const button of this.allThatMatch) button.disabled = true;
  }

  show() {
    const count = this.ids.size;
    for (const [button, word] of [[this.replay, "Replay"], [this.discard, "Discard"]]) {
      button.disabled = count === 0 || this.running;
      button.textContent = `${word} selected (${count})`;
    }
  }

  async replaySelected() {
    const given = await ask(`Replay ${number(this.ids.size)}?`, extension(), { yes: "Replay" });
    if (given) await this.each("replayed", (id) => post(`/admin/deadLetters/${id}/replay`, extended(given)));
  }

  async discardSelected() {
    const given = await ask(`Discard ${number(this.ids.size)}?`, why(), { yes: "Discard", danger: true });
    if (given) await this.each("discarded", (id) => post(`/admin/deadLetters/${id}/discard`, { reason: given.reason }));
  }

  /** One after the other, with a bar; what is refused is told and stays. */
  async each(word, act) {
    const ids = [...this.ids];
    const bar = h("progress", { max: ids.length, value: 0, "aria-label": `Dead letters ${word}` });
    const told = h("p");
    const refused = new Map();
    let stopped = false;
    const stop = h("button", { class: "danger", onclick: () => { stopped = true; } }, "Stop");
    this.progress.replaceChildren(bar, told, stop);
    this.running = true;
    this.show();
    let done = 0;
    for (const id of ids) {
      if (stopped || this.signal.aborted) break;
      try {
        await act(id);
        done += 1;
        this.ids.delete(id);
      } catch (error) {
        if (error.status === 401) return;
        // The others would be refused as well.
        if (error.status === 429 || error.status >= 500 || error.status === 0) stopped = true;
        refused.set(error.message, (refused.get(error.message) ?? 0) + 1);
      }
      bar.value += 1;
      told.textContent = `${number(done)} of ${number(ids.length)} ${word}`;
    }
    this.running = false;
    stop.remove();
    if (this.signal.aborted) return;
    const reasons = [...refused].map(([message, count]) => h("li", {}, `${number(count)}: ${message}`));
    if (reasons.length > 0) this.progress.append(h("div", { class: "note bad", role: "alert" }, "Not done:", h("ul", {}, reasons)));
    toast(`${number(done)} ${word}`);
    this.refresh();
  }

  /** All that the filter means, also those that are not shown: counted first, then done by a worker. */
  async many(verb) {
    const { state: _open, ...filter } = Object.fromEntries(Object.entries(this.filter).filter(([, value]) => value));
    try {
      const { count } = await post(`/admin/deadLetters/${verb}`, { filter, dryRun: true }, { signal: this.signal });
      if (count === 0) { toast("No open dead letter matches"); return; }
      const [word, fields] = verb === "replay" ? ["Replay", extension()] : ["Discard", why()];
      const perSecond = field("At most so many a second", h("input", { name: "perSecond", type: "number", min: 1, max: 1000, value: PER_SECOND, required: true }));
      const which = Object.entries(filter).map(([name, value]) => `${name} ${value}`).join(", ");
      const body = h("div", {}, h("p", {}, `${number(count)} open dead letters match now: ${which || "all there are"}.`),
        h("p", {}, "A worker does it; it goes on over restarts, and can be stopped."), perSecond, fields);
      const given = await ask(`${word} ${number(count)} dead letters?`, body, { yes: `${word} all`, danger: verb === "discard" });
      if (!given) return;
      const more = verb === "replay" ? extended(given) : { reason: given.reason };
      const { operationId } = await post(`/admin/deadLetters/${verb}`, { filter, perSecond: Number(given.perSecond), ...more });
      if (this.signal.aborted) toast("Operation started");
      else this.go(`#/operations/${operationId}`);
    } catch (error) {
      this.progress.replaceChildren(problem(error));
    }
  }
}

function extension() {
  return field("Seconds to live from now on, for what has expired (empty: leave those)", h("input", { name: "extend", type: "number", min: 1, max: 2419200 }));
}

function extended({ extend }) {
  return extend ? { extendTtlSeconds: Number(extend) } : {};
}

function why() {
  return field("Why, for those who look at them later", h("input", { name: "reason", required: true, maxlength: 255 }));
}

async function one(main, id, signal) {
  const content = h("div", {}, h("p", { class: "dim" }, "Looking …"));
  main.append(content);
  const load = async () => {
    try {
      content.replaceChildren(...details(await get(`/admin/deadLetters/${encodeURIComponent(id)}`, { signal }), load));
    } catch (error) {
      if (error.name !== "AbortError") content.replaceChildren(problem(error));
    }
  };
  await load();
}

function details(letter, load) {
  const wrong = h("div");
  const act = async (asked, path, body) => {
    const given = await asked;
    if (!given) return;
    try {
      toast((await post(`/admin/deadLetters/${letter.id}/${path}`, body(given))).message);
      await load();
    } catch (error) {
      wrong.replaceChildren(problem(error));
    }
  };
  const buttons = letter.state === "open" && h("div", { class: "row" },
    h("button", { class: "main", onclick: () => act(ask("Replay this dead letter?", extension(), { yes: "Replay" }), "replay", extended) }, "Replay"),
    h("button", { class: "danger", onclick: () => act(ask("Discard this dead letter?", why(), { yes: "Discard", danger: true }), "discard", ({ reason }) => ({ reason })) }, "Discard"));
  const handled = letter.replayedAt ? [time(letter.replayedAt), ` by ${letter.replayedBy}`] : letter.discardedAt ? [time(letter.discardedAt), ` by ${letter.discardedBy}: ${letter.discardReason}`] : undefined;
  const { notification, target, bytes } = letter;
  return [
    h("section", { class: "card" }, wrong, facts([
      ["State", tag(letter.state)],
      ["Handled", handled && h("span", {}, handled)],
      ["Reason", letter.reason.replaceAll("_", " ")],
      ["Error", `${letter.error.code}: ${letter.error.text}`],
      ["Recorded", time(letter.createdAt)],
      ["Customer", letter.customerId && h("a", { href: `#/customers/${letter.customerId}` }, letter.customerId)],
      ["Notification", letter.notificationId && h("a", { href: `#/notifications/${letter.notificationId}` }, letter.notificationId)],
      ["Stands now", notification && h("span", {}, tag(notification.status), notification.reason && ` ${notification.reason.replaceAll("_", " ")}`)],
      ["Provider", letter.provider],
      ["Token", letter.token && h("code", {}, letter.token)],
      ["Device now", target && h("span", {}, tag(target.outcome), " ", time(target.at))],
      ["Attempts", number(letter.attempts)],
      ["Given up again as", letter.newerDeadLetterId ? h("a", { href: `#/dead-letters/${letter.newerDeadLetterId}` }, letter.newerDeadLetterId) : undefined],
    ]), buttons),
    h("section", { class: "card" }, h("h2", {}, "Error trail"), table("Error trail", [
      ["When", (entry) => time(entry.at), "nowrap"],
      ["Provider", (entry) => entry.provider],
      ["Code", (entry) => entry.code],
      ["What", (entry) => entry.text, "text"],
    ], letter.trail, "No attempt is recorded.")),
    bytes && h("section", { class: "card" }, h("h2", {}, "Raw bytes"),
      h("p", { class: "dim" }, `${number(bytes.length)} bytes, ${bytes.complete ? "all of them kept" : "the first of them kept"}, as Base64`), h("pre", {}, bytes.base64)),
  ].filter(Boolean);
}
