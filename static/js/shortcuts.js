// Single-key shortcuts. Off with <body data-shortcuts="off"> (account setting) or on this device (check box in the list).
import { isInteractive, on, storage, takesKeys } from "ms/dom";

const enabled = () => document.body.dataset.shortcuts !== "off" && storage.get("ms.shortcuts") !== "off";
const rows = () => [...document.querySelectorAll("tr[data-id], [data-row]")].filter((row) => row.getClientRects().length);
const currentRow = () => document.activeElement?.closest("tr[data-id], [data-row]");

function move(step) {
  const all = rows();
  if (!all.length) return false;
  const from = all.indexOf(currentRow());
  const next = all[from < 0 ? (step > 0 ? 0 : all.length - 1) : Math.max(0, Math.min(all.length - 1, from + step))];
  next.tabIndex = -1;
  next.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
  return true;
}

function click(selector) {
  const element = document.querySelector(selector);
  element?.click();
  return Boolean(element);
}

function focusSearch() {
  const field = document.querySelector("[data-shortcut-search]");
  field?.focus();
  field?.select();
  return Boolean(field);
}

function selectRow() {
  const box = currentRow()?.querySelector("input[data-select]");
  box?.click();
  return Boolean(box);
}

function togglePause() {
  // On a control, the space bar belongs to the control.
  if (isInteractive(document.activeElement)) return false;
  return click("[data-board-pause]");
}

const KEYS = {
  "/": focusSearch,
  n: () => click("[data-shortcut-new]"),
  j: () => move(1),
  k: () => move(-1),
  x: selectRow,
  c: () => click("[data-selection-bar]:not([hidden]) [data-shortcut-compare]"),
  " ": togglePause,
  "?": () => click('[data-dialog-open="shortcuts-dialog"]'),
};

/** A page's own keys stand on its buttons as data-key. */
const pressed = (key) => click(`[data-key="${CSS.escape(key)}"]:enabled`);

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.key === "Enter" && event.target.matches?.("tr[data-id], [data-row]")) {
    event.target.querySelector("[data-drawer-link], a[href]")?.click();
    return;
  }
  if (!enabled() || takesKeys(event.target) || document.querySelector("dialog[open]")) return;
  if (KEYS[event.key]?.() || pressed(event.key)) event.preventDefault();
});

on("change", "[data-shortcuts-toggle]", (event, box) => {
  storage.set("ms.shortcuts", box.checked ? "on" : "off");
});
for (const box of document.querySelectorAll("[data-shortcuts-toggle]")) box.checked = enabled();
