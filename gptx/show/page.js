"use strict";
// Draws the panels of #data with Plotly. What is shown is in `state`; every control changes it and draws again.

const DASHES = ["solid", "6px,3px", "2px,2px", "8px,3px,2px,3px", "12px,4px", "4px,2px,1px,2px,1px,2px"];
const MARKERS = ["circle", "square", "diamond", "triangle-up", "x", "cross", "star", "triangle-down"];
const UNITS = { updates: "update", tokens: "tokens", FLOPs: "FLOPs", time: "minutes in updates" };
const state = { x: "updates", key: (page.keys || [""])[0], smooth: page.smooth, log: {}, hidden: [] };
const drawn = new Set();

// Updates as tokens, FLOPs or time, by the clock of the arm: straight lines between the points that were noted.
function across(curve) {
  const clock = page.clocks[curve.arm];
  if (state.x === "updates") return curve.x;
  const to = state.x === "time" ? clock.minutes : clock.tokens;
  const scale = state.x === "FLOPs" ? clock.flops_per_token : 1;
  if (!to.length || !scale) return curve.x.map(() => null);
  return curve.x.map((step) => {
    let i = 1;
    while (i < clock.steps.length - 1 && clock.steps[i] < step) i++;
    const share = (step - clock.steps[i - 1]) / (clock.steps[i] - clock.steps[i - 1]);
    return scale * (to[i - 1] + share * (to[i] - to[i - 1]));
  });
}

// The mean of the last values, as many as make up `window` updates; none where the value itself is none.
function smoothed(values, window) {
  return values.map((value, i) => {
    if (value === null) return null;
    const last = values.slice(Math.max(0, i - window + 1), i + 1).filter((value) => value !== null);
    return last.length ? last.reduce((a, b) => a + b, 0) / last.length : null;
  });
}

const shows = (curve) => (!curve.key || curve.key === state.key) && !state.hidden.includes(curve.arm);

function traces(panel) {
  const curves = panel.curves.filter(shows);
  const crowded = curves.filter((curve) => curve.low).length > 6;
  return curves.flatMap((curve) => {
    const ink = colour(curve.look), x = across(curve), found = [];
    const base = { x, name: curve.name, legendgroup: curve.name, mode: "lines", showlegend: false, meta: curve.arm };
    const window = curve.width ? Math.max(1, Math.round(state.smooth / curve.width)) : 1;
    if (curve.low && !crowded) {
      const edge = { ...base, hoverinfo: "skip", line: { width: 0, color: ink } };
      found.push({ ...edge, y: curve.low }, { ...edge, y: curve.high, fill: "tonexty", fillcolor: pale(ink, 0.16) });
    } else if (window > 1 && !page.legend) {
      found.push({ ...base, y: curve.y, hoverinfo: "skip", line: { width: 1, color: pale(ink, 0.3) } });
    }
    const line = { color: ink, width: 2, dash: DASHES[curve.look % DASHES.length] };
    const looks = {
      line: { line },
      dots: { line, mode: "lines+markers", marker: { symbol: MARKERS[curve.look % MARKERS.length], size: 7 } },
      faint: { line: { color: pale(ink, 0.35), width: 1 } },
      dashed: { line: { color: ink, width: 1.5, dash: "7px,4px" } },
      abandoned: { line: { color: ink, width: 1.5, dash: "3px,3px" }, mode: "lines+markers",
        marker: { symbol: "x-thin", size: curve.x.map((_, i) => (i === curve.x.length - 1 ? 9 : 0)), line: { width: 2, color: ink } } },
      incidents: { mode: "markers", text: curve.texts, marker: { symbol: "x-thin", size: 9, line: { width: 2, color: ink } },
        hovertemplate: "%{text}<extra></extra>" },
    };
    const named = curve.name && !page.legend;
    found.push({ ...base, y: window > 1 ? smoothed(curve.y, window) : curve.y, opacity: curve.alpha || 1,
      showlegend: Boolean(named), ...looks[curve.style] });
    return found;
  });
}

function layout(logarithmic, title, lowest) {
  return {
    ...frame(), uirevision: `${state.x}${state.key}${logarithmic}`,
    xaxis: { ...axis(), title: heading(title), rangemode: "tozero" },
    yaxis: { ...axis(), type: logarithmic ? "log" : "linear", dtick: undefined, exponentformat: logarithmic ? "power" : "SI", range: lowest },
  };
}

// Whether an axis is logarithmic: as asked, else where the panel wants it and the values span enough.
function logarithmic(panel) {
  if (panel.group in state.log) return state.log[panel.group];
  const values = panel.curves.flatMap((curve) => curve.y).filter((value) => value > 0);
  return panel.log && values.reduce((a, b) => Math.max(a, b), 0) > 15 * values.reduce((a, b) => Math.min(a, b), Infinity);
}

