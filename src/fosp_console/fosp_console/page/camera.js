// The live camera: the newest frame, its verdict as a border, and a compass with the candidates in the robot's frame.

import { palette, surface, tone, write } from "./format.js";

export class CameraView {
  constructor(canvas, compass, note, choice) {
    Object.assign(this, { canvas, compass, note, choice });
    this.camera = 0;
    this.frames = new Map();
    this.decoding = new Set();
    this.shown = 0;
    this.cameras = [];
  }

  async take(header, blob) {
    if (this.decoding.has(header.camera)) return; // a frame that comes while one is decoded is skipped
    this.decoding.add(header.camera);
    try {
      const bitmap = await createImageBitmap(blob);
      this.frames.get(header.camera)?.bitmap.close();
      this.frames.set(header.camera, { ...header, bitmap, at: performance.now() });
      this.shown += 1;
      this.canvas.dataset.frames = String(this.shown);
    } finally {
      this.decoding.delete(header.camera);
    }
  }

  list(topics) {
    if (JSON.stringify(topics) === JSON.stringify(this.cameras)) return;
    this.cameras = topics;
    this.choice.replaceChildren(...(topics.length < 2 ? [] : topics.map((topic, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = topic.split("/")[0] || topic;
      button.setAttribute("aria-pressed", String(index === this.camera));
      button.addEventListener("click", () => {
        this.camera = index;
        for (const [other, one] of [...this.choice.children].entries()) one.setAttribute("aria-pressed", String(other === index));
      });
      return button;
    })));
  }

  draw(store) {
    this.list(store.state.cameras ?? []);
    const frame = this.frames.get(this.camera);
    const drawn = surface(this.canvas);
    if (!drawn) return;
    const { context, width, height } = drawn;
    const verdict = store.verdict;
    if (!frame) {
      write(this.note, store.state.cameras?.length ? "no image yet" : "no camera is known yet");
      return;
    }
    const scale = Math.min(width / frame.bitmap.width, height / frame.bitmap.height);
    const w = frame.bitmap.width * scale, h = frame.bitmap.height * scale;
    const x = (width - w) / 2, y = (height - h) / 2;
    context.imageSmoothingEnabled = scale < 3;
    context.drawImage(frame.bitmap, x, y, w, h);
    const ageS = (performance.now() - frame.at) / 1000;
    const old = ageS > 1;
    if (verdict) {
      context.strokeStyle = tone(verdict.decision);
      context.lineWidth = 4;
      context.strokeRect(x + 2, y + 2, w - 4, h - 4);
    }
    if (old) {
      context.fillStyle = "rgb(10 12 13 / 60%)";
      context.fillRect(x, y, w, h);
      context.fillStyle = "#fff";
      context.font = "600 18px system-ui";
      context.textAlign = "center";
      context.fillText(`no new image for ${ageS.toFixed(0)} s`, width / 2, height / 2);
    }
    const judged = verdict && Math.abs(verdict.stamp - frame.stamp) < 0.0005;
    const text = `${frame.width} × ${frame.height}${verdict ? `, ${judged ? "this frame was judged" : "border: the last verdict"}` : ""}`;
    write(this.note, text);
    this.drawCompass(store, verdict);
  }

  // Seen from above: x of the action up, y to the left. A third axis is the length of the bar beside it.
  drawCompass(store, verdict) {
    const proposal = store.proposal, robot = store.state.robot;
    this.compass.hidden = !proposal || !robot;
    if (this.compass.hidden) return;
    const drawn = surface(this.compass);
    if (!drawn) return;
    const { context, width, height } = drawn;
    const colours = palette(), radius = width / 2 - 14, cx = width / 2, cy = height / 2;
    context.strokeStyle = "rgb(255 255 255 / 25%)";
    context.lineWidth = 1;
    context.beginPath();
    context.arc(cx, cy, radius, 0, 2 * Math.PI);
    context.moveTo(cx, cy - radius); context.lineTo(cx, cy + radius);
    context.moveTo(cx - radius, cy); context.lineTo(cx + radius, cy);
    context.stroke();
    const at = (action) => [cx - radius * 0.9 * planar(action, robot, 1), cy - radius * 0.9 * planar(action, robot, 0)];
    for (const candidate of proposal.candidates) {
      const [x, y] = at(candidate.action);
      context.fillStyle = candidate.feasible ? "rgb(255 255 255 / 45%)" : colours.stop;
      context.beginPath();
      context.arc(x, y, candidate.feasible ? 2.2 : 2.8, 0, 2 * Math.PI);
      context.fill();
    }
    const arrow = (action, colour, wide) => {
      if (!action?.length) return;
      const [x, y] = at(action);
      context.strokeStyle = colour;
      context.lineWidth = wide;
      context.beginPath();
      context.moveTo(cx, cy); context.lineTo(x, y);
      context.stroke();
      context.beginPath();
      context.arc(x, y, wide + 1.5, 0, 2 * Math.PI);
      context.fillStyle = colour;
      context.fill();
    };
    arrow(verdict?.action_in, "rgb(255 255 255 / 75%)", 1.5);
    if (verdict) arrow(verdict.action_out, verdict.decision === "PASS" ? "#6fd0bb" : tone(verdict.decision), 3);
    context.fillStyle = "rgb(255 255 255 / 75%)";
    context.font = "11px system-ui";
    context.textAlign = "center";
    context.fillText(shortAxis(robot.axes[0]?.name), cx, 11);
  }
}

function shortAxis(name) {
  return name ? name.replace("linear.", "").replace("angular.", "turn ") : "";
}

// Component of an action on axis 0 (ahead) or 1 (left).
export function planar(action, robot, index) {
  return Math.max(-1, Math.min(1, action?.[index] ?? 0));
}
