// How it goes: throughput, success, delivery times, queues, the providers' lanes, the books.

import { get, poll, post } from "./api.js";
import { lines } from "./chart.js";
import { ask, h, milliseconds, number, percent, problem, span, table, tag, time, toast } from "./dom.js";

const EVERY = 3_000;
/** Points of a live chart: six minutes. */
const POINTS = 120;

export const title = () => "Overview";

export function page(main, { signal, session }) {
  const may = (scope) => session.scopes.includes(scope);
  const [tiles, charts, hours, queues, lanes, wrong] = [0, 1, 2, 3, 4, 5].map(() => h("div"));
  charts.className = "grid";
  hours.className = "grid";
  main.append(wrong, tiles, charts, h("div", { class: "grid" },
    h("section", { class: "card" }, h("h2", {}, "Queues"), queues),
    h("section", { class: "card" }, h("h2", {}, "Providers"), lanes)), hours);
  const live = new Live();
  let shown = "";
  poll(EVERY, signal, async () => {
    const stats = may("read") ? await get("/stats?interval=hour", { signal }) : null;
    const [state, { books }] = await Promise.all([get("/admin/queues", { signal }), get("/admin/books", { signal })]);
    live.add(stats, state);
    tiles.replaceChildren(tilesOf(stats, books));
    charts.replaceChildren(...live.charts());
    queues.replaceChildren(queuesOf(state));
    wrong.replaceChildren(...warnings(state, books, may("read")));
    if (stats) hours.replaceChildren(...hoursOf(stats.buckets));
    // Buttons stay under the finger as long as they say the same.
    const now = JSON.stringify(state.providers.map((lane) => [lane.provider, lane.state, lane.paused, lane.workers.map((w) => [w.state, w.inFlight, w.limit])]));
    if (now !== shown && !lanes.contains(document.activeElement)) {
      lanes.replaceChildren(lanesOf(state.providers, signal, () => { shown = ""; }));
      shown = now;
    }
  });
}

function warnings({ queues, broker }, books, reads) {
  const jobs = queues.find(({ name }) => name === "push.jobs");
  const told = [
    !reads && ["warn", "This key lacks the scope read: throughput, search and timelines are not shown."],
    broker.state !== "connected" && ["bad", `RabbitMQ is ${broker.state}${broker.reason ? `: ${broker.reason}` : ""}. Notifications are accepted and wait in the database.`],
    jobs?.consumers === 0 && ["bad", "No worker consumes push.jobs: nothing is delivered."],
    books?.outOfBalance && ["bad", `The books are out of balance by ${number(books.outOfBalance)}.`],
    books?.overdue > 0 && ["warn", `${number(books.overdue)} notifications are overdue.`],
  ];
  return told.filter(Boolean).map(([kind, text]) => h("p", { class: `note ${kind}`, role: "status" }, text));
}

function tilesOf(stats, books) {
  const tile = (name, value, sub = null) => h("div", { class: "tile" }, h("dt", {}, name), h("dd", {}, value, sub && h("span", { class: "sub" }, sub)));
  const totals = stats?.totals;
  const took = totals?.deliveryTimeMs;
  return h("dl", { class: "tiles" },
    totals && tile("Accepted", number(totals.accepted), "in 24 hours"),
    totals && tile("Sent", number(totals.sent), `success ${percent(totals.successRate)}`),
    totals && tile("Failed", number(totals.failed), "in 24 hours"),
    totals && tile("Delivered within", milliseconds(took.p50), `95 %: ${milliseconds(took.p95)}, 99 %: ${milliseconds(took.p99)}`),
    books && tile("Pending", number(books.pending), `${number(books.overdue)} overdue`),
    books && tile("Dead letters", h("a", { href: "#/dead-letters?state=open" }, number(books.deadLettersOpen)), "that wait for somebody"),
    books && tile("Books", books.outOfBalance === 0 ? "balance" : `off by ${number(books.outOfBalance)}`, `${number(books.accepted)} kept in all`));
}

/** What waits for what: the names of its queues begin so. */
const QUEUES = [["jobs", "push.jobs"], ["retries", "push.retry."], ["receipts", "push.receipts"]];

/** `null` where the broker does not tell. */
function depthOf(queues, begins) {
  const depths = queues.filter(({ name, depth }) => name.startsWith(begins) && depth !== null).map(({ depth }) => depth);
  return depths.length > 0 ? depths.reduce((sum, depth) => sum + depth) : null;
}

