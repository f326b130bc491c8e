// Starts every behaviour. Delegated ones listen once on the document; bound ones run again on swapped content.
import { bind as bindAutosubmit } from "ms/autosubmit";
import { bind as bindReltime } from "ms/reltime";
import { bind as bindToasts } from "ms/toast";
import { bind as bindDrawer } from "ms/drawer";
import { bind as bindTray } from "ms/tray";
import { bind as bindSelection } from "ms/selection";
import { bind as bindTheme } from "ms/theme";
import { bindOnce, csrfToken } from "ms/dom";
import "ms/confirm";
import "ms/copy";
import "ms/dialogs";
import "ms/popover";
import "ms/shortcuts";

// Heavy behaviours are fetched only by pages that carry their attribute.
const LAZY = { "[data-board]": () => import("ms/board"), "[data-labelling]": () => import("ms/labelling"), "[data-uploader]": () => import("ms/uploader") };

const focus = (element) => element.focus();

/** Where one is may lie beyond the edge of a row of tabs on a narrow window. */
function showCurrent(link) {
  const row = link.closest("nav");
  row.scrollLeft = link.offsetLeft - (row.clientWidth - link.offsetWidth) / 2;
}

async function bindAll(root) {
  for (const bind of [bindTheme, bindSelection, bindToasts, bindReltime, bindAutosubmit, bindTray, bindDrawer]) bind(root);
  for (const [selector, load] of Object.entries(LAZY)) {
    if (root.querySelector(selector) || root.matches?.(selector)) (await load()).bind(root);
  }
  bindOnce(root, "[data-autofocus]", focus);
  bindOnce(root, ":is(.tabs, .site-nav) [aria-current]", showCurrent);
}

// htmx 4 names its events with colons; `ms:swapped` is ours, for content that our own modules put in place.
for (const name of ["htmx:after:swap", "ms:swapped"]) {
  document.addEventListener(name, (event) => bindAll(event.target instanceof Element ? event.target : document.body));
}
document.addEventListener("htmx:config:request", (event) => {
  const headers = event.detail.ctx?.request?.headers;
  if (headers) headers["X-CSRFToken"] = csrfToken();
});

bindAll(document.body).then(() => { document.documentElement.dataset.ready = "true"; });
