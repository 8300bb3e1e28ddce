// The workspace from above with the commanded point, and the speed of each axis against its limit.

import { actingZone, palette, surface, tone, write } from "./format.js";

const JUMP_M = 0.12; // a simulated robot jumps to its start; no line is drawn through the air

export class Plan {
  constructor(canvas, note, speeds) {
    Object.assign(this, { canvas, note, speeds });
    this.axes = "";
  }

  draw(store) {
    const robot = store.state.robot;
    const drawn = surface(this.canvas);
    if (!drawn) return;
    const { context, width, height } = drawn, colours = palette();
    const box = robot?.workspace, pose = store.state.motion?.pose, trail = store.trail;
    const zones = robot?.zones ?? [], still = zones.filter((zone) => !zone.around_tool);
    // Zones of a base are around the robot, which stands at the origin then; it has no pose.
    const here = pose ?? (robot && !box && still.length ? [0, 0, 0] : null);
    const points = [...(box ? [box.lower, box.upper] : trail), ...still.flatMap((zone) => zone.outline)];
    if (!points.length) {
      write(this.note, robot ? "no workspace, and no pose yet" : "the robot file is not known");
      return;
    }
    const low = [0, 1].map((axis) => Math.min(...points.map((point) => point[axis])));
    const high = [0, 1].map((axis) => Math.max(...points.map((point) => point[axis])));
    const span = [0, 1].map((axis) => Math.max(high[axis] - low[axis], 0.2));
    const scale = Math.min((width - 40) / span[1], (height - 34) / span[0]);
    // x points up, y to the left, as one stands behind the robot.
    const px = (point) => width / 2 - (point[1] - (low[1] + high[1]) / 2) * scale;
    const py = (point) => height / 2 - (point[0] - (low[0] + high[0]) / 2) * scale;
    if (box) {
      context.strokeStyle = colours.soft;
      context.lineWidth = 1.5;
      context.strokeRect(px(box.upper), py(box.upper), (box.upper[1] - box.lower[1]) * scale, (box.upper[0] - box.lower[0]) * scale);
    }
    context.font = "12px system-ui";
    this.zones(context, zones, actingZone(store.verdict), here, px, py, colours);
    context.fillStyle = colours.soft;
    context.textAlign = "left";
    context.fillText(`${span[0].toFixed(2)} m × ${span[1].toFixed(2)} m`, 4, height - 4);
    if (trail.length > 1) {
      context.strokeStyle = colours.accent;
      context.lineWidth = 1.5;
      context.beginPath();
      for (const [index, point] of trail.entries()) {
        const jumped = !index || Math.hypot(point[0] - trail[index - 1][0], point[1] - trail[index - 1][1]) > JUMP_M;
        context[jumped ? "moveTo" : "lineTo"](px(point), py(point));
      }
      context.stroke();
    }
    if (here) {
      const verdict = store.verdict;
      const reach = Math.min(56, 0.25 * Math.min(width, height));
      for (const candidate of store.proposal?.candidates ?? []) {
        context.strokeStyle = candidate.feasible ? colours.faint : colours.stop;
        context.lineWidth = 1;
        this.arrow(context, px(here), py(here), candidate.action, reach);
      }
      if (verdict?.action_out?.length) {
        context.strokeStyle = tone(verdict.decision);
        context.lineWidth = 3;
        this.arrow(context, px(here), py(here), verdict.action_out, reach);
      }
      context.fillStyle = colours.ink;
      context.beginPath();
      context.arc(px(here), py(here), 4.5, 0, 2 * Math.PI);
      context.fill();
      if (pose) write(this.note, `${pose.map((value, axis) => `${"xyz"[axis]} ${value.toFixed(2)}`).join("  ")} m`);
      else write(this.note, "around the robot");
      if (box && pose) this.heightBar(context, width, height, box, pose, colours);
    }
  }

  // Protective zones: dashed, and filled while one of them holds the robot back.
  zones(context, zones, acting, here, px, py, colours) {
    const tones = { stop: colours.stop, keep_out: colours.latch, slow: colours.substitute, approach: colours.accent };
    for (const zone of zones) {
      if (zone.around_tool && !here) continue;
      const at = zone.around_tool ? here : [0, 0];
      const corners = zone.outline.map(([x, y]) => [x + at[0], y + at[1]]);
      context.strokeStyle = context.fillStyle = tones[zone.action] ?? colours.soft;
      context.lineWidth = zone.name === acting ? 2.5 : 1.25;
      context.setLineDash(zone.name === acting ? [] : [5, 4]);
      context.beginPath();
      for (const [index, corner] of corners.entries()) context[index ? "lineTo" : "moveTo"](px(corner), py(corner));
      context.closePath();
      context.stroke();
      if (zone.name === acting) {
        context.globalAlpha = 0.3;
        context.fill();
        context.globalAlpha = 1;
      }
      context.setLineDash([]);
      const top = corners.reduce((best, corner) => (py(corner) < py(best) ? corner : best));
      context.textAlign = "center";
      context.fillText(zone.name, px(top), Math.max(12, py(top) - 4));
    }
  }

  arrow(context, x, y, action, reach) {
    context.beginPath();
    context.moveTo(x, y);
    context.lineTo(x - reach * (action[1] ?? 0), y - reach * (action[0] ?? 0));
    context.stroke();
  }

  heightBar(context, width, height, box, pose, colours) {
    const share = (pose[2] - box.lower[2]) / (box.upper[2] - box.lower[2]);
    const y = height - 17 - Math.max(0, Math.min(1, share)) * (height - 34);
    context.fillStyle = colours.line;
    context.fillRect(width - 8, 17, 4, height - 34);
    context.fillStyle = colours.ink;
    context.fillRect(width - 12, y - 1.5, 12, 3);
  }

  bars(store) {
    const robot = store.state.robot;
    if (!robot) return;
    const key = JSON.stringify(robot.axes);
    if (this.axes !== key) {
      this.axes = key;
      this.rows = robot.axes.map((axis) => {
        const row = document.createElement("div"), name = document.createElement("dt"), value = document.createElement("dd");
        const bar = document.createElement("div"), fill = document.createElement("i"), holder = document.createElement("dd");
        bar.className = "bar";
        bar.append(fill);
        holder.append(bar);
        name.textContent = axis.name;
        row.append(name, holder, value);
        return { row, bar, fill, value, axis };
      });
      this.speeds.replaceChildren(...this.rows.map(({ row }) => row));
    }
    const command = store.state.motion?.command ?? [];
    for (const [index, { bar, fill, value, axis }] of this.rows.entries()) {
      const speed = command[index], share = speed === undefined ? 0 : Math.max(-1, Math.min(1, speed / axis.limit));
      fill.style.left = `${50 + Math.min(0, share) * 50}%`;
      fill.style.width = `${Math.abs(share) * 50}%`;
      bar.dataset.high = String(Math.abs(share) > 0.95);
      const unit = axis.name.startsWith("angular") ? "rad/s" : "m/s";
      write(value, `${speed === undefined ? "–" : speed.toFixed(2)} of ${axis.limit.toFixed(2)} ${unit}`);
    }
  }
}