/** What was seen since the page was opened. */
class Live {
  rates = [];
  depths = [];
  last = null;

  add(stats, { queues }) {
    const at = Date.now();
    this.depths.push([at, Object.fromEntries(QUEUES.map(([name, begins]) => [name, depthOf(queues, begins)]))]);
    if (stats) {
      const buckets = new Map(stats.buckets.map((bucket) => [bucket.from, bucket]));
      if (this.last) this.rates.push([at, this.since(buckets, at)]);
      this.last = { at, buckets };
    }
    this.rates = this.rates.slice(-POINTS);
    this.depths = this.depths.slice(-POINTS);
  }

  /** A second's worth of what was added to any hour. */
  since(buckets, at) {
    const seconds = (at - this.last.at) / 1000;
    const rate = {};
    for (const name of ["accepted", "sent", "failed"]) {
      let sum = 0;
      for (const [from, bucket] of buckets) {
        const before = this.last.buckets.get(from);
        if (before || from > [...this.last.buckets.keys()].at(-1)) sum += bucket[name] - (before?.[name] ?? 0);
      }
      rate[name] = Math.max(0, Math.round((sum / seconds) * 10) / 10);
    }
    return rate;
  }

  charts() {
    const clock = (x) => new Date(x).toISOString().slice(11, 19);
    const rate = (name) => ({ name, kind: name, points: this.rates.map(([at, rates]) => [at, rates[name]]) });
    return [
      this.rates.length > 0 && lines("Notifications a second, now", ["accepted", "sent", "failed"].map(rate), clock),
      lines("Waiting in queues, now", QUEUES.map(([name]) => ({ name, kind: name, points: this.depths.map(([at, depths]) => [at, depths[name]]) })), clock),
    ].filter(Boolean);
  }
}

function hoursOf(buckets) {
  const hour = (x) => `${new Date(x).toISOString().slice(11, 16)} UTC`;
  const of = (name, kind, value) => ({ name, kind, points: buckets.map((bucket) => [Date.parse(bucket.from), value(bucket)]) });
  return [
    lines("By the hour", ["sent", "failed", "suppressed"].map((name) => of(name, name, (bucket) => bucket[name])), hour),
    lines("Delivered within, by the hour", ["p50", "p95", "p99"].map((name) => of(name, name, (bucket) => bucket.deliveryTimeMs[name])), hour, " ms"),
  ];
}

function queuesOf({ queues, broker }) {
  return h("div", {},
    h("p", { class: "row" }, "RabbitMQ", tag(broker.state)),
    table("Queues", [
      ["Queue", (queue) => queue.name, "nowrap"],
      ["Waiting", (queue) => number(queue.depth), "num"],
      ["Oldest", (queue) => span(queue.ageSeconds), "num"],
      ["Consumers", (queue) => number(queue.consumers), "num"],
    ], queues));
}

function lanesOf(providers, signal, changed) {
  return h("div", {}, providers.map((lane) => h("div", { class: "lane" },
    h("div", { class: "row between" },
      h("h3", {}, lane.provider.toUpperCase(), " ", lane.state ? tag(lane.state) : h("span", { class: "dim" }, "no worker tells of it")),
      lever(lane, signal, changed)),
    lane.paused && h("p", { class: "dim" }, `Paused by ${lane.pausedBy ?? "somebody"} `, time(lane.pausedAt)),
    lane.workers.length > 0 && table(`Workers of ${lane.provider}`, [
      ["Worker", (worker) => worker.worker.slice(0, 8), "nowrap"],
      ["Lane", (worker) => tag(worker.state)],
      ["In flight", (worker) => `${number(worker.inFlight)} of ${number(worker.limit)}`, "num"],
    ], lane.workers))));
}

function lever(lane, signal, changed) {
  const [verb, word] = lane.paused ? ["resume", "Resume"] : ["pause", "Pause"];
  return h("button", {
    class: lane.paused ? "main" : "danger", onclick: async ({ target }) => {
      const text = lane.paused ? "What waited is sent within two minutes." : "Nothing is sent there until somebody resumes it. What waits spends no attempt.";
      if (!await ask(`${word} ${lane.provider.toUpperCase()}?`, h("p", {}, text), { yes: word, danger: !lane.paused })) return;
      target.blur();
      try {
        const answer = await post(`/admin/providers/${lane.provider}/${verb}`, null, { signal });
        toast(answer.message);
        changed();
      } catch (error) {
        target.after(problem(error));
      }
    },
  }, `${word} ${lane.provider.toUpperCase()}`);
}
