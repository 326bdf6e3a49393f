// One notification: what it says, where it went, and every decision on its way.

import { call, get, poll } from "./api.js";
import { ask, facts, h, number, problem, renew, table, tag, time, toast } from "./dom.js";

export const title = () => "Notification";

const EVERY = 3_000;

export function page(main, { signal, place: id, session }) {
  if (!session.scopes.includes("read")) {
    main.append(h("p", { class: "note warn" }, "This key lacks the scope read, which timelines need."));
    return;
  }
  const content = h("div", {}, h("p", { class: "dim" }, "Looking …"));
  const wrong = h("div");
  main.append(wrong, content);
  let shown = "";
  const over = new AbortController();
  signal.addEventListener("abort", () => over.abort());
  poll(EVERY, over.signal, async () => {
    try {
      const found = await get(`/notifications/${encodeURIComponent(id)}`, { signal });
      const now = JSON.stringify(found);
      if (now !== shown) renew(content, show(found, session, wrong));
      shown = now;
    } catch (error) {
      if (error.status !== 404) throw error;
      content.replaceChildren(problem(error));
      over.abort();
    }
  });
}

function show(found, session, wrong) {
  const data = Object.entries(found.data ?? {});
  return [
    h("section", { class: "card" },
      h("div", { class: "row between" }, h("h2", {}, found.title || "(no content kept)"), cancel(found, session, wrong)),
      h("p", {}, found.body),
      facts([
        ["Status", h("span", { class: "row" }, tag(found.status), found.reason?.replaceAll("_", " "))],
        ["FCM", tag(found.fcmResult)],
        ["Expo", tag(found.expoResult)],
        ["Customer", h("a", { href: `#/customers/${found.customerId}` }, found.customerId)],
        ["Type", found.type],
        ["Priority", found.priority],
        ["Attempts", number(found.attempts)],
        ["Collapse key", found.collapseKey],
        ["Accepted", time(found.createdAt)],
        ["To be sent", found.sendAt ? time(found.sendAt) : undefined],
        ["Ended", time(found.completedAt)],
        ["Good until", time(found.expiresAt)],
        ["Opened", time(found.openedAt)],
        ["Picture", found.imageUrl ?? undefined],
        ["Id", h("code", {}, found.notificationId)],
      ])),
    h("section", { class: "card" }, h("h2", {}, "Timeline"),
      h("ol", { class: "timeline" }, found.timeline.map(({ at, step, text }) => h("li", {}, time(at, true), h("span", {}, tag(step)), h("span", {}, text))))),
    h("section", { class: "card" }, h("h2", {}, "Devices"), table("Deliveries", [
      ["Device", (one) => one.deviceId ?? "(unnamed)"],
      ["Platform", (one) => one.platform],
      ["Provider", (one) => one.provider],
      ["Token", (one) => h("code", {}, one.token ?? "–")],
      ["Outcome", (one) => [tag(one.outcome), one.maybeDelivered && " maybe delivered"]],
      ["Attempts", (one) => number(one.attempts), "num"],
      ["Error", (one) => told(one.error), "text"],
      ["Receipt", (one) => told(one.receipt), "text"],
      ["At", (one) => time(one.at), "nowrap"],
      ["Provider's id", (one) => one.providerId, "text"],
    ], found.deliveries, "No device was asked.")),
    data.length > 0 && h("section", { class: "card" }, h("h2", {}, "Data"), facts(data)),
  ].filter(Boolean);
}

/** An error or a receipt, which may be text or an object. */
function told(value) {
  if (value === null || value === undefined || typeof value === "string") return value ?? "–";
  return Object.values(value).filter((part) => part !== null).join(": ");
}

/** `wrong`: where it is told what went wrong; the button goes when the notification changes. */
function cancel(found, session, wrong) {
  if (found.status !== "pending" || !session.scopes.includes("send")) return null;
  return h("button", {
    class: "danger", onclick: async () => {
      if (!await ask("Cancel this notification?", h("p", {}, "Devices that have not got it will not get it."), { yes: "Cancel it", danger: true })) return;
      try {
        toast((await call("DELETE", `/notifications/${found.notificationId}`)).message);
      } catch (error) {
        wrong.replaceChildren(problem(error));
      }
    },
  }, "Cancel");
}
