// data-confirm="Question" on a link, a button or a form asks first; data-confirm-detail and data-confirm-label say more.
import { on } from "ms/dom";
import { t } from "ms/text";

const agreed = new WeakSet();

/** Resolves to true when the person agreed. */
export function ask({ title, detail = "", label = t("continue") }) {
  const dialog = document.getElementById("confirm-dialog");
  dialog.querySelector("#confirm-title").textContent = title;
  dialog.querySelector("#confirm-detail").textContent = detail;
  const yes = dialog.querySelector("[data-confirm-yes]");
  yes.textContent = label;
  dialog.returnValue = "";
  dialog.showModal();
  dialog.querySelector("[data-confirm-no]").focus();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

on("click", "[data-confirm-yes]", (event, button) => button.closest("dialog").close("yes"));
on("click", "[data-confirm-no]", (event, button) => button.closest("dialog").close(""));

async function guard(event, element, repeat) {
  if (agreed.delete(element)) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  const data = element.dataset;
  if (!(await ask({ title: data.confirm, detail: data.confirmDetail, label: data.confirmLabel }))) return;
  agreed.add(element);
  repeat();
}

// Capture, so that htmx and the other behaviours see only what was agreed to.
on("click", "a[data-confirm], button[data-confirm]", (event, element) => guard(event, element, () => element.click()), true);
on("submit", "form[data-confirm]", (event, form) => guard(event, form, () => form.requestSubmit(event.submitter ?? undefined)), true);
