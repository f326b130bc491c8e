// Column picker: which columns are seen stands in the address (cols=) and, as the person's habit, in localStorage.
import { getParam, setParams, storage } from "ms/dom";

const KEY = "ms.board.columns";

/** Hides columns by a style sheet of its own, so that rows that come later need no work. */
export function setupColumns(board) {
  const boxes = [...board.querySelectorAll("[data-column]")];
  if (!boxes.length) return;
  const sheet = new CSSStyleSheet();
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];

  function show() {
    const hidden = boxes.filter((box) => !box.checked).map((box) => `[data-board] [data-col="${CSS.escape(box.dataset.column)}"]`);
    sheet.replaceSync(hidden.length ? `${hidden.join(",")} { display: none }` : "");
  }

  const chosen = (getParam("cols") ?? storage.get(KEY))?.split(",");
  if (chosen) for (const box of boxes) box.checked = chosen.includes(box.dataset.column);
  board.querySelector("[data-board-columns]").addEventListener("change", () => {
    const columns = boxes.filter((box) => box.checked).map((box) => box.dataset.column).join(",");
    storage.set(KEY, columns);
    setParams({ cols: columns });
    show();
  });
  show();
}
