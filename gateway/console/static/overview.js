// The overview and the table of lanes.
import { duration, instant, number, rate, size } from "./format.js";
import { follow } from "./live.js";
import { plot } from "./plot.js";

const PLOTS = { "plot-rates": ["pings", "pushes", "rejected"], "plot-latency": ["p50", "p99"], "plot-depth": ["depth"] };
const OLD_S = 30; // an older ping has waited for its fan-out, or for a lane
const SOON_S = 1209600; // a credential that expires within two weeks is marked
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

// The content of each table, by its id: rows that have not changed stay, with a selection in them.
const shown = new Map();

function fill(id, content, row) {
  const body = document.querySelector(`#${id} tbody`);
  const text = JSON.stringify(content);
  if (!body || shown.get(id) === text) return;
  shown.set(id, text);
  const rows = content.map((one) => {
    const made = document.createElement("tr");
    made.append(...row(one));
    return made;
  });
  if (!rows.length) {
    const none = document.createElement("tr");
    none.append(cell("td", body.dataset.empty));
    none.firstElementChild.colSpan = body.parentElement.tHead.rows[0].cells.length;
    rows.push(none);
  }
  body.replaceChildren(...rows);
}

function heading(text) {
  const made = cell("th", text, "fw-normal text-break");
  made.scope = "row";
  return made;
}

const amount = (value) => cell("td", number(value), "text-end");

function draw(now) {
  for (const [id, fields] of Object.entries(PLOTS)) {
    const svg = document.getElementById(id);
    if (svg) plot(svg, known.points, fields, { end: now, period: known.period, step: known.step });
  }
  const sums = new Map();
  for (const one of known.points) {
    for (const [reason, count] of Object.entries(one.reasons)) sums.set(reason, (sums.get(reason) ?? 0) + count);
  }
  const content = [...sums].sort((a, b) => b[1] - a[1]);
  fill("reasons", content, ([reason, count]) => [heading(reason), amount(count)]);
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
  const some = (value, unit = "") => (value == null ? "–" : rate(value) + unit);
  put("now-pings", some(point.pings));
  put("now-pushes", some(point.pushes));
  put("now-p50", some(point.p50, " ms"));
  put("now-p99", some(point.p99, " ms"));
  put("now-depth", number(state.depth));
  put("now-age", duration(state.age));
  mark("now-depth", state.age > OLD_S);
  mark("now-age", state.age > OLD_S);
  put("now-scheduled", number(state.scheduled));
  put("now-waiting", number(state.waiting));
}

function lane(one) {
  const head = heading(one.name);
  if (one.host) head.append(document.createElement("br"), cell("span", one.host, "small text-body-secondary"));
  const state = cell("td", "", "text-break");
  if (one.error) state.append(cell("span", one.error, "state-bad"));
  else state.textContent = one.throttle === "free" ? one.link : `${one.link}, ${one.throttle}`;
  const breaker = document.createElement("td");
  breaker.append(cell("span", one.breaker, one.breaker === "closed" ? "" : "state-bad"));
  const connections = one.connections === null ? cell("td", "–", "text-end") : amount(one.connections);
  return [head, state, breaker, connections, amount(one.in_flight), amount(one.backlog), amount(one.parked)];
}

function credential(one) {
  const time = document.createElement("td");
  time.className = "text-end";
  time.append(cell("span", one.seconds > 0 ? duration(one.seconds) : "expired", one.seconds < SOON_S ? "state-bad" : ""));
  return [heading(one.app || "all apps"), cell("td", one.provider), time];
}

function worker(one) {
  return [
    heading(one.name),
    cell("td", one.version),
    cell("td", one.cpu === null ? "–" : `${one.cpu.toFixed(1)} %`, "text-end text-nowrap"),
    cell("td", size(one.rss), "text-end text-nowrap"),
    amount(one.connections),
    cell("td", instant(one.started), "text-end text-nowrap"),
  ];
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
  fill("lanes", state.lanes, lane);
  fill("credentials", state.credentials, credential);
  fill("workers", state.workers, worker);
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
