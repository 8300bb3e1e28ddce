// What the page knows: the newest of everything, and the verdicts of the last minute.

const PAST = 1200;

export class Store {
  constructor() {
    this.state = {};
    this.verdicts = [];
    this.events = [];
    this.changed = new Set();
    this.trail = [];
  }

  take(message) {
    if (message.kind === "everything") {
      this.state = {};
      this.verdicts = [];
      this.events = [];
    }
    Object.assign(this.state, message.state);
    for (const name of Object.keys(message.state)) this.changed.add(name);
    let newest = this.verdicts.at(-1)?.decided ?? 0;
    for (const verdict of message.verdicts) {
      if (verdict.decided <= newest) continue;
      verdict.shownAt = Date.now() / 1000;
      newest = verdict.decided;
      this.verdicts.push(verdict);
      this.changed.add("verdicts");
    }
    if (this.verdicts.length > PAST) this.verdicts.splice(0, this.verdicts.length - PAST);
    if (message.events.length) {
      this.events.push(...message.events);
      this.events.splice(0, Math.max(0, this.events.length - 60));
      this.changed.add("events");
    }
    if (message.state.motion?.pose) {
      this.trail.push(message.state.motion.pose);
      if (this.trail.length > 80) this.trail.shift();
    }
  }

  get verdict() {
    return this.verdicts.at(-1);
  }

  // The candidates of the newest verdict's step, if they have come.
  get proposal() {
    return this.state.proposal;
  }
}
