// Texts and colours of the page.

export const DECISIONS = ["PASS", "SUBSTITUTE", "RECOVER", "STOP", "LATCH"];

export function number(value, digits = 2) {
  return value === null || value === undefined ? "–" : value.toFixed(digits);
}

export function milliseconds(seconds) {
  return seconds === null || seconds === undefined ? "–" : `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
}

export function shortId(id) {
  return id ? id.slice(0, 12) : "–";
}

export function clock(seconds) {
  const at = new Date(seconds * 1000);
  return [at.getHours(), at.getMinutes(), at.getSeconds()].map((part) => String(part).padStart(2, "0")).join(":");
}

export function gigabytes(bytes) {
  return `${(bytes / 1e9).toFixed(bytes < 1e10 ? 1 : 0)} GB`;
}

let colours = null;
for (const query of ["(prefers-color-scheme: light)", "(forced-colors: active)"]) {
  matchMedia(query).addEventListener("change", () => { colours = null; });
}

// The colours of the style sheet, for canvases.
export function palette() {
  if (colours === null) {
    const style = getComputedStyle(document.documentElement);
    const names = ["ground", "raised", "line", "ink", "soft", "faint", "pass", "substitute", "recover", "stop", "latch", "accent"];
    colours = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  }
  return colours;
}

export function tone(decision) {
  return palette()[(decision ?? "").toLowerCase()] ?? palette().faint;
}

// A canvas in device pixels: its context, and its size in CSS pixels. Nothing to draw on while it is not shown.
export function surface(canvas) {
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width || !height) return null;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

// Write a text where it differs: the page reads what the graph says as text and never as markup.
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function facts(list, rows) {
  const wanted = rows.filter(([, value]) => value !== null && value !== undefined && value !== "");
  const key = JSON.stringify(wanted);
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  list.replaceChildren(...wanted.flatMap(([name, value]) => {
    const term = document.createElement("dt"), meaning = document.createElement("dd");
    term.textContent = name;
    meaning.textContent = value;
    return [term, meaning];
  }));
}

// The zone that a verdict names as the one that holds the robot back; empty when none does.
export function actingZone(verdict) {
  return verdict?.reason === "PROTECTIVE_ZONE" ? /\bzone (.+?) \(/.exec(verdict.text)?.[1] ?? "" : "";
}
