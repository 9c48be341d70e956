// The live stream: connects, comes back by itself, and notices when the server falls silent.

import { ask, token } from "./api.js";
import { decodeFrame } from "./frame.js";

const FPS = 20;
const SILENT_MS = 500;
const WATCH_MS = 100;
const FIRST_RETRY_MS = 250;
const LAST_RETRY_MS = 2000;

export class Live {
  // `onFrame(frame)` for each message, `onLink()` when `link` changes, `onRefused()` when a token is wanted.
  constructor(onFrame, onLink, onRefused) {
    Object.assign(this, { onFrame, onLink, onRefused });
    this.link = "connecting"; // connecting, live, silent, lost, refused
    this.lastFrameAt = 0;
    this.retryMs = FIRST_RETRY_MS;
    this.late = 0;
    this.refused = false;
    setInterval(() => this.watch(), WATCH_MS);
  }

  connect() {
    const url = new URL("/v1/live", location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    url.searchParams.set("fps", FPS);
    if (token.get()) url.searchParams.set("token", token.get());
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    socket.onmessage = (event) => this.take(event.data);
    socket.onclose = () => this.closed();
    this.socket = socket;
    this.openedAt = performance.now();
  }

  take(buffer) {
    const frame = decodeFrame(buffer); // one that cannot be read is as if it had not come
    this.lastFrameAt = performance.now();
    this.retryMs = FIRST_RETRY_MS;
    this.late = 0;
    this.refused = false;
    this.change("live");
    this.onFrame(frame);
  }

  // A browser hides why a WebSocket was refused, so the same door is tried with a plain request.
  async closed() {
    this.change("lost");
    try {
      await ask("/v1/state");
    } catch (problem) {
      if (problem.status === 401 || problem.status === 403) {
        this.refused = true;
        this.change("refused");
        this.onRefused(problem);
        return; // `connect` again once there is another token
      }
    }
    setTimeout(() => this.connect(), this.retryMs);
    this.retryMs = Math.min(2 * this.retryMs, LAST_RETRY_MS);
  }

  // Twice in a row, so that a page that was itself held up does not blame the server.
  watch() {
    const since = this.lastFrameAt || this.openedAt;
    const late = this.link === "live" || this.link === "connecting" ? performance.now() - since > SILENT_MS : false;
    this.late = late ? this.late + 1 : 0;
    if (this.late >= 2) this.change("silent");
  }

  change(link) {
    if (link === this.link || (this.refused && link === "lost")) return;
    this.link = link;
    this.onLink();
  }
}
