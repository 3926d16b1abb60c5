"use strict";
// Draws the chart of the law that is chosen, over operations and over parameters.

const page = JSON.parse(document.getElementById("data").textContent);
const COARSE = matchMedia("(pointer: coarse)").matches;

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const colour = (look) => css(`--curve${look % 8}`);
const pale = (hex, alpha) => `rgba(${[1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)).join(",")},${alpha})`;
const find = (selector) => [...document.querySelectorAll(selector)];

const axis = () => ({ gridcolor: css("--line"), zeroline: false, linecolor: css("--muted"), automargin: true, exponentformat: "SI" });
const heading = (text) => ({ text, font: { size: 11, color: css("--muted") }, standoff: 6 });

function frame() {
  const ink = css("--ink");
  return {
    margin: { l: 46, r: 8, t: 6, b: 38 }, height: undefined, autosize: true, hovermode: "closest", dragmode: COARSE ? false : "zoom",
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink, size: 12, family: "system-ui, sans-serif" },
    hoverlabel: { namelength: -1 }, modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--muted"), activecolor: ink },
    legend: { orientation: "h", y: 1, yanchor: "bottom", x: 0, font: { size: 11 } },
  };
}

const CONFIG = {
  displaylogo: false, responsive: true, doubleClick: "reset+autosize", displayModeBar: COARSE ? false : "hover",
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]], toImageButtonOptions: { format: "svg" },
};

const state = { law: 0 };
const DASHED = "6px,4px", DOTTED = "2px,2px";
const mine = () => css("--curve1"), ruled = () => css("--curve4"), measured = () => css("--curve2");

// The colour of rung i of n, from that of the smallest size or budget to that of the largest.
function rung(i, n) {
  const [from, to] = ["--curve6", "--curve3"].map((name) => [1, 3, 5].map((at) => parseInt(css(name).slice(at, at + 2), 16)));
  return `#${from.map((value, k) => Math.round(value + (to[k] - value) * i / Math.max(1, n - 1)).toString(16).padStart(2, "0")).join("")}`;
}

const lines = (line, across, look) => ({ x: line[across], y: line.loss, text: line.texts, mode: "lines", hovertemplate: "%{text}<extra></extra>", line: look });
const dots = (found, across, marker) => ({
  x: found.map((dot) => dot[across]), y: found.map((dot) => dot.loss), text: found.map((dot) => dot.text), mode: "markers",
  hovertemplate: "%{text}<extra></extra>", marker, cliponaxis: false,
});
const label = (text, x, y, color, more) => ({ text, x: Math.log10(x), y: Math.log10(y), font: { size: 11, color }, showarrow: false, borderpad: 0, ...more });
const aside = (right) => ({ xanchor: right ? "left" : "right", align: right ? "left" : "right", xshift: right ? 7 : -7 });

// The lowest loss of every budget, dashed beyond what the law was fitted to, with its band over operations.
function envelope(chart, across) {
  return chart.best.flatMap((part) => {
    const band = across === "flops" && part.low.length ? ["low", "high"].map((end) => ({
      x: part.flops, y: part[end], mode: "lines", line: { width: 0 }, hoverinfo: "skip", fillcolor: pale(css("--ink"), 0.14), ...(end === "high" && { fill: "tonexty" }),
    })) : [];
    return [...band, { ...lines(part, across, { color: css("--ink"), width: 2.5, dash: part.beyond ? DASHED : "solid" }), name: "best size" }];
  });
}

const diamond = () => ({ symbol: "diamond", size: 12, color: mine(), line: { width: 1.5, color: css("--card") } });
const ring = () => ({ symbol: "circle", size: 9, color: css("--card"), line: { width: 2, color: css("--ink") } });

// Measured runs, each joined with the loss that the law expects of it.
function runs(chart, across) {
  const stems = chart.runs.map((run) => ({ x: [run[across], run[across]], y: [run.loss, run.expected], mode: "lines", hoverinfo: "skip", line: { color: measured(), width: 1.5 } }));
  return [...stems, { ...dots(chart.runs, across, { symbol: "square", size: 9, color: measured(), line: { width: 1, color: css("--card") } }), name: "runs" }];
}

const known = (chart, across) => ({ ...dots(chart.known, across, ring()), name: "known" });

// Where a number stands between two, on a logarithmic axis.
const share = (value, [low, high]) => Math.log(value / low) / Math.log(high / low);

