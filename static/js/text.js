// Strings for scripts, from the message catalog that the page carries as JSON (templates/_js_text.html).
const element = document.getElementById("js-text");
const catalog = element ? JSON.parse(element.textContent) : {};
// The page's language in the reader's own region: English pages, but dates as written where they live.
const language = document.documentElement.lang || "en";
const locale = navigator.languages?.find((item) => item.split("-")[0] === language.split("-")[0]) ?? language;
const plural = new Intl.PluralRules(locale);

/** t("selected", {n: 3}) takes "selected.one" or "selected.other" by n where those exist, then fills {n}. */
export function t(key, values = {}) {
  const form = "n" in values ? `${key}.${plural.select(values.n)}` : key;
  const text = catalog[form] ?? catalog[`${key}.other`] ?? catalog[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => (typeof values[name] === "number" ? number(values[name]) : values[name] ?? ""));
}

export const number = (value) => new Intl.NumberFormat(locale).format(value);

const UNITS = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];

/** Bytes as a localised size in steps of 1000, as accounts/sizes.py writes them. */
export function size(bytes) {
  const step = Math.min(UNITS.length - 1, bytes < 1000 ? 0 : Math.floor(Math.log10(bytes) / 3));
  const value = bytes / 1000 ** step;
  const unitDisplay = step ? "short" : "long";
  return new Intl.NumberFormat(locale, { style: "unit", unit: UNITS[step], unitDisplay, maximumFractionDigits: step && value < 100 ? 1 : 0 }).format(value);
}

export const clock = (date) => new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit" }).format(date);

export { locale };
