// [data-theme-choice]: radio buttons system | light | dark, kept in localStorage.
import { bindOnce, storage } from "ms/dom";

function setup(group) {
  const current = storage.get("ms.theme") ?? "system";
  for (const radio of group.querySelectorAll("input")) radio.checked = radio.value === current;
  group.addEventListener("change", (event) => {
    const theme = event.target.value;
    storage.set("ms.theme", theme);
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
  });
}

export const bind = (root) => bindOnce(root, "[data-theme-choice]", setup);
