// Small helpers that every behaviour shares.

/** Calls handler(event, element) for events whose target lies in an element that matches selector. */
export function on(type, selector, handler, options) {
  document.addEventListener(type, (event) => {
    const element = event.target instanceof Element ? event.target.closest(selector) : null;
    if (element) handler(event, element);
  }, options);
}

const bound = new WeakMap();

/** Runs setup(element) once for each match in root (root included), however often a page is re-bound. */
export function bindOnce(root, selector, setup) {
  const matches = [...root.querySelectorAll(selector)];
  if (root instanceof Element && root.matches(selector)) matches.unshift(root);
  for (const element of matches) {
    const seen = bound.get(element) ?? new Set();
    if (seen.has(setup)) continue;
    seen.add(setup);
    bound.set(element, seen);
    setup(element);
  }
}

export function csrfToken() {
  const cookie = document.cookie.match(/(?:^|; )csrftoken=([^;]+)/);
  return cookie ? decodeURIComponent(cookie[1]) : document.querySelector('meta[name="csrf-token"]')?.content ?? "";
}

/** fetch() of a partial: same origin, says that a script asked, throws an Error that carries .status. */
export async function fetchText(url, { accept = "text/html", signal } = {}) {
  const response = await fetch(url, { headers: { Accept: accept, "HX-Request": "true", "X-Requested-With": "fetch" }, credentials: "same-origin", signal });
  if (!response.ok) throw Object.assign(new Error(`HTTP ${response.status}`), { status: response.status });
  return response.text();
}

/** Changes query parameters of the page's address without a reload; an empty value removes its parameter. */
export function setParams(changes, { push = false } = {}) {
  const url = new URL(location.href);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === undefined || value === "") url.searchParams.delete(name);
    else url.searchParams.set(name, value);
  }
  if (url.href !== location.href) history[push ? "pushState" : "replaceState"](history.state, "", url);
}

export const getParam = (name) => new URL(location.href).searchParams.get(name);

/** Storage that may be full or switched off: reads give null, writes are dropped. */
export const storage = {
  get(key) {
    try { return localStorage.getItem(key); } catch { return null; }
  },
  set(key, value) {
    try { localStorage.setItem(key, value); } catch { /* private mode or full: the choice lasts for this page */ }
  },
};

/** True where a key press belongs to the element itself: text, a control, or something editable. */
export function takesKeys(element) {
  return element instanceof Element && Boolean(element.closest("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable=true]"));
}

export const isInteractive = (element) => Boolean(element.closest("a, button, input, select, textarea, label, summary"));

/** Tells screen readers through the page's one polite region. */
export function announce(text) {
  const region = document.getElementById("status");
  if (region && text) region.textContent = text;
}
