// The overview and the table of lanes.
import { follow } from "./live.js";
import { plot, short } from "./plot.js";

const PLOTS = { "plot-rates": ["pings", "pushes", "rejected"], "plot-latency": ["p50", "p99"], "plot-depth": ["depth"] };
const OLD_S = 30; // an older ping has waited for its fan-out, or for a lane
const root = document.getElementById("overview");
const known = { name: "5s", step: 5000, period: 300000, points: [], at: 0 };

function cell(tag, text, className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function put(id, text) {
  const found = document.getElementById(id);
  if (found && found.textContent !== text) found.textContent = text;
}

function mark(id, bad) {
  document.getElementById(id)?.classList.toggle("state-bad", bad);
}

function duration(seconds) {
  if (seconds < 120) return `${short(seconds)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

function draw(now) {
  for (const [id, fields] of Object.entries(PLOTS)) {
    const svg = document.getElementById(id);
    if (svg) plot(svg, known.points, fields, { end: now, period: known.period, step: known.step });
  }
  const body = document.querySelector("#reasons tbody");
  if (!body) return;
  const sums = new Map();
  for (const one of known.points) {
    for (const [reason, count] of Object.entries(one.reasons)) sums.set(reason, (sums.get(reason) ?? 0) + count);
  }
  const rows = [...sums].sort((a, b) => b[1] - a[1]).map(([reason, count]) => {
    const row = document.createElement("tr");
    const head = cell("th", reason, "fw-normal text-break");
    head.scope = "row";
    row.append(head, cell("td", count.toLocaleString("en"), "text-end"));
    return row;
  });
  if (!rows.length) {
    const row = document.createElement("tr");
    const none = cell("td", "None");
    none.colSpan = 2;
    row.append(none);
    rows.push(row);
  }
  body.replaceChildren(...rows);
}

const chosen = () => document.querySelector("input[name=series]:checked")?.value;

// Times are the gateway's: the clock of this computer may be wrong.
async function load(name) {
  try {
    const answer = await fetch(`/console/series/${name}`);
    if (!answer.ok) return;
    const found = await answer.json();
    if (name !== chosen()) return; // another series was chosen meanwhile
    Object.assign(known, found, { name });
    draw(known.at);
  } catch {
    // The banner shows that the gateway does not answer; the next connection loads the series again.
  }
}

function figures(state) {
  const point = state.point ?? {};
  put("now-pings", short(point.pings ?? 0));
  put("now-pushes", short(point.pushes ?? 0));
  put("now-p50", point.p50 == null ? "–" : `${short(point.p50)} ms`);
  put("now-p99", point.p99 == null ? "–" : `${short(point.p99)} ms`);
  put("now-depth", short(state.depth));
  put("now-age", duration(state.age));
  mark("now-depth", state.age > OLD_S);
  mark("now-age", state.age > OLD_S);
  put("now-scheduled", short(state.scheduled));
  put("now-waiting", short(state.waiting));
}

function lanes(rows) {
  const body = document.querySelector("#lanes tbody");
  if (!body || !rows.length) return;
  body.replaceChildren(...rows.map((lane) => {
    const row = document.createElement("tr");
    const head = cell("th", lane.name, "fw-normal text-break");
    head.scope = "row";
    if (lane.host) head.append(document.createElement("br"), cell("span", lane.host, "small text-body-secondary"));
    const state = document.createElement("td");
    if (lane.error) state.append(cell("span", lane.error, "state-bad"));
    else state.textContent = lane.throttle === "free" ? lane.link : `${lane.link}, ${lane.throttle}`;
    const breaker = document.createElement("td");
    breaker.append(cell("span", lane.breaker, lane.breaker === "closed" ? "" : "state-bad"));
    const numbers = [lane.connections ?? "–", lane.streams, lane.backlog, lane.parked];
    row.append(head, state, breaker, ...numbers.map((one) => cell("td", one.toLocaleString("en"), "text-end")));
    return row;
  }));
}

function workers(rows) {
  const body = document.querySelector("#workers tbody");
  if (!body || !rows.length) return;
  body.replaceChildren(...rows.map((one) => {
    const row = document.createElement("tr");
    const head = cell("th", one.name, "fw-normal text-break");
    head.scope = "row";
    const cpu = one.cpu === null ? "–" : `${one.cpu.toFixed(1)} %`;
    const started = `${new Date(one.started).toISOString().slice(0, 19).replace("T", " ")} UTC`;
    row.append(
      head,
      cell("td", one.version),
      cell("td", cpu, "text-end text-nowrap"),
      cell("td", `${(one.rss / 1048576).toFixed(0)} MiB`, "text-end text-nowrap"),
      cell("td", one.connections, "text-end"),
      cell("td", started, "text-end text-nowrap"),
    );
    return row;
  }));
}

function problems(found) {
  const place = document.getElementById("problems");
  const text = JSON.stringify(found);
  if (place.dataset.shown === text) return;
  place.dataset.shown = text;
  place.replaceChildren(...Object.entries(found).map(([name, about]) => {
    const box = cell("div", "", "alert alert-warning my-2 text-break");
    box.setAttribute("role", "status");
    box.append(cell("strong", name), `: ${about}`);
    return box;
  }));
}

function take(state) {
  problems(state.problems);
  if (!state.workers) return; // Redis does not answer: the last known state stays
  figures(state);
  lanes(state.lanes);
  workers(state.workers);
  if (!chosen()) return;
  if (known.name !== chosen()) {
    load(chosen()); // the first attempt has failed, or is under way
    return;
  }
  const last = known.points[known.points.length - 1];
  if (state.point && known.name === "5s" && (!last || state.point.at > last.at)) {
    known.points = [...known.points.filter((one) => one.at > state.at - known.period), state.point];
    draw(state.at);
  } else if (state.point && state.at - Math.max(last?.at ?? 0, known.at - known.step) > 1.5 * known.step) {
    load(known.name);
  }
}

for (const radio of document.querySelectorAll("input[name=series]")) {
  radio.addEventListener("change", () => load(radio.value));
}
follow(root.dataset.live, { state: take }, { onOpen: () => chosen() && load(chosen()) });
