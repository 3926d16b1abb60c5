"use strict";
// Draws the figures of #data, which Python made with Plotly, as the controls of the page say. What `meta` says of a
// trace: `arm`, its place in page.arms; `key`, the choice in the menu with which it is shown;
// `low` and `high`, a band; `width`, how many steps a point stands for if it may be smoothed; `raw`, if those stay visible.

const COARSE = matchMedia("(pointer: coarse)").matches, PHONE = matchMedia("(max-width: 639px)").matches;
const CONFIG = {
  displaylogo: false, responsive: true, doubleClick: "reset+autosize", displayModeBar: COARSE ? false : "hover",
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]], toImageButtonOptions: { format: "svg" },
};
const find = (selector) => [...document.querySelectorAll(selector)];
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const source = document.getElementById("data").textContent;
const read = () => JSON.parse(source.replace(/var\((--\w+)\)/g, (_, name) => css(name)));  // colours, light or dark

let page = read();
const state = { x: "steps", key: page.key, smooth: page.smooth, log: {}, hidden: [], parts: {} };  // hidden: names of arms; parts: open?
const drawn = new Set();
const hides = (arm) => state.hidden.includes(page.arms?.[arm]);

// Steps as tokens, FLOPs or minutes, by the clock of the arm: straight lines between the points that it has.
function across({ x, meta }) {
  const { steps, [state.x]: to } = page.clocks?.[meta?.arm] || {};
  return state.x === "steps" || !to ? x : x.map((step) => {
    const i = Math.min(Math.max(steps.findLastIndex((at) => at < step), 0), steps.length - 2);
    return to[i] + (to[i + 1] - to[i]) * (step - steps[i]) / (steps[i + 1] - steps[i]);
  });
}

// The mean of the `window` values around each, as gptx.show.plots has it; none where the value itself is none.
function smoothed(values, window) {
  return values.map((value, i) => {
    const near = values.slice(i - Math.min(i, (window - 1) >> 1), i + Math.min(i, window >> 1) + 1).filter((each) => each !== null);
    return value === null ? null : near.reduce((a, b) => a + b) / near.length;
  });
}

// What a figure shows now, with a band or the raw values behind a line.
function traces(figure) {
  const shown = figure.data.filter(({ meta }) => (!meta?.key || meta.key === state.key) && !hides(meta?.arm));
  const crowded = shown.filter(({ meta }) => meta?.low).length > 6;
  return shown.flatMap((trace) => {
    const { low, high, width, raw } = trace.meta || {}, x = across(trace), back = [];
    const window = width ? Math.max(1, Math.round(state.smooth / width)) : 1;
    const behind = { ...trace, x, mode: "lines", hoverinfo: "skip", hovertemplate: null, showlegend: false };
    const edge = { ...behind, line: { width: 0 }, fillcolor: `${trace.line?.color}29` };
    if (low && !crowded) back.push({ ...edge, y: low }, { ...edge, y: high, fill: "tonexty" });
    else if (raw && window > 1) back.push({ ...behind, line: { ...trace.line, width: 1 }, opacity: 0.3 });
    return [...back, { ...trace, x, y: smoothed(trace.y, window) }];
  });
}

// Figures of a group have the same axis: from the lowest to the highest value that any of them shows.
function limits(group, log) {
  const together = page.figures.filter((figure) => figure.layout.meta?.group === group);
  const values = together.flatMap(traces).flatMap((trace) => trace.y).filter((y) => y !== null && (!log || y > 0));
  if (together.length < 2 || !values.length) return undefined;
  const [low, high] = [Math.min, Math.max].map((end) => values.reduce((a, b) => end(a, b))).map(log ? Math.log10 : Number);
  const room = 0.04 * (high - low || 1);
  return [low - room, high + room];
}

function draw(place) {
  const figure = page.figures[place.dataset.figure], { xaxis, yaxis, meta, ...layout } = figure.layout;
  const log = state.log[meta?.group] ?? yaxis.type === "log";
  find(`.log[data-group="${meta?.group}"]`).forEach((button) => button.setAttribute("aria-pressed", log));
  Plotly.react(place, traces(figure), {
    ...layout, dragmode: COARSE ? false : "zoom", uirevision: `${state.x}${state.key}${log}`,
    xaxis: { title: { text: state.x }, ...xaxis },
    yaxis: { range: limits(meta?.group, log), exponentformat: log ? "power" : "SI", nticks: log ? 3 : 0, ...yaxis, type: log ? "log" : "linear" },
  }, CONFIG);
}

function change(values) {
  Object.assign(state, values);
  try { sessionStorage.setItem(location.pathname, JSON.stringify(state)); } catch { /* a browser may refuse */ }
  show();
  drawn.forEach(draw);
}

function show() {
  find("[data-set]").forEach((menu) => { menu.value = state[menu.dataset.set]; });
  find("[data-key]").forEach((part) => { part.hidden = part.dataset.key !== state.key; });
  find(".arm").forEach((button) => button.setAttribute("aria-pressed", !JSON.parse(button.dataset.arms).every(hides)));
}

// A click hides or shows the arms of a button; a double click shows them alone, or brings back all.
function toggle(button, alone) {
  const names = JSON.parse(button.dataset.arms).map((arm) => page.arms[arm]), others = page.arms.filter((name) => !names.includes(name));
  const away = (list) => list.every((name) => state.hidden.includes(name));
  if (alone) change({ hidden: away(others) ? [] : others });
  else change({ hidden: away(names) ? state.hidden.filter((name) => !names.includes(name)) : [...state.hidden, ...names] });
}

try { Object.assign(state, JSON.parse(sessionStorage.getItem(location.pathname))); } catch { /* as above */ }
find("[data-set]").forEach((menu) => menu.addEventListener("change", () => change({ [menu.dataset.set]: menu.value })));
find(".arm").forEach((button) => ["click", "dblclick"].forEach((kind) => button.addEventListener(kind, () => toggle(button, kind === "dblclick"))));
find(".log").forEach((button) => button.addEventListener("click", () =>
  change({ log: { ...state.log, [button.dataset.group]: button.getAttribute("aria-pressed") !== "true" } })));
find("[data-part]").forEach((part) => { part.open = state.parts[part.dataset.part] ?? (part.open && !PHONE); });
find("[data-part]").forEach((part) => part.addEventListener("toggle", () => change({ parts: { ...state.parts, [part.dataset.part]: part.open } })));
show();
const seen = new IntersectionObserver((entries) => entries.filter((entry) => entry.isIntersecting).forEach(({ target }) => {
  seen.unobserve(target);
  drawn.add(target);
  draw(target);
}), { rootMargin: "600px" });
find(".plot").forEach((place) => seen.observe(place));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { page = read(); drawn.forEach(draw); });
if (page.renew) setTimeout(() => location.reload(), 1000 * page.renew);
