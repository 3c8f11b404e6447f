// Line plots as SVG. Everything is an attribute or a class, since the page allows no inline style.

const DAY_MS = 86400000;
const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [480, 160, 44, 18, 8];

function element(name, attributes, text = "") {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

function short(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 1e6) return `${(value / 1e6).toFixed(1)} M`;
  if (value >= 1e4) return `${(value / 1e3).toFixed(0)} k`;
  return value >= 100 || Number.isInteger(value) ? value.toFixed(0) : value.toFixed(1);
}

// The smallest of 1, 2, 5, 10, 20, ... that is not below the value.
function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 5, 10].map((one) => one * power).find((one) => one >= value);
}

function clock(ms) {
  return new Date(ms).toISOString().slice(11, 16);
}

// The begin of a period. That of a long one has its date: it may have the same time of day as the end.
function begin(ms, period) {
  return period < DAY_MS ? clock(ms) : `${new Date(ms).toISOString().slice(0, 10)} ${clock(ms)}`;
}

// Draw the `fields` of `points` over the period that ends at `end`.
export function plot(svg, points, fields, { end, period, step }) {
  const top = ceiling(Math.max(0, ...points.flatMap((one) => fields.map((field) => one[field] ?? 0))));
  const x = (at) => LEFT + ((at - end + period) / period) * (WIDTH - LEFT);
  const y = (value) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - BOTTOM - TOP);
  const drawn = [
    element("line", { class: "axis", x1: LEFT, y1: y(0), x2: WIDTH, y2: y(0) }),
    element("line", { class: "axis", x1: LEFT, y1: y(top / 2), x2: WIDTH, y2: y(top / 2) }),
    element("line", { class: "axis", x1: LEFT, y1: y(top), x2: WIDTH, y2: y(top) }),
    element("text", { x: LEFT - 6, y: y(0), "text-anchor": "end" }, "0"),
    element("text", { x: LEFT - 6, y: y(top / 2) + 5, "text-anchor": "end" }, short(top / 2)),
    element("text", { x: LEFT - 6, y: y(top) + 8, "text-anchor": "end" }, short(top)),
    element("text", { x: LEFT, y: HEIGHT - 3 }, begin(end - period, period)),
    element("text", { x: WIDTH, y: HEIGHT - 3, "text-anchor": "end" }, `${clock(end)} UTC`),
  ];
  fields.forEach((field, index) => {
    const runs = []; // of neighbouring samples
    let before = null;
    for (const one of points) {
      if (one.at < end - period || one[field] === null) {
        before = null;
        continue;
      }
      // A gap of more than two samples is not bridged.
      const joins = before !== null && one.at - before <= 2.5 * step;
      if (!joins) runs.push([]);
      runs[runs.length - 1].push([x(one.at).toFixed(1), y(one[field]).toFixed(1)]);
      before = one.at;
    }
    const path = runs.map((run) => `M${run.map((place) => place.join(" ")).join("L")}`).join("");
    drawn.push(element("path", { class: `line line-${index + 1}`, d: path }));
    // A sample without neighbours, as that of a rare ping, is no line.
    for (const [[cx, cy], ...others] of runs) {
      if (!others.length) drawn.push(element("circle", { class: `line-${index + 1}`, cx, cy, r: 1.5 }));
    }
  });
  svg.replaceChildren(...drawn);
  const last = points[points.length - 1];
  const label = svg.closest("figure").querySelector("figcaption").textContent;
  const values = last ? fields.map((field) => `${field} ${short(last[field])}`).join(", ") : "no data";
  svg.setAttribute("aria-label", `${label}; newest values: ${values}`);
}
