// What is done with many dead letters, or with all that a customer has: how far it is, and stopping it.

import { get, poll, post } from "./api.js";
import { ask, facts, h, number, problem, renew, span, table, tag, time, toast, update } from "./dom.js";

export const title = (place) => place ? "Operation" : "Operations";

const EVERY = 2_000;

export function page(main, { signal, place: id }) {
  if (id) one(main, id, signal);
  else all(main, signal);
}

function all(main, signal) {
  const list = h("div", {}, h("p", { class: "dim" }, "Looking …"));
  main.append(list);
  poll(EVERY, signal, async () => {
    const { items } = await get("/admin/operations?limit=200", { signal });
    update(list, table("Operations", [
      ["Started", (item) => time(item.createdAt), "nowrap"],
      ["What", (item) => h("a", { href: `#/operations/${item.operationId}` }, item.kind.replaceAll("_", " "))],
      ["By", (item) => item.createdBy],
      ["State", (item) => tag(item.state)],
      ["Done", (item) => `${number(item.done)} of ${number(item.total)}`, "num"],
      ["Failed", (item) => number(item.failed), "num"],
    ], items, "There was no operation."));
  });
}

function one(main, id, signal) {
  const bar = h("progress", { max: 1, value: 0, "aria-label": "Progress" });
  const told = h("p", {}, "Looking …");
  const ended = h("p", { class: "visually-hidden", role: "status" });
  const [stop, wrong] = [h("div"), h("div")];
  const details = h("div");
  main.append(h("section", { class: "card" }, bar, told, ended, stop, wrong), h("section", { class: "card" }, details));
  const over = new AbortController();
  signal.addEventListener("abort", () => over.abort());
  let cancellable = false;
  poll(EVERY, over.signal, async () => {
    const found = await get(`/admin/operations/${encodeURIComponent(id)}`, { signal: over.signal });
    const handled = found.done + found.failed;
    bar.max = Math.max(1, found.total);
    bar.value = found.state === "done" ? bar.max : handled;
    const text = `${number(handled)} of ${number(found.total)}, ${found.state}${found.waiting > 0 ? `, ${number(found.waiting)} wait for another replay` : ""}`;
    if (told.textContent !== text) told.textContent = text;
    const running = found.state === "running" && found.kind !== "erase_customer";
    if (running !== cancellable) renew(stop, running ? [cancel(id, wrong)] : []);
    cancellable = running;
    const failures = Object.entries(found.failures).map(([why, count]) => `${number(count)} ${why.replaceAll("_", " ")}`);
    const filter = Object.entries(found.filter).filter(([, value]) => value !== null).map(([name, value]) => `${name} ${value}`);
    update(details, facts([
      ["What", found.kind.replaceAll("_", " ")],
      ["State", tag(found.state)],
      ["Done", number(found.done)],
      ["Failed", failures.length > 0 ? failures.join(", ") : number(found.failed)],
      ["Which", filter.length > 0 ? filter.join(", ") : "all that were open"],
      ["At most", `${number(found.perSecond)} a second`],
      ["To live from then on", found.extendTtlSeconds ? span(found.extendTtlSeconds) : undefined],
      ["Reason", found.reason ?? undefined],
      ["By", found.createdBy],
      ["Started", time(found.createdAt)],
      ["Ended", time(found.finishedAt)],
    ]));
    if (found.state !== "running") {
      ended.textContent = text;
      over.abort();
    }
  });
}

/** `wrong`: where it is told what went wrong; the button goes when the operation ends. */
function cancel(id, wrong) {
  return h("button", {
    class: "danger", onclick: async () => {
      if (!await ask("Stop this operation?", h("p", {}, "What is done stays done."), { yes: "Stop it", danger: true })) return;
      try {
        toast((await post(`/admin/operations/${id}/cancel`)).message);
      } catch (error) {
        wrong.replaceChildren(problem(error));
      }
    },
  }, "Stop");
}
