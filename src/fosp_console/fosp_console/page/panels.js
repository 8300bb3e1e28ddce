// The quieter half of the page: model, learner, recorder, events and nodes.

import { actingZone, clock, facts, gigabytes, number, shortId, write } from "./format.js";

const element = (id) => document.getElementById(id);

function duration(minutes) {
  return minutes < 120 ? `${minutes.toFixed(0)} min` : minutes < 2880 ? `${(minutes / 60).toFixed(0)} h` : `${(minutes / 1440).toFixed(0)} days`;
}

function paragraph(text) {
  const made = document.createElement("p");
  made.textContent = text;
  return made;
}

function fill(holder, lines, empty) {
  const key = JSON.stringify(lines);
  if (holder.dataset.key === key) return;
  holder.dataset.key = key;
  holder.replaceChildren(...(lines.length ? lines : [empty]).map(paragraph));
}

export function showModel({ state }) {
  const model = state.model;
  facts(element("model"), model ? [
    ["bundle", `${model.name} (${shortId(model.id)})`],
    ["lineage", (model.lineage ?? []).map(shortId).join(" from ")],
    ["task", `${model.task}, size ${model.size}, ${Math.round(1 / model.period_s)} decisions per second`],
    ["threshold", `risk ${number(model.eps, 3)}, miss rate at most ${number(model.miss_rate, 3)}${model.supported ? "" : ", NOT SUPPORTED by its calibration"}`],
  ] : [["bundle", "not known yet"]]);
  const trial = Object.entries(state.models ?? {}).filter(([, status]) => status.state !== "active")
    .map(([node, status]) => `${node.split("/").at(-1)}: ${shortId(status.model_id)} is ${status.state}${status.detail ? `, ${status.detail}` : ""}`);
  fill(element("trial"), trial, "No other bundle is on trial.");
}

export function showLearner({ state }) {
  const learner = state.learner;
  const lines = !learner ? [] : [
    `Run ${learner.run}${learner.updates === null ? "" : `, ${learner.updates} updates`}${learner.episodes === null ? "" : `, ${learner.episodes} episodes of experience`}`,
    ...[...learner.events].reverse().slice(0, 5).map((event) => `${event.event} ${event.id ? shortId(event.id) : ""} ${event.why}`.trim()),
  ];
  fill(element("learner"), lines, "No learner runs on this computer.");
}

// What each protective zone and each of its sensors sees, as the safety monitor reports it.
export function showZones({ state, verdict }) {
  const zones = state.robot?.zones ?? [], list = element("zones");
  list.hidden = !zones.length;
  if (!zones.length) return;
  const monitor = Object.entries(state.diagnostics ?? {}).find(([name]) => name.endsWith(": safety monitor"))?.[1];
  const seen = Object.fromEntries((monitor?.values ?? []).filter(([key]) => key.startsWith("zone ") || key.startsWith("source ")));
  const acting = actingZone(verdict);
  const rows = [...zones.map(({ name, action }) => [`zone ${name} (${action})`, name === acting]), ...(state.robot.sources ?? []).map(({ name }) => [Object.keys(seen).find((key) => key.startsWith(`source ${name} `) || key === `source ${name}`) ?? `source ${name}`, false])];
  facts(list, rows.map(([key, acts]) => [key, `${acts ? "holds the robot back; " : ""}${seen[key] ?? "not reported yet"}`]));
}

export function showRecorder({ state }) {
  const recorder = state.recorder;
  const lines = !recorder ? [] : [
    `${recorder.episodes} episodes in ${recorder.folder}${recorder.incomplete ? `, ${recorder.incomplete} incomplete` : ""}`,
    !recorder.writing ? "Nothing is being written" : `Writing ${recorder.writing}, ${(recorder.writing_bytes / 1e6).toFixed(1)} MB${recorder.bytes_per_s === null ? "" : `, ${(recorder.bytes_per_s / 1e6).toFixed(2)} MB/s: the disk is full in ${duration(recorder.minutes_left)}`}`,
    `${gigabytes(recorder.free_bytes)} of ${gigabytes(recorder.total_bytes)} are free`,
  ];
  fill(element("recorder"), lines, "No recorder runs on this computer.");
}

export function showEvents({ events }) {
  element("events").replaceChildren(...[...events].reverse().map((event) => {
    const item = document.createElement("li"), time = document.createElement("time"), kind = document.createElement("b"), text = document.createElement("span");
    item.dataset.kind = event.kind;
    time.textContent = clock(event.at);
    kind.textContent = event.kind;
    text.textContent = event.text;
    item.append(time, kind, text);
    return item;
  }));
}

export function showDiagnostics({ state }) {
  const holder = element("diagnostics"), all = Object.entries(state.diagnostics ?? {}).sort(([a], [b]) => a.localeCompare(b));
  const now = Date.now() / 1000;
  const troubled = all.filter(([, status]) => status.level !== "ok").length;
  write(element("diagnostics-note"), all.length ? `${all.length} report, ${troubled || "none"} with a warning` : "nothing reports yet");
  for (const [name, status] of all) {
    let entry = [...holder.children].find((child) => child.dataset.name === name);
    if (!entry) {
      entry = document.createElement("details");
      entry.dataset.name = name;
      const summary = document.createElement("summary");
      const dot = document.createElement("i"), title = document.createElement("span"), message = document.createElement("span"), age = document.createElement("span");
      title.textContent = name;
      message.className = age.className = "quiet";
      summary.append(dot, title, message, age);
      const list = document.createElement("dl");
      list.className = "facts";
      entry.append(summary, list);
      holder.append(entry);
    }
    entry.dataset.level = status.level;
    const [, , message, age] = entry.firstChild.children;
    write(message, `${status.level === "ok" ? "" : `${status.level}: `}${status.message}`);
    write(age, now - status.at > 5 ? `silent for ${Math.round(now - status.at)} s` : "");
    if (entry.open) facts(entry.lastChild, [["hardware", status.hardware], ...status.values]);
  }
}
