// [data-dialog-open="id"] opens a <dialog>, [data-dialog-close] closes it, a click on the backdrop closes it too.
import { on } from "ms/dom";

on("click", "[data-dialog-open]", (event, button) => {
  document.querySelectorAll("[popover]:popover-open").forEach((menu) => menu.hidePopover());
  document.getElementById(button.dataset.dialogOpen)?.showModal();
});
on("click", "[data-dialog-close]", (event, button) => button.closest("dialog").close());
on("click", "dialog", (event, dialog) => {
  if (event.target === dialog && dialog.getAttribute("role") !== "alertdialog") dialog.close();
});
