// Places a native popover under the button that opened it, and lets the arrow keys move through its items.
import { on } from "ms/dom";

const GAP = 4;

function place(menu) {
  const button = document.querySelector(`[popovertarget="${CSS.escape(menu.id)}"]`);
  if (!button) return;
  const anchor = button.getBoundingClientRect();
  const box = menu.getBoundingClientRect();
  const fitsBelow = anchor.bottom + GAP + box.height <= innerHeight || anchor.top < box.height + GAP;
  const left = anchor.left + box.width <= innerWidth - GAP ? anchor.left : anchor.right - box.width;
  menu.style.left = `${Math.max(GAP, Math.min(left, innerWidth - box.width - GAP))}px`;
  menu.style.top = `${fitsBelow ? anchor.bottom + GAP : anchor.top - box.height - GAP}px`;
}

const openMenus = () => document.querySelectorAll("[popover].menu:popover-open");

// `toggle` does not bubble, hence the capture phase.
document.addEventListener("toggle", (event) => {
  const menu = event.target;
  if (menu instanceof HTMLElement && menu.matches("[popover].menu") && event.newState === "open") place(menu);
}, true);
addEventListener("resize", () => openMenus().forEach(place));
addEventListener("scroll", () => openMenus().forEach(place), { passive: true, capture: true });

// A link that htmx follows leaves the page in place, and the menu open over it.
on("click", "[popover].menu a[href]", (event, link) => link.closest("[popover]").hidePopover());

on("keydown", "[popover].menu", (event, menu) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || event.target.matches("input[type=radio], select, textarea")) return;
  const items = [...menu.querySelectorAll("a[href], button, input")].filter((item) => item.offsetParent !== null);
  if (!items.length) return;
  event.preventDefault();
  items[(items.indexOf(document.activeElement) + step + items.length) % items.length].focus();
});
on("keydown", "[popovertarget]", (event, button) => {
  if (event.key !== "ArrowDown") return;
  event.preventDefault();
  const menu = document.getElementById(button.getAttribute("popovertarget"));
  menu.showPopover();
  menu.querySelector("a[href], button, input:checked, input")?.focus();
});
