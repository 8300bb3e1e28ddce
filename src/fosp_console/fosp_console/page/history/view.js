// Goes through a bag: one moment, in seconds from its beginning, that the frames, the timeline and the texts follow.

import { facts, number, write } from "../format.js";
import { Films } from "./films.js";
import { before, Strips } from "./strips.js";

const element = (id) => document.getElementById(id);
const WORDS = { PASS: "Moving", SUBSTITUTE: "Substituted", RECOVER: "Recovering", STOP: "Stopped", LATCH: "Latched" };
const SETTLED_MS = 150;
const reduced = matchMedia("(prefers-reduced-motion: reduce)");

let bag = null, now = 0, playing = false, playedAt = 0, settling = 0, laneTimes = [], stops = [], asked = -1;
const clip = { from: 0, to: 0 };
const warn = (text) => { element("notice").hidden = !text; write(element("notice"), text); };
const films = new Films(element("frames"), { onFault: warn });
const strips = new Strips(element("strips"), element("lane-legend"), { onSeek: (t) => seek(t) });

// The moment in an address, to the ms: what stands there can be gone to again, and leads to the same verdict.
function address(t) {
  return `#t=${Number(t.toFixed(3))}`;
}

function inside(t) {
  return Math.max(0, Math.min(bag.duration, t));
}

// Go to a moment. What is asked of the server, and the address, follow when the moment has settled.
function seek(t) {
  if (!bag || !Number.isFinite(t)) return;
  now = inside(t);
  const run = bag.lane[before(laneTimes, now)];
  showRun(run);
  films.seek(now, run?.[1] ?? "NONE");
  strips.follow(now);
  strips.draw(now, clip);
  const text = `${now.toFixed(2)} s`;
  write(element("now"), text);
  element("scrub").value = String(now);
  element("scrub").setAttribute("aria-valuetext", `${text}, ${run ? `${run[1]} ${run[2]}` : "no verdict"}`);
  element("moment-link").href = address(now);
  clearTimeout(settling);
  settling = setTimeout(settled, SETTLED_MS);
}

function showRun(run) {
  element("verdict").dataset.decision = run?.[1] ?? "NONE";
  write(element("verdict-word"), run ? WORDS[run[1]] ?? run[1] : "no verdict");
  const tag = element("verdict-reason");
  tag.hidden = !run || run[2] === "OK";
  write(tag, run ? run[2].toLowerCase().replaceAll("_", " ") : "");
  write(element("verdict-text"), run?.[3] ?? "");
}

async function settled() {
  history.replaceState(null, "", address(now));
  const at = now;
  asked = at;
  const list = element("happened"), current = before(stops.map(({ t }) => t), at + 1e-6);
  for (const [index, item] of [...list.children].entries()) {
    if (index === current) item.setAttribute("aria-current", "true");
    else item.removeAttribute("aria-current");
  }
  const item = list.children[current];
  if (item && (item.offsetTop < list.scrollTop || item.offsetTop + item.offsetHeight > list.scrollTop + list.clientHeight)) list.scrollTop = item.offsetTop - list.clientHeight / 3;
  let verdict = null;
  try {
    const response = await fetch(`moment?t=${at}`, { credentials: "omit" });
    if (response.ok) ({ verdict } = await response.json());
  } catch {
    warn("The server does not answer: was fosp bags view ended?");
  }
  if (asked !== at) return;
  const held = verdict && verdict.t <= at + 1e-3;
  if (held && verdict.decision === element("verdict").dataset.decision) write(element("verdict-text"), verdict.text);
  element("facts").dataset.t = at.toFixed(2);
  const speeds = bag.commands.map(({ topic, t, linear, angular }) => {
    const row = before(t, at);
    return [topic, row < 0 ? "none yet" : `${number(linear[row])} m/s, ${number(angular[row])} rad/s`];
  });
  const vector = (values) => values?.map((value) => number(value)).join("  ");
  facts(element("facts"), [
    ["time", new Date((bag.begin + at) * 1000).toLocaleString()],
    ...(held ? [
      ["verdict", `${verdict.decision} ${verdict.reason}, step ${verdict.step}, ${(at - verdict.t).toFixed(2)} s before${verdict.shadow ? ", shadow: nothing was gated" : ""}`],
      ["drives", { POLICY: "the policy", OPERATOR: "a person", NOBODY: "nobody" }[verdict.source] ?? ""],
      ["risk", `${number(verdict.q_h, 3)} of ${number(verdict.eps, 3)}, of what was sent ${number(verdict.q_h_out, 3)}`],
      ["surprise", `${number(verdict.surprise, 1)} of ${number(verdict.surprise_limit, 1)} nats`],
      ["image, age", verdict.image_age_s === null ? "" : `${(verdict.image_age_s * 1000).toFixed(0)} ms`],
      ["proposed", vector(verdict.action_in)],
      ["sent", vector(verdict.action_out)],
      ["model", verdict.model_id.slice(0, 12)],
    ] : [["verdict", "none yet"]]),
    ...speeds,
  ]);
}

