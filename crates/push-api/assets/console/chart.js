// Lines over time. What they show is also told as text.

import { h, number, svg } from "./dom.js";

/** The drawing's own units; it is stretched to the room that there is. */
const WIDTH = 600, HEIGHT = 150;

/**
 * A chart. `series`: `{name, kind, points: [[x, y or null]]}`, all with the same xs; `label(x)` names a place.
 * `unit` stands behind each number.
 */
export function lines(title, series, label, unit = "") {
  const all = series.flatMap(({ points }) => points);
  const ys = all.map(([, y]) => y).filter((y) => y !== null);
  const xs = all.map(([x]) => x);
  const [left, right] = [Math.min(...xs), Math.max(...xs)];
  const top = nice(Math.max(1, ...ys));
  const x = (value) => ((value - left) / Math.max(1, right - left)) * WIDTH;
  const y = (value) => HEIGHT - (value / top) * (HEIGHT - 2) - 1;
  const grid = [0, top / 2, top].map((value) => svg("path", { class: "axis", d: `M0 ${y(value)}H${WIDTH}` }));
  const drawn = series.map(({ kind, points }) => svg("path", { class: `s-${kind}`, d: path(points, x, y) }));
  const now = ({ points }) => `${number(points.at(-1)?.[1] ?? null)}${unit}`;
  const told = series.map((one) => `${one.name} ${now(one)}`).join(", ");
  const legend = series.map((one) => h("li", {}, h("span", { class: `swatch b-${one.kind}` }), `${one.name}: ${now(one)}`));
  const ends = xs.length > 0 ? [label(left), label(right)] : ["", ""];
  return h("figure", { class: "card" },
    h("h2", {}, title),
    h("div", { class: "plot" },
      h("div", { class: "ys", "aria-hidden": "true" }, [top, top / 2, 0].map((value) => h("span", {}, short(value)))),
      svg("svg", {
        viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img",
        "aria-label": `${title}. Now: ${told}. The scale ends at ${number(top)}${unit}.`,
      }, grid, drawn),
      h("div", { class: "xs", "aria-hidden": "true" }, ends.map((end) => h("span", {}, end)))),
    h("ul", { class: "legend" }, legend));
}

function path(points, x, y) {
  let pen = "M", drawn = "";
  for (const [at, value] of points) {
    if (value === null) { pen = "M"; continue; }
    // The end of nothing: a lone point is a dot.
    drawn += `${pen}${x(at).toFixed(1)} ${y(value).toFixed(1)}${pen === "M" ? "h0" : ""}`;
    pen = "L";
  }
  return drawn;
}

/** The next number above that is easy to read. */
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
}

function short(value) {
  if (value >= 1e6) return `${value / 1e6}M`;
  return value >= 1e3 ? `${value / 1e3}k` : String(value);
}
