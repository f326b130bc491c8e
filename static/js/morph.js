// Brings an element to the state of fresh HTML while nodes that stay keep focus, scroll, selection and open state.

const KEEP = { INPUT: ["value", "checked", "disabled"], OPTION: ["selected"], DETAILS: ["open"], DIALOG: ["open"] };

const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.dataset?.id || node.id || node.dataset?.key || "" : "");
const fits = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && keyOf(a) === keyOf(b);

function syncAttributes(current, fresh) {
  const keep = KEEP[current.tagName] ?? [];
  for (const { name } of [...current.attributes]) {
    if (!fresh.hasAttribute(name) && !keep.includes(name) && name !== "tabindex") current.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (!keep.includes(name) && current.getAttribute(name) !== value) current.setAttribute(name, value);
  }
}

function syncNode(current, fresh) {
  if (current.nodeType !== Node.ELEMENT_NODE) {
    if (current.nodeValue !== fresh.nodeValue) current.nodeValue = fresh.nodeValue;
    return;
  }
  syncAttributes(current, fresh);
  morphChildren(current, fresh);
}

/** Makes current's children equal to fresh's. Keys are data-id, id or data-key. */
export function morphChildren(current, fresh) {
  const keyed = new Map([...current.children].filter(keyOf).map((child) => [keyOf(child), child]));
  let place = current.firstChild;
  for (const node of [...fresh.childNodes]) {
    const known = keyOf(node) && keyed.get(keyOf(node));
    const match = known && fits(known, node) ? known : place && fits(place, node) ? place : null;
    if (match) {
      if (match === place) place = place.nextSibling;
      else current.insertBefore(match, place);
      syncNode(match, node);
    } else {
      current.insertBefore(document.importNode(node, true), place);
    }
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

/** Same for a whole element: fresh has the same tag. */
export function morph(current, fresh) {
  syncNode(current, fresh);
}

/** Parses HTML in a template, so that <tr> is allowed to stand alone. */
export function parse(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content;
}
