// Toasts: server messages in #toasts, toast(...) from scripts, and the event `toast` {message, kind} that a response may trigger.
import { bindOnce, on } from "ms/dom";

const LIFE_MS = 6000;

function setup(toast) {
  // An error stays until it is dismissed; the rest waits while it is pointed at or focused.
  if (toast.dataset.kind === "error") return;
  let timer = 0;
  const start = () => { timer = setTimeout(() => toast.remove(), LIFE_MS); };
  const stop = () => clearTimeout(timer);
  for (const name of ["pointerenter", "focusin"]) toast.addEventListener(name, stop);
  for (const name of ["pointerleave", "focusout"]) toast.addEventListener(name, start);
  start();
}

/** kind: info, success, warning or error. */
export function toast(message, kind = "info") {
  const copy = document.getElementById("toast-template").content.cloneNode(true);
  const element = copy.querySelector("[data-toast]");
  element.dataset.kind = kind;
  element.setAttribute("role", kind === "error" ? "alert" : "status");
  document.getElementById("toasts").append(element);
  element.querySelector("span").textContent = message;
  setup(element);
}

on("click", "[data-toast-close]", (event, button) => button.closest("[data-toast]").remove());
document.addEventListener("toast", (event) => toast(event.detail.message, event.detail.kind));

export const bind = (root) => bindOnce(root, "[data-toast]", setup);
