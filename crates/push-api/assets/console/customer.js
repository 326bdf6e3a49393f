// One customer: devices, what is wanted, a test, and the latest notifications.

import { get, post } from "./api.js";
import { facts, field, h, problem, query, table, tag, time } from "./dom.js";
import { results } from "./search.js";

export const title = () => "Customer";

export async function page(main, { signal, place: id, session, go }) {
  const may = (scope) => session.scopes.includes(scope);
  const form = h("form", {
    class: "filters", onsubmit: (event) => {
      event.preventDefault();
      go(`#/customers/${new FormData(form).get("id")}`);
    },
  }, field("Customer", h("input", { name: "id", value: id, inputmode: "numeric", pattern: "[0-9]+", required: true })), h("button", {}, "Show"));
  const details = h("div");
  main.append(form, details);
  try {
    const found = await get(`/admin/customers/${encodeURIComponent(id)}`, { signal });
    details.append(...show(found), may("send") && String(found.customerId) === id ? test(found.customerId, signal) : h("p", { class: "dim" }, may("send") ? "" : "A test needs the scope send."));
  } catch (error) {
    if (error.name === "AbortError") return;
    details.append(problem(error));
    return;
  }
  if (!may("read")) {
    main.append(h("p", { class: "dim" }, "The latest notifications need the scope read."));
  } else {
    main.append(h("section", { class: "card" },
      h("div", { class: "row between" }, h("h2", {}, "Latest notifications"), h("a", { href: `#/search${query({ customerId: id, go: 1 })}` }, "Search among them")),
      results({ customerId: id }, signal, { withCustomer: false })));
  }
}

function show({ devices, tokensOff, preferences }) {
  const code = (text) => text ? h("code", {}, text) : "–";
  const quiet = preferences.quietHours;
  const types = Object.entries(preferences.types).filter(([, wanted]) => !wanted).map(([type]) => type);
  return [
    h("section", { class: "card" }, h("h2", {}, "Devices"), table("Devices", [
      ["Device", (device) => device.deviceId ?? "(unnamed)"],
      ["Platform", (device) => device.platform],
      ["FCM token", (device) => code(device.fcmToken)],
      ["Expo token", (device) => code(device.expoPushToken)],
    ], devices, "No device that a push can go to.")),
    tokensOff.length > 0 && h("section", { class: "card" }, h("h2", {}, "Tokens that are off"), table("Tokens that are off", [
      ["Device", (off) => off.deviceId ?? "(unnamed)"],
      ["Provider", (off) => off.provider],
      ["Token", (off) => code(off.token)],
      ["Why", (off) => off.reason?.replaceAll("_", " ") ?? "not known"],
      ["Since", (off) => time(off.since), "nowrap"],
    ], tokensOff)),
    h("section", { class: "card" }, h("h2", {}, "Preferences"), facts([
      ["Wants pushes", preferences.pushEnabled ? "yes" : "no"],
      ["Not wanted", types.length > 0 ? types.join(", ") : "nothing"],
      ["Quiet hours", quiet ? `${quiet.start} to ${quiet.end}, ${quiet.timeZone}` : "none"],
      ["Language", preferences.locale],
      ["Always sent", preferences.mandatoryTypes.length > 0 ? preferences.mandatoryTypes.join(", ") : "nothing"],
    ])),
  ].filter(Boolean);
}

function test(customerId, signal) {
  const outcome = h("div", { "aria-live": "polite" });
  // A test whose answer was lost is not sent twice.
  let intent = key();
  const button = h("button", {
    class: "main", onclick: async () => {
      button.disabled = true;
      outcome.replaceChildren("Sending; waiting up to 10 seconds …");
      try {
        const answer = await post("/test", { customerId }, { signal, patience: 30_000, headers: { Prefer: "wait=10", "Idempotency-Key": intent } });
        intent = key();
        outcome.replaceChildren(h("p", { class: "row" }, tag(answer.status), answer.message, " – ",
          h("a", { href: `#/notifications/${answer.notificationId}` }, "its timeline")));
      } catch (error) {
        outcome.replaceChildren(problem(error));
      }
      button.disabled = false;
    },
  }, "Send a test");
  return h("section", { class: "card" }, h("h2", {}, "Test"), h("p", {}, "Sends “Test Push Notification” to all of these devices."), button, outcome);
}

/** A key for one intent. */
function key() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