// Panels of a group have the same axis: from the lowest to the highest value that any of them shows.
function limits(panel, log) {
  if (panel.group !== "main" || page.panels.filter((other) => other.group === "main").length < 2) return undefined;
  let low = Infinity, high = -Infinity;
  for (const trace of page.panels.filter((other) => other.group === "main").flatMap(traces)) {
    for (const value of trace.y) {
      if (value === null || (log && value <= 0)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  if (low > high) return undefined;
  if (log) [low, high] = [Math.log10(low), Math.log10(high)];
  const room = 0.04 * (high - low || 1);
  return [low - room, high + room];
}

function draw(place) {
  if (place.dataset.finals) return drawFinals(place);
  const panel = page.panels[place.dataset.panel], log = logarithmic(panel);
  press(panel.group, log);
  Plotly.react(place, traces(panel), layout(log, UNITS[state.x], limits(panel, log)), CONFIG);
}

// The button of a logarithmic axis as the axis is.
function press(group, log) {
  document.querySelector(`.log[data-group="${group}"]`)?.setAttribute("aria-pressed", log);
}

function drawFinals(place) {
  const found = page.finals, all = [], log = Boolean(state.log.finals);
  for (const line of found.lines) {
    const points = line.points.filter((point) => !state.hidden.includes(point.arm)), ink = colour(line.look);
    const whole = points.filter((point) => point.mean !== null);
    const off = (ends) => whole.map((point) => ends(...point.values) - point.mean).map(Math.abs);
    all.push({
      x: whole.map((point) => point.x), y: whole.map((point) => point.mean), name: line.name, mode: "lines+markers",
      line: { color: ink, width: 2.5, dash: DASHES[line.look % DASHES.length] }, marker: { symbol: MARKERS[line.look % MARKERS.length], size: 9 },
      error_y: { type: "data", symmetric: false, array: off(Math.max), arrayminus: off(Math.min), color: ink, thickness: 1.5, width: 5 },
      text: whole.map((point) => `${point.values.length} of ${point.runs} runs: ${point.values.join(", ")}`),
      hovertemplate: "%{x}: %{y}<br>%{text}<extra>%{fullData.name}</extra>",
    });
  }
  const xs = found.lines.flatMap((line) => line.points.map((point) => point.x)), positive = xs.every((x) => x > 0);
  const shape = layout(log, found.title, undefined);
  const levels = [...new Set(xs)].sort((a, b) => a - b);
  shape.xaxis = { ...shape.xaxis, rangemode: "normal", type: positive && Math.max(...xs) > 8 * Math.min(...xs) ? "log" : "linear",
    ...(levels.length <= 10 && { tickvals: levels, ticktext: levels.map(String) }) };
  shape.uirevision = `finals${log}`;
  press("finals", log);
  Plotly.react(place, all, shape, CONFIG);
}

const redraw = () => drawn.forEach(draw);

function remember() {
  const named = { ...state, hidden: state.hidden.map((arm) => page.arms[arm]) };  // a renewed page may have more arms
  try { sessionStorage.setItem(location.pathname, JSON.stringify(named)); } catch { /* a browser may refuse */ }
}

function change(values) {
  Object.assign(state, values);
  remember();
  show();
  redraw();
}

// The controls as the state has them.
function show() {
  for (const control of find("[data-set]")) control.value = state[control.dataset.set];
  for (const button of find(".arm")) {
    const arms = JSON.parse(button.dataset.arms);
    button.setAttribute("aria-pressed", arms.some((arm) => !state.hidden.includes(arm)));
  }
}

// A click hides or shows; a double click leaves that one alone, or brings back all.
function toggle(button, alone) {
  const arms = JSON.parse(button.dataset.arms), rest = page.arms.map((_, i) => i).filter((arm) => !arms.includes(arm));
  const hidden = state.hidden;
  if (alone) return change({ hidden: rest.every((arm) => hidden.includes(arm)) ? [] : rest });
  const away = arms.every((arm) => hidden.includes(arm));
  change({ hidden: away ? hidden.filter((arm) => !arms.includes(arm)) : [...new Set([...hidden, ...arms])] });
}

// Listed values in brackets, as in adamw (betas 0.9, 0.95; eps 1e-08), without those that both have.
function apart(one, other) {
  const parts = (text) => { const found = /^(.*?) \((.*)\)$/s.exec(text); return found ? [found[1], found[2].split("; ")] : [text, []]; };
  const [[name, mine], [, theirs]] = [parts(one), parts(other)];
  const left = mine.filter((value) => !theirs.includes(value));
  return left.length ? `${name} (${left.join("; ")})` : name;
}

function compare() {
  const [a, b] = ["a", "b"].map((side) => page.facts[document.getElementById(`diff-${side}`).value]);
  const keys = [...new Set([...Object.keys(a), ...Object.keys(b)])].filter((key) => a[key] !== b[key]);
  const table = document.getElementById("diff");
  table.replaceChildren(...keys.map((key) => {
    const row = document.createElement("tr");
    const cells = [["th", key], ["td", apart(a[key] || "", b[key] || "") || "-"], ["td", apart(b[key] || "", a[key] || "") || "-"]];
    row.append(...cells.map(([tag, text]) => Object.assign(document.createElement(tag), { textContent: text })));
    return row;
  }));
  document.getElementById("alike").hidden = keys.length > 0;
}

function start() {
  try { Object.assign(state, JSON.parse(sessionStorage.getItem(location.pathname)) || {}); } catch { /* as above */ }
  state.hidden = state.hidden.map((name) => page.arms.indexOf(name)).filter((arm) => arm >= 0);
  for (const control of find("[data-set]")) {
    const number = control.dataset.set === "smooth";
    control.addEventListener("change", () => change({ [control.dataset.set]: number ? Number(control.value) : control.value }));
  }
  for (const button of find(".arm")) {
    button.addEventListener("click", () => toggle(button, false));
    button.addEventListener("dblclick", () => toggle(button, true));
  }
  for (const button of find(".log")) {
    button.addEventListener("click", () => change({ log: { ...state.log, [button.dataset.group]: button.getAttribute("aria-pressed") !== "true" } }));
  }
  for (const menu of find("#diff-a, #diff-b")) menu.addEventListener("change", compare);
  if (page.facts) compare();
  show();
  const seen = new IntersectionObserver((entries) => {
    for (const { target } of entries.filter((entry) => entry.isIntersecting)) {
      seen.unobserve(target);
      drawn.add(target);
      draw(target);
    }
  }, { rootMargin: "600px" });
  find(".plot").forEach((place) => seen.observe(place));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  if (page.renew) setTimeout(() => location.reload(), 1000 * page.renew);
}

start();
