// form[data-autosubmit="#results"]: filters apply as they change, the address follows, empty fields leave it clean.
import { announce, bindOnce, fetchText } from "ms/dom";
import { t } from "ms/text";
import { toast } from "ms/toast";

const TYPING_MS = 300;

function address(form) {
  const url = new URL(form.action || location.href, location.href);
  url.search = "";
  for (const [name, value] of new FormData(form)) if (value !== "") url.searchParams.append(name, value);
  return url;
}

function setup(form) {
  let timer = 0;
  let running = null;

  async function apply() {
    const target = document.querySelector(form.dataset.autosubmit);
    const url = address(form);
    if (!target) return void location.assign(url);
    running?.abort();
    running = new AbortController();
    target.setAttribute("aria-busy", "true");
    try {
      const page = new DOMParser().parseFromString(await fetchText(url, { signal: running.signal }), "text/html");
      const fresh = page.querySelector(form.dataset.autosubmit) ?? page.body;
      target.replaceChildren(...document.adoptNode(fresh).childNodes);
      history.pushState({ autosubmit: true }, "", url);
      window.htmx?.process(target);
      target.dispatchEvent(new CustomEvent("ms:swapped", { bubbles: true }));
      announce(target.querySelector("[data-result-summary]")?.textContent.trim() ?? t("updated"));
    } catch (error) {
      if (error.name !== "AbortError") toast(t("loadfailed"), "error");
      else return;
    }
    target.removeAttribute("aria-busy");
  }

  form.addEventListener("change", (event) => { if (event.target.type !== "search") apply(); });
  form.addEventListener("input", (event) => {
    if (!["search", "text", "number", "range"].includes(event.target.type)) return;
    clearTimeout(timer);
    timer = setTimeout(apply, TYPING_MS);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(timer);
    apply();
  });
}

// Back to a filtered view: the form and the results both come from the server.
addEventListener("popstate", () => { if (document.querySelector("form[data-autosubmit]")) location.reload(); });

export const bind = (root) => bindOnce(root, "form[data-autosubmit]", setup);