function overOperations(chart, width, height) {
  const n = chart.sizes.length, asked = chart.budgets.filter((budget) => budget.asked).map((budget) => budget.least);
  const traces = [
    ...chart.sizes.map((size, i) => ({ ...lines(size, "flops", { color: rung(i, n), width: 1.5 }), name: size.name })),
    ...asked.map((least) => ({ x: [least.flops, least.flops], y: chart.ends.loss, mode: "lines", hoverinfo: "skip", line: { color: mine(), width: 1.5 } })),
    ...envelope(chart, "flops"),
    dots(chart.sizes.flatMap((size) => size.touch || []), "flops", { size: 6, color: chart.sizes.flatMap((size, i) => (size.touch ? rung(i, n) : [])) }),
    known(chart, "flops"), ...runs(chart, "flops"), { ...dots(asked, "flops", diamond()), name: "budget" },
  ];
  let free = -Infinity;  // the names at the top that do not run into the one before
  const top = chart.sizes.map((size, i) => [size, i]).filter(([size]) => {
    const middle = share(size.flops[0], chart.ends.flops) * width, half = 3.2 * size.name.length + 2;
    const fits = size.topped && middle - half > free;
    if (fits) free = middle + half;
    return fits;
  });
  const annotations = [
    ...top.map(([size, i]) => label(size.name, size.flops[0], chart.ends.loss[1], rung(i, n), { yanchor: "bottom" })),
    ...chart.column.map((found) => ({  // plotly hides what points beyond the axis, be it by a rounding
      text: found.name, font: { size: 11, color: found.rung === null ? css("--ink") : rung(found.rung, n) }, showarrow: true, arrowhead: 0, arrowwidth: 1,
      arrowcolor: css("--muted"), standoff: 5, x: Math.log10(Math.min(found.flops, chart.ends.flops[1])), y: Math.log10(found.loss), xanchor: "left",
      ax: (1.02 - share(found.flops, chart.ends.flops)) * width, ay: (share(found.loss, chart.ends.loss) - found.up) * height,
    })),
    ...asked.map((least) => label(`<b>${chart.asked}</b>`, least.flops, chart.ends.loss[0], mine(), { yanchor: "bottom", yshift: 4, ...aside(share(least.flops, chart.ends.flops) < 0.5) })),
    ...chart.beyond.filter((part) => share(part[1], chart.ends.flops) - share(part[0], chart.ends.flops) > 0.2).map(([low, high]) =>
      label("beyond the fit", Math.sqrt(low * high), chart.ends.loss[1], css("--muted"), { yanchor: "top" })),
  ];
  const shapes = [
    ...chart.beyond.map(([x0, x1]) => ({ type: "rect", xref: "x", yref: "paper", x0, x1, y0: 0, y1: 1, fillcolor: pale(css("--muted"), 0.1), line: { width: 0 }, layer: "below" })),
  ];
  return { traces, annotations, shapes };
}

function overParameters(chart, width) {
  const n = chart.budgets.length, looks = chart.budgets.map((budget, i) => (budget.asked ? mine() : rung(i, n)));
  const spread = ({ spread, least }, i) => ({ x: spread, y: [least.loss, least.loss], mode: "lines", hoverinfo: "skip", line: { color: pale(looks[i], 0.35), width: 7 } });
  const other = chart.budgets.filter((budget) => !budget.asked), asked = chart.budgets.filter((budget) => budget.asked);
  const traces = [
    ...chart.budgets.map((budget, i) => ({ ...lines(budget, "parameters", { color: looks[i], width: budget.asked ? 2.5 : 1.5, dash: budget.beyond ? DASHED : "solid" }), name: budget.name })),
    ...chart.budgets.flatMap((budget, i) => (budget.spread ? spread(budget, i) : [])),
    ...envelope(chart, "parameters"),
    { ...lines(chart.rule, "parameters", { color: ruled(), width: 2, dash: DOTTED }), name: "rule" },
    dots(other.map((budget) => budget.least), "parameters", { size: 6, color: looks.filter((_, i) => !chart.budgets[i].asked) }),
    known(chart, "parameters"), ...runs(chart, "parameters"), { ...dots(asked.map((budget) => budget.least), "parameters", diamond()), name: "budget" },
  ];
  const annotations = [
    ...chart.signs.map((sign, i) => label(sign.name, sign.parameters, sign.loss, i ? ruled() : css("--ink"), aside(sign.side > 0))),
    ...chart.budgets.map((budget, i) => label(budget.name, budget.parameters.at(-1), budget.loss.at(-1), looks[i], { xanchor: "left", xshift: 3 })),
    ...(width < 400 ? [] : chart.named).map((dot) => label(dot.name, dot.parameters, dot.loss, css("--ink"), dot.side ? aside(dot.side > 0) : { yanchor: "top", yshift: -5 })),
  ];
  return { traces, annotations, shapes: [] };
}

function draw(place) {
  const chart = page.charts[state.law], across = place.dataset.across, narrow = place.clientWidth < 480;
  const longest = across === "flops" ? Math.max(0, ...chart.column.map((found) => found.name.length)) : 4;
  const margin = { l: 50, r: Math.min(14 + 6.5 * longest, 0.36 * place.clientWidth), t: 22, b: 40 };
  const room = [place.clientWidth - margin.l - margin.r, place.clientHeight - margin.t - margin.b];
  const { traces, annotations, shapes } = (across === "flops" ? overOperations : overParameters)(chart, ...room);
  const range = (ends) => ends.map(Math.log10), ticks = chart.ticks[across], kept = (_, i) => !narrow || ticks.at.length < 6 || i % 2 === 0;
  const both = { ...axis(), type: "log", automargin: false };
  Plotly.react(place, traces.map((trace) => ({ showlegend: false, ...trace })), {
    ...frame(), showlegend: false, annotations, shapes, uirevision: state.law, margin,
    xaxis: { ...both, range: range(chart.ends[across]), tickvals: ticks.at.filter(kept), ticktext: ticks.said.filter(kept), title: heading(page.axes[across]) },
    yaxis: { ...both, range: range(chart.ends.loss), nticks: 8, title: heading(chart.title) },
  }, CONFIG);
}

const redraw = () => find(".plot").forEach(draw);

function change(values) {
  Object.assign(state, values);
  find("[data-law]").forEach((part) => { part.hidden = Number(part.dataset.law) !== state.law; });
  redraw();
}

find("[data-set=law]").forEach((menu) => menu.addEventListener("change", () => change({ law: Number(menu.value) })));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
addEventListener("resize", redraw);
redraw();
