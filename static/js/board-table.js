// The rows of a live board. Cells change in place at once; places change at most every 2 s and never under a person's hand.
import { getParam, setParams } from "ms/dom";
import { morph, parse } from "ms/morph";

const REORDER_MS = 2000;

export class BoardTable {
  #order = [];
  #incoming = new Map();
  #timer = 0;
  #moved = 0;

  /** onWaiting(count): how many rows would change place but are held back. */
  constructor(table, { onWaiting }) {
    this.table = table;
    this.body = table.tBodies[0];
    this.onWaiting = onWaiting;
    this.sort = getParam("sort") ?? "";
    this.filter = { text: "", state: "" };
    this.#order = this.rows().map((row) => row.dataset.id);
    table.tHead.addEventListener("click", (event) => {
      const button = event.target.closest("[data-sort]");
      if (button) this.#cycle(button.dataset.sort);
    });
    for (const name of ["pointerleave", "focusout"]) table.addEventListener(name, () => this.#schedule());
    this.#showSort();
    if (this.sort) this.flush();
  }

  rows() {
    return [...this.body.querySelectorAll(":scope > tr[data-id]")];
  }

  /** rows: {id: html}. complete: rows that are not in order are gone. Returns the ids whose content came. */
  apply(rows, order, { complete = false } = {}) {
    for (const [id, html] of Object.entries(rows)) {
      const fresh = parse(html).querySelector("tr");
      const row = this.#row(id);
      if (row) morph(row, fresh);
      else this.#incoming.set(id, document.importNode(fresh, true));
    }
    if (order) this.#order = complete ? [...order] : [...order, ...this.#order.filter((id) => !order.includes(id))];
    this.#applyFilter();
    this.#schedule();
    return Object.keys(rows);
  }

  setFilter(changes) {
    Object.assign(this.filter, changes);
    this.#applyFilter();
  }

  /** Brings every row to its place now. */
  flush() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#moved = Date.now();
    const wanted = this.#wanted();
    let place = this.body.querySelector(":scope > tr[data-id]");
    for (const id of wanted) {
      const row = this.#row(id) ?? this.#incoming.get(id);
      if (row === place) place = place.nextElementSibling;
      // moveBefore keeps focus and animations where the browser has it.
      else if (row.isConnected && this.body.moveBefore) this.body.moveBefore(row, place);
      else this.body.insertBefore(row, place);
    }
    const known = new Set(wanted);
    for (const row of this.rows()) if (!known.has(row.dataset.id)) row.remove();
    this.#incoming.clear();
    this.#applyFilter();
    this.onWaiting(0);
  }

  #row(id) {
    return this.body.querySelector(`:scope > tr[data-id="${CSS.escape(id)}"]`);
  }

  #held() {
    const pointed = matchMedia("(hover: hover)").matches && this.table.matches(":hover");
    return pointed || this.table.contains(document.activeElement);
  }

  #schedule() {
    if (this.#timer) return;
    const wait = Math.max(250, this.#moved + REORDER_MS - Date.now());
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      const waiting = this.#waiting();
      if (!waiting) this.onWaiting(0);
      else if (this.#held()) this.onWaiting(waiting);
      else this.flush();
    }, wait);
  }

  #waiting() {
    const now = this.rows().map((row) => row.dataset.id);
    const wanted = this.#wanted();
    const gone = now.filter((id) => !wanted.includes(id)).length;
    return gone + wanted.filter((id, index) => now[index] !== id).length;
  }

  #wanted() {
    const ids = this.#order.filter((id) => this.#row(id) || this.#incoming.has(id));
    if (!this.sort) return ids;
    const column = this.sort.replace(/^-/, "");
    const sign = this.sort.startsWith("-") ? -1 : 1;
    const values = new Map(ids.map((id) => [id, this.#value(id, column)]));
    const missing = (id) => values.get(id) === "";
    return ids.sort((a, b) => {
      if (missing(a) || missing(b)) return Number(missing(a)) - Number(missing(b));
      const [left, right] = [values.get(a), values.get(b)];
      const order = Number.isNaN(Number(left)) || Number.isNaN(Number(right)) ? left.localeCompare(right) : Number(left) - Number(right);
      return sign * order;
    });
  }

  #value(id, column) {
    const row = this.#row(id) ?? this.#incoming.get(id);
    return row.querySelector(`[data-col="${CSS.escape(column)}"]`)?.dataset.sortValue ?? "";
  }

  // Descending, ascending, then the search's own order again.
  #cycle(column) {
    this.sort = this.sort === `-${column}` ? column : this.sort === column ? "" : `-${column}`;
    setParams({ sort: this.sort });
    this.#showSort();
    this.flush();
  }

  #showSort() {
    for (const head of this.table.tHead.querySelectorAll("th[data-col]")) {
      if (this.sort.replace(/^-/, "") === head.dataset.col) head.setAttribute("aria-sort", this.sort.startsWith("-") ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
  }

  #applyFilter() {
    const text = this.filter.text.trim().toLowerCase();
    for (const row of this.rows()) {
      const matches = (!text || row.textContent.toLowerCase().includes(text)) && (!this.filter.state || row.dataset.state === this.filter.state);
      row.hidden = !matches;
    }
  }
}
