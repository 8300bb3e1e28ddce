// The connection to the console: one WebSocket that tells the state, and orders, each a request of its own, so that an
// emergency stop waits behind no image.

const FRAME_HEADER = 4;
const ALIVE_MS = 400;

// The token stands behind '#', which no server and no log ever sees; it leaves the address bar at once.
function takeToken() {
  const found = new URLSearchParams(location.hash.slice(1)).get("token");
  if (found) {
    try { sessionStorage.setItem("fosp-token", found); } catch { /* a private window may refuse; the token is kept here */ }
    history.replaceState(null, "", location.pathname);
    return found;
  }
  try { return sessionStorage.getItem("fosp-token") ?? ""; } catch { return ""; }
}

export class Link {
  constructor({ onState, onFrame, onLink }) {
    this.token = takeToken();
    this.session = "";
    this.mayAct = false;
    this.heardAt = 0;
    this.onState = onState;
    this.onFrame = onFrame;
    this.onLink = onLink;
    this.waitMs = 250;
    setInterval(() => this.beat(), ALIVE_MS);
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/ws`);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    socket.onopen = () => socket.send(JSON.stringify({ token: this.token }));
    socket.onmessage = ({ data }) => {
      this.heardAt = performance.now();
      if (typeof data !== "string") return this.frame(data);
      const message = JSON.parse(data);
      if (message.kind === "hello") {
        this.session = message.session;
        this.mayAct = message.may_act;
        this.waitMs = 250;
        this.onLink({ connected: true, mayAct: message.may_act, tokenWrong: message.token_wrong });
      } else {
        this.onState(message);
      }
    };
    socket.onclose = ({ reason }) => {
      this.session = "";
      this.mayAct = false;
      this.onLink({ connected: false, reason });
      setTimeout(() => this.connect(), this.waitMs);
      this.waitMs = Math.min(this.waitMs * 2, 4000);
    };
  }

  frame(data) {
    const view = new DataView(data);
    const length = view.getUint32(0, true);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, FRAME_HEADER, length)));
    this.onFrame(header, new Blob([new Uint8Array(data, FRAME_HEADER + length)], { type: "image/jpeg" }));
  }

  // A page that has engaged the robot is its watch: when these end, the robot is released.
  beat() {
    if (this.mayAct && this.socket?.readyState === WebSocket.OPEN) this.socket.send("alive");
  }

  async order(name, more = {}) {
    if (!this.token) return { done: false, said: "read-only: open the address with the token, which the console printed at its start" };
    const body = { order: name, ...more };
    if (this.session) body.session = this.session;
    try {
      const response = await fetch("/order", {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-Fosp-Token": this.token },
        body: JSON.stringify(body),
        credentials: "omit",
        keepalive: true,
        priority: "high",
      });
      return await response.json();
    } catch {
      return { done: false, said: "the console does not answer" };
    }
  }
}
