// [data-labelling]: labelling one sample at a time. Keys are pressed by shortcuts.js ([data-key]); here: finding one of many labels
// by typing, and telling the new standing after every answer.
import { announce, bindOnce } from "ms/dom";

const choices = (root) => [...root.querySelectorAll("[data-label-name]")];

/** Labels that begin with what was typed come before those that only contain it. */
function narrow(root, typed) {
  const wanted = typed.trim().toLowerCase();
  const names = choices(root).map((button) => [button, button.dataset.labelName.toLowerCase()]);
  for (const [button, name] of names) button.hidden = !name.includes(wanted);
  if (!wanted) return null;
  return (names.find(([, name]) => name.startsWith(wanted)) ?? names.find(([, name]) => name.includes(wanted)))?.[0] ?? null;
}

function setup(root) {
  let finding = false;
  root.addEventListener("input", (event) => {
    if (event.target.matches("[data-label-find]")) narrow(root, event.target.value);
  });
  root.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !event.target.matches("[data-label-find]")) return;
    event.preventDefault();
    narrow(root, event.target.value)?.click();
  });
  root.addEventListener("submit", () => { finding = document.activeElement?.matches("[data-label-find]") ?? false; });
  root.addEventListener("htmx:after:swap", () => {
    if (finding) root.querySelector("[data-label-find]")?.focus();
    announce(root.querySelector("[data-labelling-summary]")?.textContent.replace(/\s+/g, " ").trim());
  });
}

export const bind = (root) => bindOnce(root, "[data-labelling]", setup);