// -- going through -----------------------------------------------------------------------------------
function frame(step) {
  const [times] = bag.cameras.map((camera) => camera.times).sort((a, b) => b.length - a.length);
  if (!times) return seek(now + 0.05 * step);
  const index = before(times, now + 1e-6) + step;
  seek(times[Math.max(0, Math.min(times.length - 1, index))]);
}

function nextStop(step) {
  const found = step > 0 ? stops.find(({ t }) => t > now + 5e-3) : stops.findLast(({ t }) => t < now - 5e-3);
  if (found) seek(found.t);
}

function play(wanted) {
  playing = wanted;
  write(element("play"), playing ? "Pause" : "Play");
  if (playing) {
    if (now >= bag.duration - 1e-3) seek(0);
    playedAt = performance.now();
    requestAnimationFrame(tick);
  }
}

function tick(at) {
  if (!playing) return;
  if (at - playedAt >= (reduced.matches ? 250 : 30)) {
    const speed = Number(element("speed").value);
    seek(now + ((at - playedAt) / 1000) * speed);
    playedAt = at;
    if (now >= bag.duration) return play(false);
  }
  requestAnimationFrame(tick);
}

function setClip(which) {
  clip[which] = now;
  if (clip.to <= clip.from) clip[which === "from" ? "to" : "from"] = which === "from" ? bag.duration : 0;
  showClip();
}

function showClip() {
  element("clip-from").value = clip.from.toFixed(2);
  element("clip-to").value = clip.to.toFixed(2);
  strips.draw(now, clip);
}

function readClip() {
  for (const which of ["from", "to"]) clip[which] = Number(element(`clip-${which}`).value.replace(",", ".") || NaN);
  strips.draw(now, clip);
}

async function save() {
  readClip();
  const answer = element("clip-answer"), format = element("clip-format").value;
  delete answer.dataset.done;
  write(answer, "The clip is being made.");
  try {
    const response = await fetch("clip", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ from: clip.from, to: clip.to, format }),
      credentials: "omit",
    });
    if (!response.ok) throw new Error((await response.json()).said);
    const film = URL.createObjectURL(await response.blob()), anchor = document.createElement("a");
    anchor.href = film;
    anchor.download = `${bag.name}_${clip.from.toFixed(2)}_${clip.to.toFixed(2)}.${format}`;
    anchor.click();
    setTimeout(() => URL.revokeObjectURL(film), 60000);
    answer.dataset.done = "true";
    write(answer, `Saved as ${anchor.download}.`);
  } catch (error) {
    answer.dataset.done = "false";
    write(answer, error.message);
  }
}

const KEYS = {
  " ": () => play(!playing),
  ArrowLeft: (event) => (event.shiftKey ? seek(now - 1) : frame(-1)),
  ArrowRight: (event) => (event.shiftKey ? seek(now + 1) : frame(1)),
  Home: () => seek(0),
  End: () => seek(bag.duration),
  n: () => nextStop(1),
  p: () => nextStop(-1),
  "+": () => zoom(0.5),
  "=": () => zoom(0.5),
  "-": () => zoom(2),
  i: () => setClip("from"),
  o: () => setClip("to"),
};

