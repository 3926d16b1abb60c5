"use strict";
// What every page draws with: its data, the colours of its theme, and the frame of its plots.

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
