// Wires the page together. What needs a person's eye at once is written with each message; figures are drawn calmly.

import { CameraView } from "./camera.js";
import { Charts } from "./charts.js";
import { write } from "./format.js";
import { Lane } from "./lane.js";
import { Link } from "./link.js";
import { Orders } from "./orders.js";
import { showDiagnostics, showEvents, showLearner, showModel, showRecorder, showZones } from "./panels.js";
import { Plan } from "./plan.js";
import { Store } from "./store.js";

const element = (id) => document.getElementById(id);
const WORDS = { PASS: "Moving", SUBSTITUTE: "Substituted", RECOVER: "Recovering", STOP: "Stopped", LATCH: "Latched" };
const DRIVERS = { NOBODY: "nobody drives", POLICY: "policy", OPERATOR: "operator drives" };
const reduced = matchMedia("(prefers-reduced-motion: reduce)");
const store = new Store();
const camera = new CameraView(element("camera"), element("compass"), element("camera-note"), element("camera-choice"));
const lane = new Lane(element("lane"), element("lane-text"), element("lane-legend"));
const plan = new Plan(element("plan"), element("plan-note"), element("speeds"));
const charts = new Charts();

const link = new Link({
  onState(message) {
    store.take(message);
    showVerdict();
  },
  onFrame: (header, blob) => camera.take(header, blob),
  onLink({ connected, mayAct, tokenWrong, reason }) {
    orders.allow(Boolean(mayAct));
    write(element("rights"), mayAct ? "" : tokenWrong ? "read-only: the token is not the right one" : "read-only: open the address with the token to act");
    if (!connected) {
      orders.warn(reason || "The console does not answer. What you see is old: the robot may be moving.");
      element("link").dataset.level = "lost";
      write(element("link"), "not connected");
    } else {
      orders.warn("");
    }
  },
});
const orders = new Orders(link);
let spoken = "";

function showVerdict() {
  const verdict = store.verdict;
  if (!verdict) return;
  const box = element("verdict");
  box.dataset.decision = verdict.decision;
  box.dataset.step = String(verdict.step);
  box.dataset.decided = String(verdict.decided);
  write(element("verdict-word"), WORDS[verdict.decision] ?? verdict.decision);
  const tag = element("verdict-reason");
  tag.hidden = verdict.reason === "OK";
  box.dataset.source = verdict.source;
  write(element("verdict-source"), DRIVERS[verdict.source] ?? "");
  write(tag, verdict.reason.toLowerCase().replaceAll("_", " ") + (verdict.shadow ? ", shadow: nothing is gated" : ""));
  write(element("verdict-text"), verdict.text);
}

// Told to screen readers when the state changes, and not with every verdict.
function speak() {
  const verdict = store.verdict;
  const text = verdict ? `${WORDS[verdict.decision] ?? verdict.decision}. ${verdict.reason === "OK" ? "" : verdict.text}` : "";
  const key = verdict ? verdict.decision + verdict.reason : "";
  if (key !== spoken) {
    spoken = key;
    write(element("spoken"), text);
  }
}

function showLink() {
  if (!link.session) return;
  const silentS = (performance.now() - link.heardAt) / 1000;
  const verdict = store.verdict;
  const age = verdict ? Date.now() / 1000 - verdict.decided : null;
  const late = silentS > 1 || (age !== null && age > 1);
  element("link").dataset.level = silentS > 3 ? "lost" : late ? "late" : "live";
  write(element("link"), age === null ? "connected, no verdict yet" : age > 1e6 || age < -5 ? "simulated time" : age > 1 ? `last verdict ${age.toFixed(0)} s ago` : "live");
}

let drawnAt = 0, drawnPicture = "", drawnMotion = null, drawnSecond = -1;
function draw(now) {
  requestAnimationFrame(draw);
  if (now - drawnAt < (reduced.matches ? 250 : 66)) return;
  drawnAt = now;
  // A canvas is drawn when what it shows has changed: a small computer may have to show this page beside the graph.
  const verdict = store.verdict, motion = store.state.motion, second = Math.floor(now / 500);
  const picture = `${camera.shown} ${camera.camera} ${verdict?.decision} ${second}`;
  if (picture !== drawnPicture) {
    drawnPicture = picture;
    camera.draw(store);
  }
  if (motion !== drawnMotion || second !== drawnSecond) {
    drawnMotion = motion;
    drawnSecond = second;
    plan.draw(store);
    plan.bars(store);
  }
}

let even = false;
function drawSlowly() {
  const changed = new Set(store.changed);
  store.changed.clear();
  if (changed.has("verdicts")) {
    lane.draw(store);
    even = !even;
    if (even) charts.draw(store);
    else charts.numbers(store.verdict);
  } else if (lane.pointed !== null) {
    lane.draw(store);
  }
  if (changed.has("events")) showEvents(store);
  if (changed.has("diagnostics")) showDiagnostics(store);
  if (changed.has("robot")) write(element("robot-name"), store.state.robot.name);
  showModel(store);
  showLearner(store);
  showRecorder(store);
  showZones(store);
  orders.show(store, link);
  showLink();
  speak();
}

setInterval(drawSlowly, reduced.matches ? 500 : 250);
requestAnimationFrame(draw);
link.connect();