function zoom(factor) {
  strips.zoom(now, factor);
  strips.draw(now, clip);
}

// In a field keys write, and on a button or a link they press; the slider's arrows go by frames as everywhere.
addEventListener("keydown", (event) => {
  const at = event.target, kind = at.tagName;
  if (!bag || event.ctrlKey || event.metaKey || event.altKey || kind === "SELECT" || (kind === "INPUT" && at.type !== "range")) return;
  if (event.key === " " && ["BUTTON", "A"].includes(kind)) return;
  const does = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!does) return;
  event.preventDefault();
  does(event);
});
for (const [id, does] of Object.entries({
  play: () => play(!playing), back: () => frame(-1), forth: () => frame(1), "event-back": () => nextStop(-1), "event-forth": () => nextStop(1),
  closer: () => zoom(0.5), wider: () => zoom(2),
})) element(id).addEventListener("click", () => bag && does());
element("scrub").addEventListener("input", (event) => seek(Number(event.target.value)));
element("clip").addEventListener("submit", (event) => { event.preventDefault(); if (bag) save(); });
for (const id of ["clip-from", "clip-to"]) element(id).addEventListener("change", () => bag && readClip());
addEventListener("hashchange", () => seek(moment()));
addEventListener("resize", () => { strips.draw(now, clip); films.redraw(); });
matchMedia("(prefers-color-scheme: light)").addEventListener("change", () => strips.draw(now, clip));

// -- the beginning -----------------------------------------------------------------------------------
// The moment that the address names, such as #t=12.35; the beginning where it names none.
function moment() {
  const t = Number(new URLSearchParams(location.hash.slice(1)).get("t"));
  return Number.isFinite(t) ? t : 0;
}

function showEvents() {
  const vetoes = bag.lane.filter(([, decision], index) => index > 0 || decision !== "PASS").map(([t, decision, reason, text]) => ({ t, kind: decision, text: reason === "OK" ? text : `${reason.toLowerCase().replaceAll("_", " ")}: ${text}` }));
  stops = [...bag.events, ...vetoes].sort((a, b) => a.t - b.t);
  write(element("happened-note"), `${stops.length} moments`);
  element("happened").replaceChildren(...stops.map(({ t, row, kind, text }) => {
    const item = document.createElement("li"), link = document.createElement("a"), name = document.createElement("b"), said = document.createElement("span");
    link.href = address(t);
    link.textContent = `${t.toFixed(2)} s`;
    link.addEventListener("click", (event) => { event.preventDefault(); seek(t); });
    name.textContent = row === "operator" ? `operator: ${kind}` : kind;
    if (!row) item.dataset.decision = kind;
    said.textContent = text;
    item.append(link, name, said);
    return item;
  }));
}

async function begin() {
  try {
    const response = await fetch("timeline.json", { credentials: "omit" });
    if (!response.ok) throw new Error((await response.json()).said);
    bag = await response.json();
  } catch (error) {
    return warn(`The bag cannot be shown: ${error.message}`);
  }
  document.title = `${bag.name} – fosp`;
  write(element("bag-name"), bag.name);
  const about = Object.entries(bag.about).filter(([name]) => name !== "episode").map(([name, value]) => `${name} ${value}`);
  write(element("about"), [`${bag.duration.toFixed(2)} s`, ...about].join(", "));
  laneTimes = bag.lane.map(([t]) => t);
  element("scrub").max = String(bag.duration);
  clip.to = Math.min(bag.duration, 30);
  element("notes").replaceChildren(...bag.notes.map((note) => {
    const line = document.createElement("p");
    line.textContent = note;
    return line;
  }));
  films.show(bag.cameras);
  strips.show(bag);
  showEvents();
  showClip();
  for (const control of element("clip").elements) control.disabled = !bag.cameras.length;
  seek(moment());
}

begin();
