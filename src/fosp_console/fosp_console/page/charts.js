// Figures of the last minute, drawn by uPlot.

import uPlot from "./vendor/uPlot.esm.js";
import { milliseconds, number, palette, tone, write } from "./format.js";

const SPAN_S = 60;
const FIGURES = [
  { name: "risk", value: "q_h", limit: "eps", floor: 1, show: (v) => number(v.q_h), over: (v) => v.q_h > v.eps },
  { name: "surprise", value: "surprise", limit: "surprise_limit", show: (v) => number(v.surprise, 1), over: (v) => v.surprise > v.surprise_limit },
  { name: "novelty", value: "novelty", limit: "novelty_limit", show: (v) => number(v.novelty), over: (v) => v.novelty_limit !== null && v.novelty > v.novelty_limit },
  { name: "latency", value: (v) => exposureToVerdict(v) * 1000, limit: null, show: (v) => milliseconds(exposureToVerdict(v)), over: () => false },
];

function exposureToVerdict(verdict) {
  return verdict.stamp > 0 ? verdict.decided - verdict.stamp : null;
}

function read(key) {
  return typeof key === "function" ? key : (verdict) => (key === null ? null : verdict[key] ?? null);
}

export class Charts {
  constructor() {
    this.plots = FIGURES.map((figure) => ({ ...figure, holder: document.getElementById(figure.name), out: document.getElementById(`${figure.name}-now`) }));
    addEventListener("resize", () => this.resize());
    matchMedia("(prefers-color-scheme: light)").addEventListener("change", () => this.rebuild());
  }

  build(plot) {
    const colours = palette();
    const axis = { stroke: colours.soft, font: "11px system-ui", ticks: { show: false }, grid: { stroke: colours.line, width: 1 } };
    plot.chart = new uPlot({
      width: Math.max(120, plot.holder.clientWidth),
      height: Math.max(80, plot.holder.clientHeight),
      cursor: { show: false },
      legend: { show: false },
      padding: [8, 16, 0, 0],
      scales: { x: { time: false, range: [-SPAN_S, 0] }, y: { range: (_, low, high) => [0, Math.max(plot.floor ?? 0, (high ?? 1) * 1.1, 1e-6)] } },
      axes: [
        { ...axis, grid: { show: false }, size: 22, values: (_, marks) => marks.map((mark) => (mark === 0 ? "now" : `${mark} s`)) },
        { ...axis, size: 40 },
      ],
      series: [
        {},
        { stroke: colours.accent, width: 1.5, points: { show: false } },
        { stroke: colours.stop, width: 1, dash: [5, 4], points: { show: false } },
      ],
    }, [[], [], []], plot.holder);
    plot.holder.querySelector("canvas")?.setAttribute("aria-hidden", "true");
  }

  rebuild() {
    for (const plot of this.plots) {
      plot.chart?.destroy();
      plot.chart = null;
    }
  }

  resize() {
    for (const plot of this.plots) plot.chart?.setSize({ width: Math.max(120, plot.holder.clientWidth), height: Math.max(80, plot.holder.clientHeight) });
  }

  draw(store) {
    const last = store.verdict;
    if (!last) return;
    const shown = store.verdicts.filter((verdict) => verdict.decided >= last.decided - SPAN_S);
    const times = shown.map((verdict) => verdict.decided - last.decided);
    for (const plot of this.plots) {
      if (!plot.chart) this.build(plot);
      plot.chart.setData([times, shown.map(read(plot.value)), shown.map(read(plot.limit))]);
    }
    this.numbers(last);
  }

  numbers(last) {
    for (const plot of this.plots) {
      write(plot.out, plot.show(last));
      plot.out.style.color = plot.over(last) ? tone("STOP") : "";
    }
    const known = [["encoder", last.encoder_s], ["policy", last.policy_s], ["monitor", last.monitor_s]];
    const total = exposureToVerdict(last);
    const parts = known.map(([, seconds]) => seconds ?? 0).reduce((sum, seconds) => sum + seconds, 0);
    const rows = [...known, ["camera, transport", total === null ? null : Math.max(0, total - parts)], ["robot state, age", last.state_age_s]];
    const list = document.getElementById("hops");
    if (list.children.length !== rows.length) {
      list.replaceChildren(...rows.map(([name]) => {
        const row = document.createElement("div"), term = document.createElement("dt"), value = document.createElement("dd");
        term.textContent = name;
        row.append(term, value);
        return row;
      }));
    }
    for (const [index, [, seconds]] of rows.entries()) write(list.children[index].lastChild, milliseconds(seconds));
  }
}
