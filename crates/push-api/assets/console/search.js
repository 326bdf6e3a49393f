// The history by customer, booking, notification, and what became of it.

import { get } from "./api.js";
import { choice, field, h, older, problem, query, table, tag, time, utc } from "./dom.js";

export const title = () => "Search";

const STATUSES = ["pending", "sent", "failed", "suppressed"];
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** The columns of a list of notifications. */
export function columns({ withCustomer = true } = {}) {
  return [
    ["Accepted", (item) => time(item.createdAt), "nowrap"],
    withCustomer && ["Customer", (item) => h("a", { href: `#/customers/${item.customerId}` }, item.customerId)],
    ["Type", (item) => item.type],
    ["Title", (item) => h("a", { href: `#/notifications/${item.notificationId}` }, item.title || "(no content kept)"), "text"],
    ["Status", (item) => [tag(item.status), item.reason && ` ${item.reason.replaceAll("_", " ")}`]],
    ["FCM", (item) => tag(item.fcmResult)],
    ["Expo", (item) => tag(item.expoResult)],
  ].filter(Boolean);
}

/** Pages of the history that a filter means; further ones by a button. */
export function results(filter, signal, kind = {}) {
  const told = h("p", { class: "visually-hidden", role: "status" });
  const list = h("div", {}, h("p", { class: "dim" }, "Searching …"));
  const items = [];
  const load = async (cursor) => {
    try {
      const answer = await get(`/history${query({ ...filter, limit: 50, cursor })}`, { signal });
      items.push(...answer.items);
      told.textContent = `${items.length} found${answer.nextCursor ? ", and there are older ones" : ""}`;
      list.replaceChildren(table("Notifications", columns(kind), items, "No notification matches."), older(answer.nextCursor, load));
    } catch (error) {
      if (!signal.aborted) list.append(problem(error));
    }
  };
  load();
  return h("div", {}, told, list);
}

export function page(main, { signal, parameters, session, go }) {
  if (!session.scopes.includes("read")) {
    main.append(h("p", { class: "note warn" }, "This key lacks the scope read, which the history needs."));
    return;
  }
  const input = (name, kind = "text") => h("input", { name, type: kind, value: parameters[name] ?? "", autocomplete: "off", spellcheck: "false" });
  const number = (name) => h("input", { name, type: "text", inputmode: "numeric", pattern: "[0-9]*", value: parameters[name] ?? "", autocomplete: "off" });
  const id = h("input", { name: "id", class: "wide", type: "text", autocomplete: "off", spellcheck: "false" });
  const form = h("form", {
    class: "filters", role: "search", onsubmit: (event) => {
      event.preventDefault();
      const { id: wanted, from, to, ...filter } = Object.fromEntries(new FormData(form));
      if (wanted.trim() !== "") {
        if (!UUID.test(wanted.trim())) { id.setCustomValidity("A notification's id is a UUID"); id.reportValidity(); return; }
        go(`#/notifications/${wanted.trim()}`);
      } else {
        go(`#/search${query({ ...filter, from, to, go: 1 })}`);
      }
    },
  },
  field("Customer", number("customerId")),
  field("Booking", input("bookingId")),
  field("Notification id", id),
  field("Status", choice("status", STATUSES, parameters.status)),
  field("Type", input("type")),
  field("From (UTC)", input("from", "datetime-local")),
  field("To (UTC)", input("to", "datetime-local")),
  h("button", { class: "main" }, "Search"));
  id.addEventListener("input", () => id.setCustomValidity(""));
  main.append(form);
  if (parameters.go) {
    const { go: _asked, from, to, ...filter } = parameters;
    main.append(results({ ...filter, from: utc(from), to: utc(to) }, signal));
  }
}
