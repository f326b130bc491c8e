// [data-copy]: copies data-copy's text, or data-copy-target's, or the code block it stands in.
import { announce, on } from "ms/dom";
import { t } from "ms/text";

function textOf(button) {
  if (button.dataset.copy) return button.dataset.copy;
  if (button.dataset.copyTarget) return document.querySelector(button.dataset.copyTarget)?.textContent ?? "";
  return button.closest(".code")?.querySelector("code")?.textContent ?? "";
}

async function write(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Plain http has no clipboard API: the old command still works from a selected field.
  const field = Object.assign(document.createElement("textarea"), { value: text, className: "visually-hidden" });
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}

on("click", "[data-copy]", async (event, button) => {
  const label = button.querySelector("[data-copy-label]") ?? button;
  const before = label.textContent;
  await write(textOf(button));
  announce(t("copied"));
  if (label === button && button.childElementCount) return;
  label.textContent = t("copied");
  setTimeout(() => { label.textContent = before; }, 1600);
});
