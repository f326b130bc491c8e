// [data-selection]: check boxes [data-select] choose up to data-selection-max rows; the bar links to the comparison.
import { announce, bindOnce, on } from "ms/dom";
import { t } from "ms/text";

const chosen = new WeakMap();

function show(scope) {
  const ids = chosen.get(scope);
  const max = Number(scope.dataset.selectionMax ?? 6);
  for (const box of scope.querySelectorAll("input[data-select]")) {
    box.checked = ids.has(box.value);
    box.disabled = !box.checked && ids.size >= max;
  }
  const bar = scope.querySelector("[data-selection-bar]");
  if (!bar) return;
  bar.hidden = ids.size === 0;
  bar.querySelector("[data-selection-text]").textContent = t("selected", { n: ids.size, max });
  const link = bar.querySelector("[data-selection-go]");
  const url = new URL(link.href, location.href);
  url.searchParams.delete(scope.dataset.selectionParam ?? "id");
  for (const id of ids) url.searchParams.append(scope.dataset.selectionParam ?? "id", id);
  link.href = url.pathname + url.search;
  link.setAttribute("aria-disabled", String(ids.size < 2));
}

function setup(scope) {
  chosen.set(scope, new Set([...scope.querySelectorAll("input[data-select]:checked")].map((box) => box.value)));
  show(scope);
}

on("change", "input[data-select]", (event, box) => {
  const scope = box.closest("[data-selection]");
  const ids = chosen.get(scope);
  if (!ids) return;
  if (box.checked) ids.add(box.value);
  else ids.delete(box.value);
  show(scope);
  announce(t("selected", { n: ids.size, max: Number(scope.dataset.selectionMax ?? 6) }));
});
on("click", "[data-selection-clear]", (event, button) => {
  const scope = button.closest("[data-selection]");
  chosen.get(scope).clear();
  show(scope);
});
on("click", "[data-selection-go][aria-disabled=true]", (event) => event.preventDefault());

/** Rows were replaced: check boxes follow what was chosen before. */
export function restore(element) {
  const scope = element.closest("[data-selection]");
  if (scope && chosen.has(scope)) show(scope);
}

export const bind = (root) => bindOnce(root, "[data-selection]", setup);
