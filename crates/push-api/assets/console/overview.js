// How it goes: throughput, success, delivery times, queues, the providers' lanes, the books.

import { get, poll, post } from "./api.js";
import { lines } from "./chart.js";
import { ask, h, milliseconds, number, percent, problem, renew, span, table, tag, time, toast, update } from "./dom.js";

const EVERY = 3_000;
/** Points of a live chart: six minutes. */
const POINTS = 120;

export const title = () => "Overview";

export function page(main, { signal, session }) {
  const may = (scope) => session.scopes.includes(scope);
  const [tiles, charts, hours, queues, lanes] = [0, 1, 2, 3, 4].map(() => h("div"));
  const wrong = h("div", { role: "status" });
  charts.className = "grid";
  hours.className = "grid";
  main.append(wrong, tiles, charts, h("div", { class: "grid" },
    h("section", { class: "card" }, h("h2", {}, "Queues"), queues),
    h("section", { class: "card" }, h("h2", {}, "Providers"), lanes)), hours);
  const live = new Live();
  let known = { stats: null, state: null, books: null };
  poll(EVERY, signal, async () => {
    // Each part by itself: the books are told while the database is away.
    const [stats, state, books] = await Promise.allSettled([
      may("read") ? get("/stats?interval=hour", { signal }) : null, get("/admin/queues", { signal }), get("/admin/books", { signal }),
    ]);
    const of = ({ value }) => value ?? null;
    // What does not come this time stays as it was: the banner says that it may be old.
    known = { stats: of(stats) ?? known.stats, state: of(state) ?? known.state, books: of(books)?.books ?? known.books };
    update(tiles, [tilesOf(known.stats, known.books)]);
    update(wrong, warnings(known.state, known.books, may("read")));
    live.add(of(stats), of(state));
    charts.replaceChildren(...live.charts());
    if (of(stats)) update(hours, hoursOf(of(stats).buckets));
    if (of(state)) {
      update(queues, [queuesOf(of(state))]);
      showLanes(lanes, of(state).providers);
    }
    const failed = [stats, state, books].find(({ status }) => status === "rejected");
    if (failed) throw failed.reason;
  });
}

function warnings(state, books, reads) {
  const { queues, broker } = state ?? {};
  const jobs = queues?.find(({ name }) => name === "push.jobs");
  const told = [
    !reads && ["warn", "This key lacks the scope read: throughput, search and timelines are not shown."],
    broker && broker.state !== "connected" && ["bad", `RabbitMQ is ${broker.state}${broker.reason ? `: ${broker.reason}` : ""}. Notifications are accepted and wait in the database${broker.unpublishedAgeSeconds === null ? "" : `, the oldest for ${span(broker.unpublishedAgeSeconds)}`}.`],
    jobs?.consumers === 0 && ["bad", "No worker consumes push.jobs: nothing is delivered."],
    books?.outOfBalance && ["bad", `The books are out of balance by ${number(books.outOfBalance)}.`],
    books?.overdue > 0 && ["warn", `${number(books.overdue)} notifications are overdue.`],
  ];
  return told.filter(Boolean).map(([kind, text]) => h("p", { class: `note ${kind}` }, text));
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
    books && tile("Books", books.outOfBalance === 0 ? "balance" : `off by ${number(books.outOfBalance)}`, `${number(books.accepted)} kept in all; read ${clock(Date.parse(books.readAt))}`));
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

  add(stats, state) {
    const at = Date.now();
    const queues = state?.queues ?? [];
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
    const rate = (name) => ({ name, kind: name, points: this.rates.map(([at, rates]) => [at, rates[name]]) });
    return [
      this.rates.length > 0 && lines("Notifications a second, now", ["accepted", "sent", "failed"].map(rate), clock),
      lines("Waiting in queues, now", QUEUES.map(([name]) => ({ name, kind: name, points: this.depths.map(([at, depths]) => [at, depths[name]]) })), clock),
    ].filter(Boolean);
  }
}

/** The time of the day, UTC. */
function clock(x) {
  return new Date(x).toISOString().slice(11, 19);
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
      ...(queues.some(({ problem: why }) => why) ? [["Problem", (queue) => queue.problem, "text"]] : []),
    ], queues));
}

/** A lane each. Its button is made anew only when it says something else: it stays under the finger, and keeps the focus. */
function showLanes(place, providers) {
  for (const lane of providers) {
    let shown = place.querySelector(`[data-provider=${lane.provider}]`);
    if (!shown) {
      shown = h("div", { "data-provider": lane.provider }, h("div", { class: "row between" }, h("h3"), h("span")), h("div"), h("div"));
      place.append(shown);
    }
    const [head, wrong, more] = shown.children;
    const [name, button] = head.children;
    update(name, [lane.provider.toUpperCase(), " ", lane.state ? tag(lane.state) : h("span", { class: "dim" }, "no worker tells of it")]);
    if (button.dataset.paused !== String(lane.paused)) {
      button.dataset.paused = lane.paused;
      renew(button, [lever(lane, wrong)]);
    }
    update(more, [
      lane.paused && h("p", { class: "dim" }, `Paused by ${lane.pausedBy ?? "somebody"} `, time(lane.pausedAt)),
      lane.workers.length > 0 && table(`Workers of ${lane.provider}`, [
        ["Worker", (worker) => worker.worker.slice(0, 8), "nowrap"],
        ["Lane", (worker) => tag(worker.state)],
        ["In flight", (worker) => `${number(worker.inFlight)} of ${number(worker.limit)}`, "num"],
        ["Told", (worker) => `${span(worker.reportAgeSeconds)} ago`, "num"],
      ], lane.workers),
    ]);
  }
}

function lever(lane, wrong) {
  const [verb, word] = lane.paused ? ["resume", "Resume"] : ["pause", "Pause"];
  return h("button", {
    class: lane.paused ? "main" : "danger", onclick: async () => {
      const text = lane.paused ? "What waited is sent within two minutes." : "Nothing is sent there until somebody resumes it. What waits spends no attempt.";
      if (!await ask(`${word} ${lane.provider.toUpperCase()}?`, h("p", {}, text), { yes: word, danger: !lane.paused })) return;
      try {
        toast((await post(`/admin/providers/${lane.provider}/${verb}`)).message);
        wrong.replaceChildren();
      } catch (error) {
        wrong.replaceChildren(problem(error));
      }
    },
  }, `${word} ${lane.provider.toUpperCase()}`);
}
