// The decisions of the last minute as a lane of colours. Taller bars are more restrictive, so colour is not alone.

import { clock, DECISIONS, surface, tone, write } from "./format.js";

const SPAN_S = 60;

export class Lane {
  constructor(canvas, text, legend) {
    Object.assign(this, { canvas, text });
    this.pointed = null;
    this.verdicts = [];
    legend.replaceChildren(...DECISIONS.map((decision) => {
      const item = document.createElement("li");
      item.dataset.decision = decision;
      item.textContent = decision.toLowerCase();
      return item;
    }));
    canvas.addEventListener("pointermove", (event) => { this.pointed = event.offsetX / canvas.clientWidth; });
    canvas.addEventListener("pointerleave", () => { this.pointed = null; });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -0.01, ArrowRight: 0.01, Home: -1, End: 1 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      this.pointed = Math.max(0, Math.min(1, (this.pointed ?? 1) + step));
    });
    canvas.addEventListener("blur", () => { this.pointed = null; });
  }

  draw(store) {
    const drawn = surface(this.canvas);
    const verdicts = store.verdicts, last = verdicts.at(-1);
    if (!drawn || !last) return;
    const { context, width, height } = drawn;
    const from = last.decided - SPAN_S;
    const shown = verdicts.filter((verdict) => verdict.decided >= from);
    const x = (verdict) => ((verdict.decided - from) / SPAN_S) * width;
    for (const [index, verdict] of shown.entries()) {
      const begin = x(verdict), end = index + 1 < shown.length ? Math.min(x(shown[index + 1]), begin + width / 40) : width;
      const share = 0.3 + 0.175 * Math.max(0, DECISIONS.indexOf(verdict.decision));
      context.fillStyle = tone(verdict.decision);
      context.fillRect(begin, height * (1 - share), Math.max(1, end - begin + 0.4), height * share);
      if (verdict.source !== "OPERATOR") continue;
      context.fillStyle = "#1f5fa8";
      context.fillRect(begin, 0, Math.max(1, end - begin + 0.4), height * 0.15);
    }
    let told = [...shown].reverse().find((verdict) => verdict.decision !== "PASS");
    if (this.pointed !== null) {
      const at = from + this.pointed * SPAN_S;
      told = shown.reduce((best, verdict) => (Math.abs(verdict.decided - at) < Math.abs(best.decided - at) ? verdict : best), shown[0]);
      context.fillStyle = tone("");
      context.fillRect(x(told), 0, 1, height);
    }
    write(this.text, told ? `${clock(told.decided)}  ${told.decision} ${told.reason === "OK" ? "" : told.reason}: ${told.text}` : "Every proposal of the last minute has passed.");
  }
}
