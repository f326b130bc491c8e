// <time datetime data-reltime> relative, <time datetime data-localtime> absolute, <data value data-bytes> and <data value data-number>.
import { locale, number, size } from "ms/text";

const STEPS = [["year", 31536000], ["month", 2592000], ["week", 604800], ["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
const relative = new Intl.RelativeTimeFormat(locale, { numeric: "auto" });
const absolute = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });

export function ago(date, now = Date.now()) {
  const seconds = (date.getTime() - now) / 1000;
  const [unit, length] = STEPS.find(([, step]) => Math.abs(seconds) >= step) ?? STEPS.at(-1);
  return relative.format(Math.round(seconds / length), unit);
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function bind(root) {
  for (const time of root.querySelectorAll("time[data-reltime], time[data-localtime]")) {
    const date = new Date(time.dateTime);
    if (Number.isNaN(date.getTime())) continue;
    setText(time, "reltime" in time.dataset ? ago(date) : absolute.format(date));
    if (!time.title) time.title = absolute.format(date);
  }
  for (const data of root.querySelectorAll("data[data-bytes]")) setText(data, size(Number(data.value)));
  for (const data of root.querySelectorAll("data[data-number]")) setText(data, number(Number(data.value)));
}

setInterval(() => bind(document), 30000);
