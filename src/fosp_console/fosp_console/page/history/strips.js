// The timeline: decisions, risk against its threshold, speeds of the command and events, one above the other on one axis.

import { DECISIONS, palette, surface, tone } from "../format.js";

const LEFT = 62, RIGHT = 10, AXIS = 20, LABEL = "11px system-ui";
const ROWS = ["operator", "episode", "monitor"];

// The last index whose time is at or before a moment; -1 before the first.
export function before(times, t) {
  let low = 0, high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] <= t) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

export class Strips {
  constructor(canvas, legend, { onSeek }) {
    Object.assign(this, { canvas, onSeek });
    this.from = 0;
    this.to = 1;
    legend.replaceChildren(...DECISIONS.map((decision) => {
      const item = document.createElement("li");
      item.dataset.decision = decision;
      item.textContent = decision.toLowerCase();
      return item;
    }));
    const seek = (event) => this.onSeek(this.from + ((event.offsetX - LEFT) / Math.max(1, canvas.clientWidth - LEFT - RIGHT)) * (this.to - this.from));
    canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); seek(event); });
    canvas.addEventListener("pointermove", (event) => { if (event.buttons) seek(event); });
  }

  show(bag) {
    this.bag = bag;
    this.from = 0;
    this.to = Math.max(bag.duration, 0.1);
    this.laneTimes = bag.lane.map(([t]) => t);
  }

  // Show a part of the time around a moment; `factor` below 1 is closer.
  zoom(t, factor) {
    const whole = Math.max(this.bag.duration, 0.1), span = Math.min(whole, Math.max(0.5, (this.to - this.from) * factor));
    this.from = Math.max(0, Math.min(t - span / 2, whole - span));
    this.to = this.from + span;
  }

  // Move the shown part so that a moment lies in it.
  follow(t) {
    const span = this.to - this.from;
    if (t >= this.from && t <= this.to) return;
    this.from = Math.max(0, Math.min(t - span / 2, Math.max(this.bag.duration, 0.1) - span));
    this.to = this.from + span;
  }

  draw(now, clip) {
    const drawn = surface(this.canvas);
    if (!drawn || !this.bag) return;
    const { context, width, height } = drawn, colours = palette();
    const plot = { left: LEFT, right: width - RIGHT };
    const x = (t) => plot.left + ((t - this.from) / (this.to - this.from)) * (plot.right - plot.left);
    const rows = ROWS.filter((row) => this.bag.events.some((event) => event.row === row));
    const free = height - AXIS - 30 - rows.length * 20 - 24, figure = free / (this.bag.commands.length ? 2 : 1);
    let top = 0;
    if (clip.to > clip.from) {
      context.fillStyle = colours.raised;
      context.fillRect(Math.max(plot.left, x(clip.from)), 0, Math.min(plot.right, x(clip.to)) - Math.max(plot.left, x(clip.from)), height - AXIS);
    }
    context.save();
    context.font = LABEL;
    const label = (text, y) => { context.fillStyle = colours.soft; context.textAlign = "right"; context.fillText(text, LEFT - 8, y); };
    label("decision", top + 20);
    this.lane(context, x, top, 30, plot);
    top += 38;
    label("risk", top + 12);
    this.chart(context, this.bag.risk, [["risk", colours.accent, []], ["eps", colours.stop, [5, 4]]], x, top, figure - 8, plot, 0.05);
    top += figure;
    const [command] = this.bag.commands;
    if (command) {
      label("m/s, rad/s", top + 12);
      this.chart(context, command, [["linear", colours.pass, []], ["angular", colours.recover, [2, 3]]], x, top, figure - 8, plot, 0.01);
      top += figure;
    }
    for (const row of rows) {
      label(row, top + 14);
      context.fillStyle = row === "operator" ? colours.latch : row === "episode" ? colours.accent : colours.soft;
      for (const event of this.bag.events) {
        if (event.row !== row || event.t < this.from || event.t > this.to) continue;
        context.beginPath();
        context.arc(x(event.t), top + 10, event.kind === "violation" ? 5 : 3.5, 0, 2 * Math.PI);
        context.fill();
      }
      top += 20;
    }
    this.axis(context, x, height, plot, colours);
    context.fillStyle = colours.ink;
    if (now >= this.from && now <= this.to) context.fillRect(x(now) - 0.75, 0, 1.5, height - AXIS);
    context.restore();
  }

  lane(context, x, top, high, plot) {
    const lane = this.bag.lane;
    for (let i = Math.max(0, before(this.laneTimes, this.from)); i < lane.length && lane[i][0] <= this.to; i += 1) {
      const [t, decision] = lane[i];
      const begin = Math.max(plot.left, x(t)), end = Math.min(plot.right, x(i + 1 < lane.length ? lane[i + 1][0] : this.bag.duration));
      const share = 0.3 + 0.175 * Math.max(0, DECISIONS.indexOf(decision));
      context.fillStyle = tone(decision);
      context.fillRect(begin, top + high * (1 - share), Math.max(1, end - begin), high * share);
      if (lane[i][4] !== "OPERATOR") continue;
      context.fillStyle = palette().ink; // a line above: a person drove
      context.fillRect(begin, top, Math.max(1, end - begin), 3);
    }
  }

  chart(context, data, series, x, top, high, plot, least) {
    const first = Math.max(0, before(data.t, this.from)), last = Math.min(data.t.length - 1, before(data.t, this.to) + 1);
    let most = least;
    for (const [name] of series) for (let i = first; i <= last; i += 1) most = Math.max(most, data[name][i] ?? 0);
    context.strokeStyle = palette().line;
    context.lineWidth = 1;
    context.setLineDash([]);
    context.strokeRect(plot.left, top, plot.right - plot.left, high);
    context.fillStyle = palette().soft;
    context.fillText(most.toFixed(most < 1 ? 2 : 1), LEFT - 8, top + 26);
    context.save();
    context.beginPath();
    context.rect(plot.left, top, plot.right - plot.left, high);
    context.clip();
    // More rows than pixels: of those that share a pixel the largest is drawn.
    const step = Math.max(1, Math.floor((last - first) / (2 * (plot.right - plot.left))));
    for (const [name, colour, dash] of series) {
      context.strokeStyle = colour;
      context.lineWidth = 1.5;
      context.setLineDash(dash);
      context.beginPath();
      let open = false;
      for (let i = first; i <= last; i += step) {
        let value = null;
        for (let j = i; j < Math.min(i + step, last + 1); j += 1) if (data[name][j] !== null && (value === null || data[name][j] > value)) value = data[name][j];
        if (value === null) { open = false; continue; }
        context[open ? "lineTo" : "moveTo"](x(data.t[i]), top + high * (1 - value / most));
        open = true;
      }
      context.stroke();
    }
    context.restore();
  }

  axis(context, x, height, plot, colours) {
    const span = this.to - this.from;
    const step = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600, 1800, 3600].find((one) => span / one <= (plot.right - plot.left) / 70) ?? 7200;
    context.fillStyle = colours.soft;
    context.textAlign = "center";
    for (let t = Math.ceil(this.from / step) * step; t <= this.to + 1e-9; t += step) {
      context.fillRect(x(t), height - AXIS, 1, 4);
      const text = `${Number(t.toFixed(2))} s`;
      const half = context.measureText(text).width / 2;
      context.fillText(text, Math.min(Math.max(x(t), plot.left + half), plot.right - half), height - 4);
    }
  }
}
