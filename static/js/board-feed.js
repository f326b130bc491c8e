// The connection of a live board: socket first, polling where sockets are blocked, both from the last sequence number seen.
import { fetchText } from "ms/dom";

const FAILURES_BEFORE_POLLING = 3;
const POLL_MS = 5000;
const BACKOFF_MS = 1000;
const BACKOFF_MAX_MS = 30000;
const QUIET_MS = 45000; // the server pings more often than this, so a longer silence is a dead connection
const STALE_MS = 15000;
const REFUSED = new Set([4401, 4403, 4404, 401, 403, 404]);

export class Feed {
  #socket = null;
  #failures = 0;
  #retry = 0;
  #poll = 0;
  #watch = 0;
  #stopped = false;
  #state = "";
  #heard = Date.now();

  /** onMessage(update or snapshot), onState(state, time last heard). Addresses are relative to the page. */
  constructor({ socketPath, updatesUrl, after, onMessage, onState }) {
    this.socketPath = socketPath;
    this.updatesUrl = updatesUrl;
    this.after = after;
    this.onMessage = onMessage;
    this.onState = onState;
  }

  start() {
    this.#watch = setInterval(() => this.#check(), 2000);
    addEventListener("online", this.#reconnectNow);
    this.#connect();
  }

  stop(state) {
    this.#stopped = true;
    clearInterval(this.#watch);
    clearTimeout(this.#retry);
    this.#stopPolling();
    removeEventListener("online", this.#reconnectNow);
    this.#socket?.close(1000);
    this.#show(state);
  }

  #show(state) {
    if (state === this.#state && state !== "stale") return;
    this.#state = state;
    this.onState(state, new Date(this.#heard));
  }

  #connect() {
    if (this.#stopped) return;
    const url = new URL(this.socketPath, location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    url.searchParams.set("after", String(this.after));
    const socket = new WebSocket(url);
    this.#socket = socket;
    socket.onmessage = (event) => {
      this.#failures = 0;
      this.#stopPolling();
      this.#heard = Date.now();
      this.#show("live");
      this.#accept(JSON.parse(event.data));
    };
    socket.onclose = (event) => {
      if (this.#stopped || socket !== this.#socket) return;
      if (REFUSED.has(event.code)) return this.stop("closed");
      this.#failures += 1;
      if (this.#failures >= FAILURES_BEFORE_POLLING) this.#startPolling();
      else this.#show("reconnecting");
      const wait = Math.min(BACKOFF_MAX_MS, BACKOFF_MS * 2 ** (this.#failures - 1));
      // Jitter, so that a restarted server is not met by every board at once.
      this.#retry = setTimeout(() => this.#connect(), wait * (0.5 + Math.random() / 2));
    };
  }

  #reconnectNow = () => {
    if (this.#socket?.readyState === WebSocket.OPEN) return;
    clearTimeout(this.#retry);
    this.#connect();
  };

  #check() {
    const quiet = Date.now() - this.#heard;
    if (this.#socket?.readyState === WebSocket.OPEN && quiet > QUIET_MS) this.#socket.close();
    if (this.#state === "reconnecting" && quiet > STALE_MS) this.#show("stale");
  }

  #startPolling() {
    if (this.#poll) return;
    const tick = async () => {
      const url = new URL(this.updatesUrl, location.href);
      url.searchParams.set("after", String(this.after));
      try {
        const body = await fetchText(url, { accept: "application/json" });
        if (this.#stopped || !this.#poll) return;
        this.#heard = Date.now();
        this.#show("polling");
        if (body) this.#accept(JSON.parse(body));
      } catch (error) {
        if (REFUSED.has(error.status)) return this.stop("closed");
        this.#show("stale");
      }
      if (this.#poll && !this.#stopped) this.#poll = setTimeout(tick, POLL_MS);
    };
    this.#poll = setTimeout(tick, 0);
  }

  #stopPolling() {
    clearTimeout(this.#poll);
    this.#poll = 0;
  }

  #accept(message) {
    if (message.type === "ping") return;
    // With the number already seen it brings the header only: what it tells of the queue and the worker is no event.
    if (message.type === "snapshot" || message.seq >= this.after) {
      this.after = message.seq;
      this.onMessage(message);
    }
    if (message.final) this.stop("final");
  }
}
