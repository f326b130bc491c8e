// [data-tray]: the list of jobs and uploads. Its partial says how many are under way in data-tray-active.
import { bindOnce, fetchText } from "ms/dom";
import { t } from "ms/text";

const OPEN_MS = 5000;
const CLOSED_MS = 30000;

function setup(tray) {
  const body = tray.querySelector("[data-tray-body]");
  const count = document.querySelector("[data-tray-count]");
  let timer = 0;

  async function refresh() {
    clearTimeout(timer);
    if (!document.hidden) {
      try {
        const html = await fetchText(tray.dataset.trayUrl);
        if (!body.contains(document.activeElement)) {
          body.innerHTML = html;
          window.htmx?.process(body);
          body.dispatchEvent(new CustomEvent("ms:swapped", { bubbles: true }));
        }
        const active = Number(body.querySelector("[data-tray-active]")?.dataset.trayActive ?? 0);
        count.hidden = active === 0;
        count.textContent = String(active);
      } catch (error) {
        // Signed out: nothing here will come back until the page is loaded again.
        if (error.status === 401 || error.status === 403) return;
        if (body.getAttribute("aria-busy") === "true") body.textContent = t("loadfailed");
      }
      body.removeAttribute("aria-busy");
    }
    timer = setTimeout(refresh, tray.matches(":popover-open") ? OPEN_MS : CLOSED_MS);
  }

  tray.addEventListener("toggle", (event) => { if (event.newState === "open") refresh(); });
  document.addEventListener("tray:refresh", refresh);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  refresh();
}

export const bind = (root) => bindOnce(root, "[data-tray]", setup);
