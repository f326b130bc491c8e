// [data-drawer]: rows with data-id and data-drawer-url open at the side; the row stands in the address (?row=id).
import { bindOnce, fetchText, getParam, isInteractive, on, setParams } from "ms/dom";
import { morphChildren, parse } from "ms/morph";

const find = () => document.querySelector("[data-drawer]");
let opener = null;
let shown = { id: null, url: null };
let request = null;

async function load(drawer, url, { quiet }) {
  const body = drawer.querySelector("[data-drawer-body]");
  request?.abort();
  const own = new AbortController();
  request = own;
  if (!quiet) body.replaceChildren(drawer.querySelector("[data-drawer-loading]").content.cloneNode(true));
  try {
    const fresh = parse(await fetchText(url, { signal: own.signal }));
    const title = fresh.querySelector("[data-drawer-heading]")?.textContent.trim();
    if (title) drawer.querySelector("[data-drawer-title]").textContent = title;
    // Morphing keeps scroll, focus and open details where they were.
    if (quiet) morphChildren(body, fresh);
    else body.replaceChildren(fresh);
    window.htmx?.process(body);
    body.dispatchEvent(new CustomEvent("ms:swapped", { bubbles: true }));
  } catch (error) {
    if (error.name !== "AbortError" && !quiet) body.replaceChildren(drawer.querySelector("[data-drawer-error]").content.cloneNode(true));
  }
}

function mark(id) {
  for (const row of document.querySelectorAll("tr[data-id][aria-selected]")) row.removeAttribute("aria-selected");
  document.querySelector(`tr[data-id="${CSS.escape(id ?? "")}"]`)?.setAttribute("aria-selected", "true");
}

export function openDrawer({ id, url, page = null, title = "", from = null, address = "push" }) {
  const drawer = find();
  if (!drawer) return;
  opener = from ?? opener;
  shown = { id, url };
  drawer.hidden = false;
  drawer.querySelector("[data-drawer-body]").scrollTop = 0;
  if (title) drawer.querySelector("[data-drawer-title]").textContent = title;
  const link = drawer.querySelector("[data-drawer-page]");
  link.hidden = !page;
  if (page) link.href = page;
  mark(id);
  if (address === "push") setParams({ [drawer.dataset.drawerParam]: id }, { push: true });
  drawer.querySelector("[data-drawer-title]").focus({ preventScroll: true });
  load(drawer, url, { quiet: false });
}

export function closeDrawer({ address = "push" } = {}) {
  const drawer = find();
  if (!drawer || drawer.hidden) return;
  const hadFocus = drawer.contains(document.activeElement);
  drawer.hidden = true;
  mark(null);
  request?.abort();
  if (address === "push") setParams({ [drawer.dataset.drawerParam]: null }, { push: true });
  const row = document.querySelector(`tr[data-id="${CSS.escape(shown.id ?? "")}"]`);
  if (hadFocus) (opener?.isConnected ? opener : row?.querySelector("[data-drawer-link]"))?.focus();
  shown = { id: null, url: null };
}

/** The open row changed on the server: fetch it again without moving anything. */
export function refreshDrawer(id) {
  const drawer = find();
  if (drawer && !drawer.hidden && shown.id === id) load(drawer, shown.url, { quiet: true });
}

/** Rows were replaced: the mark of the open row follows. */
export const remark = () => { if (shown.id) mark(shown.id); };

function openRow(row, from, address) {
  const link = row.querySelector("[data-drawer-link]");
  openDrawer({ id: row.dataset.id, url: row.dataset.drawerUrl, page: row.dataset.pageUrl, title: link?.textContent.trim(), from, address });
}

function followAddress() {
  const drawer = find();
  if (!drawer) return;
  const id = getParam(drawer.dataset.drawerParam);
  const row = id && document.querySelector(`[data-id="${CSS.escape(id)}"][data-drawer-url]`);
  if (row) openRow(row, null, "keep");
  else closeDrawer({ address: "keep" });
}

on("click", "[data-drawer-link]", (event, link) => {
  const row = link.closest("[data-drawer-url]");
  if (!row || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  openRow(row, link, "push");
});
on("click", "tr[data-drawer-url]", (event, row) => {
  // A convenience for the pointer; the row's link is what the keyboard and screen readers use.
  if (isInteractive(event.target) || String(getSelection())) return;
  openRow(row, row.querySelector("[data-drawer-link]"), "push");
});
on("click", "[data-drawer-close]", () => closeDrawer());
on("click", "[data-drawer] [data-retry]", () => load(find(), shown.url, { quiet: false }));
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.defaultPrevented) return;
  if (document.querySelector("dialog[open], [popover]:popover-open")) return;
  closeDrawer();
});
addEventListener("popstate", followAddress);

export const bind = (root) => bindOnce(root, "[data-drawer]", followAddress);
