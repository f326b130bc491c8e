// [data-board]: the live board of a search. See docs/reference/frontend.md for its attributes and messages.
import { setupColumns } from "ms/board-columns";
import { Feed } from "ms/board-feed";
import { BoardTable } from "ms/board-table";
import { announce, bindOnce, getParam, setParams } from "ms/dom";
import { refreshDrawer, remark } from "ms/drawer";
import { morphChildren, parse } from "ms/morph";
import { restore } from "ms/selection";
import { clock, t } from "ms/text";

const SUMMARY_MS = 12000;

/** Says the newest summary at most every 12 s; the last one is never lost. */
function summaries() {
  let spoken = -Infinity;
  let timer = 0;
  return (text, { now = false } = {}) => {
    clearTimeout(timer);
    const wait = now ? 0 : Math.max(0, spoken + SUMMARY_MS - Date.now());
    timer = setTimeout(() => {
      spoken = Date.now();
      announce(text);
    }, wait);
  };
}

/** Joins what came while updates were paused into one message. */
function join(earlier, later) {
  if (!earlier || later.type === "snapshot") return later;
  return { ...later, type: earlier.type, rows: { ...earlier.rows, ...later.rows }, order: later.order ?? earlier.order, header: later.header ?? earlier.header };
}

class Board {
  constructor(element) {
    this.element = element;
    this.header = element.querySelector("[data-board-header]");
    this.chip = element.querySelector("[data-board-connection]");
    this.pauseButton = element.querySelector("[data-board-pause]");
    this.applyButton = element.querySelector("[data-board-apply]");
    this.say = summaries();
    this.paused = false;
    this.buffer = null;
    this.connection = ["connecting", new Date()];
    this.table = new BoardTable(element.querySelector("[data-board-table]"), { onWaiting: (count) => this.showWaiting(count) });
    setupColumns(element);
    this.setupFilters();
    this.pauseButton?.addEventListener("click", () => this.togglePause());
    this.applyButton?.addEventListener("click", () => {
      this.table.flush();
      restore(this.element);
    });
    this.connect();
  }

  connect() {
    const data = this.element.dataset;
    if (data.final === "true") return this.showConnection("final", new Date());
    this.feed = new Feed({
      socketPath: data.socket ?? `/ws/searches/${data.searchId}/`,
      updatesUrl: data.updatesUrl,
      after: Number(data.seq ?? 0),
      onMessage: (message) => this.receive(message),
      onState: (state, heard) => this.showConnection(state, heard),
    });
    this.feed.start();
  }

  /** Offers the states that some row is in, and the chosen one; never while the person chooses. */
  showStates() {
    const field = this.stateField;
    if (!field || document.activeElement === field) return;
    const present = new Set(this.table.rows().map((row) => row.dataset.state));
    const wanted = this.states.filter(({ value }) => !value || present.has(value) || value === field.value);
    if (wanted.length === field.options.length && wanted.every((option, index) => option === field.options[index])) return;
    const { value } = field; // an option that is taken out and put back is no longer the chosen one
    field.replaceChildren(...wanted);
    field.value = value;
  }

  setupFilters() {
    this.stateField = this.element.querySelector("[data-board-filter=state]");
    this.states = [...(this.stateField?.options ?? [])];
    this.stateField?.addEventListener("blur", () => this.showStates());
    for (const field of this.element.querySelectorAll("[data-board-filter]")) {
      const kind = field.dataset.boardFilter;
      const name = kind === "text" ? "filter" : "state";
      field.value = getParam(name) ?? "";
      field.addEventListener("input", () => {
        this.table.setFilter({ [kind]: field.value });
        setParams({ [name]: field.value });
      });
      this.table.setFilter({ [kind]: field.value });
    }
    this.showStates();
  }

  receive(message) {
    if (this.paused) this.buffer = join(this.buffer, message);
    else this.apply(message);
  }

  apply(message) {
    if (message.header !== undefined && this.header) {
      morphChildren(this.header, parse(message.header));
      this.header.dispatchEvent(new CustomEvent("ms:swapped", { bubbles: true }));
    }
    if (message.type !== "snapshot" && message.seq === Number(this.element.dataset.seq)) return;
    const changed = this.table.apply(message.rows ?? {}, message.order, { complete: message.type === "snapshot" });
    this.showStates();
    restore(this.element);
    remark();
    changed.forEach(refreshDrawer);
    if (message.summary) this.say(message.summary, { now: message.final });
    this.element.dataset.seq = String(message.seq);
    this.element.dataset.final = String(Boolean(message.final));
    this.element.dispatchEvent(new CustomEvent("board:updated", { bubbles: true, detail: { seq: message.seq, final: message.final } }));
  }

  togglePause() {
    this.paused = !this.paused;
    this.pauseButton.setAttribute("aria-pressed", String(this.paused));
    const label = this.pauseButton.querySelector("[data-board-pause-label]");
    if (label) label.textContent = t(this.paused ? "board.resume" : "board.pause");
    announce(t(this.paused ? "board.paused" : "board.resumed"));
    if (!this.paused && this.buffer) {
      this.apply(this.buffer);
      this.buffer = null;
    }
    this.showConnection(...this.connection);
  }

  showWaiting(count) {
    restore(this.element);
    remark();
    if (!this.applyButton) return;
    this.applyButton.hidden = count === 0;
    this.applyButton.textContent = t("board.waiting", { n: count });
  }

  showConnection(state, heard) {
    this.connection = [state, heard];
    const shown = this.paused && state !== "final" && state !== "closed" ? "paused" : state;
    if (this.pauseButton) this.pauseButton.hidden = state === "final" || state === "closed" ? !this.paused : false;
    if (!this.chip) return;
    this.chip.dataset.state = shown;
    this.chip.textContent = t(`board.state.${shown}`, { time: clock(heard) });
  }
}

export const bind = (root) => bindOnce(root, "[data-board]", (element) => new Board(element));
