// Orders of a person: the emergency stop above all, and those that are asked for twice.

import { shortId, write } from "./format.js";

const CONFIRM_MS = 5000;
const element = (id) => document.getElementById(id);

export class Orders {
  constructor(link, say) {
    this.link = link;
    this.say = say;
    this.buttons = [...document.querySelectorAll("button[data-order], #mark button")];
    this.estop = element("estop");
    this.estop.addEventListener("click", () => this.stop());
    // In front of everything else on the page, and while a key is held down, once. The space bar writes a space only
    // in the field of a note.
    addEventListener("keydown", (event) => {
      if (event.code !== "Space" || event.target === element("note")) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      if (!event.repeat) this.stop();
    }, { capture: true });
    addEventListener("keyup", (event) => {
      if (event.code === "Space" && event.target !== element("note")) event.preventDefault();
    }, { capture: true });
    for (const button of this.buttons) {
      if (button.dataset.order) button.addEventListener("click", (event) => { event.preventDefault(); this.ask(button); });
    }
    element("mark").addEventListener("submit", (event) => {
      event.preventDefault();
      this.give("mark", { note: element("note").value }).then((answer) => { if (answer.done) element("note").value = ""; });
    });
    element("bundle").addEventListener("submit", (event) => event.preventDefault());
    this.allow(false);
  }

  async stop() {
    this.estop.dataset.state = "sent";
    this.estop.dataset.sentAt = String(Date.now() / 1000);
    const answer = await this.link.order("estop");
    this.estop.dataset.state = answer.done ? "done" : "failed";
    if (!answer.done) this.warn(answer.said.startsWith("read-only") ? `Not stopped. This page may only look: ${answer.said.slice(11)}` : `NOT STOPPED: ${answer.said}`);
    else this.warn("");
    this.tell(answer);
    setTimeout(() => { delete this.estop.dataset.state; }, 1500);
  }

  // What cannot be taken back is asked for twice. A dialog would cover the emergency stop.
  ask(button) {
    if (button.dataset.confirm && !button.dataset.confirming) {
      button.dataset.word = button.textContent;
      button.dataset.confirming = "true";
      write(button, button.dataset.confirm);
      button.timer = setTimeout(() => this.settle(button), CONFIRM_MS);
      return;
    }
    this.settle(button);
    const name = button.dataset.order;
    this.give(name, name === "announce" ? { model_id: element("bundle-choice").value } : {});
  }

  settle(button) {
    clearTimeout(button.timer);
    if (!button.dataset.confirming) return;
    delete button.dataset.confirming;
    write(button, button.dataset.word);
  }

  async give(name, more = {}) {
    write(element("answer"), `${name}: asked`);
    const answer = await this.link.order(name, more);
    this.tell(answer);
    return answer;
  }

  tell(answer) {
    element("answer").dataset.done = String(answer.done);
    write(element("answer"), answer.said);
  }

  warn(text) {
    element("notice").hidden = !text;
    write(element("notice"), text);
  }

  allow(mayAct) {
    for (const button of this.buttons) button.disabled = !mayAct;
    element("note").disabled = element("bundle-choice").disabled = !mayAct;
  }

  show({ state }, link) {
    const latch = state.latch, refusal = state.refusal;
    element("latch").hidden = !latch;
    if (latch) {
      write(element("latch-cause"), `Cause: ${latch.cause}`);
      element("latch-refusal").hidden = !refusal;
      if (refusal) write(element("latch-refusal"), `What still speaks against a reset: ${refusal.text.replace(/^refused, /, "")}`);
    }
    const consent = state.consent, watch = state.watch;
    const who = watch?.session ? (watch.session === link.session ? "; this page is its watch: keep it open" : "; another page is its watch") : "";
    write(element("consent"), state.by_itself ? "This simulated robot engages by itself." : consent ? `Engaged: ${consent.engaged}${who}` : "The safety monitor has not reported yet.");
    const engage = this.buttons.find((button) => button.dataset.order === "engage");
    engage.disabled = !link.mayAct || Boolean(state.by_itself);
    this.showEpisode(state);
    this.showBundles(state);
  }

  showEpisode({ episode }) {
    if (!episode) return;
    const outcome = [episode.success ? "goal reached" : "", episode.violations ? `${episode.violations} violating steps` : "no violation"].filter(Boolean).join(", ");
    const seconds = Math.max(0, episode.last - episode.since).toFixed(0);
    write(element("episode"), `Episode ${episode.number} ${episode.running ? "runs" : "has ended"}, ${seconds} s, ${outcome}, return ${(Math.round(episode.return * 10) / 10 || 0).toFixed(1)}${episode.distance === null ? "" : `, ${episode.distance.toFixed(2)} m to the goal`}`);
  }

  showBundles({ bundles, model }) {
    const choice = element("bundle-choice");
    const known = (bundles?.known ?? []).filter((bundle) => bundle.id !== model?.id);
    const key = JSON.stringify(known);
    if (choice.dataset.key === key) return;
    choice.dataset.key = key;
    choice.replaceChildren(...(known.length ? known : [{ id: "", name: "no other bundle is known" }]).map((bundle) => {
      const option = document.createElement("option");
      option.value = bundle.id;
      option.textContent = bundle.id ? `${bundle.name} (${shortId(bundle.id)})` : bundle.name;
      return option;
    }));
  }
}
