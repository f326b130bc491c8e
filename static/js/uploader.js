// [data-uploader]: drop zone and file list; one resumable upload (tus 1.0) per file, three at a time.
import { announce, bindOnce } from "ms/dom";
import { number, size, t } from "ms/text";
import { FileUpload, prefix } from "ms/upload-file";
import { forget, remembered } from "ms/upload-storage";

const PARALLEL = 3;

/** Files of a drop, folders walked to their end: [{file, path}]. */
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => ({ file, path: file.name }));
  const found = [];
  async function walk(entry, prefix) {
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
      found.push({ file, path: prefix + entry.name });
      return;
    }
    const reader = entry.createReader();
    // readEntries gives at most 100 at a time and an empty list at the end.
    for (;;) {
      const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!batch.length) return;
      for (const child of batch) await walk(child, `${prefix}${entry.name}/`);
    }
  }
  for (const entry of entries) await walk(entry, "");
  return found;
}

class Uploader {
  constructor(element) {
    const data = element.dataset;
    this.element = element;
    this.options = { endpoint: new URL(data.endpoint, location.href).href, purpose: data.purpose ?? "", checksum: data.checksum !== "off" };
    this.accept = (data.accept ?? "").split(",").map((part) => part.trim().toLowerCase()).filter(Boolean);
    this.maxBytes = Number(data.maxBytes || Infinity);
    this.maxFiles = Number(data.maxFiles || Infinity);
    this.list = element.querySelector("[data-files]");
    this.template = element.querySelector("[data-file-template]");
    this.uploads = new Map();
    this.paused = false;
    this.frame = 0;
    this.submitter = null; // the button of a form that waits for its files
    this.setupInputs();
    this.setupButtons();
    this.noteUnfinished();
    element.closest("form")?.addEventListener("submit", (event) => this.submitted(event));
  }

  setupInputs() {
    const zone = this.element.querySelector("[data-dropzone]");
    for (const [button, input] of [["[data-choose-files]", "[data-file-input]"], ["[data-choose-folder]", "[data-folder-input]"]]) {
      const field = this.element.querySelector(input);
      this.element.querySelector(button)?.addEventListener("click", () => field.click());
      field?.addEventListener("change", () => {
        this.add([...field.files].map((file) => ({ file, path: file.webkitRelativePath || file.name })));
        field.value = "";
      });
    }
    let depth = 0;
    const over = (step) => {
      depth = Math.max(0, depth + step);
      zone.dataset.over = String(depth > 0);
    };
    zone.addEventListener("dragenter", (event) => { event.preventDefault(); over(1); });
    zone.addEventListener("dragover", (event) => event.preventDefault());
    zone.addEventListener("dragleave", () => over(-1));
    zone.addEventListener("drop", async (event) => {
      event.preventDefault();
      over(-depth);
      this.add(await dropped(event.dataTransfer));
    });
  }

  setupButtons() {
    const pause = this.element.querySelector("[data-upload-pause]");
    pause.addEventListener("click", () => {
      this.paused = !this.paused;
      pause.setAttribute("aria-pressed", String(this.paused));
      for (const upload of this.uploads.values()) if (this.paused) upload.pause();
      this.pump();
    });
    this.element.querySelector("[data-upload-retry-all]").addEventListener("click", () => {
      for (const upload of this.uploads.values()) if (upload.state === "failed") upload.queue();
      this.pump();
    });
    this.list.addEventListener("click", (event) => {
      const upload = this.uploads.get(event.target.closest("[data-key]")?.dataset.key);
      if (!upload) return;
      if (event.target.closest("[data-file-retry]")) upload.queue();
      if (event.target.closest("[data-file-cancel]")) this.remove(upload);
      this.pump();
    });
  }

  noteUnfinished() {
    const count = remembered(prefix(this.options)).length;
    const note = this.element.querySelector("[data-resume-note]");
    if (!note || !count) return;
    note.hidden = false;
    note.textContent = t("upload.unfinished", { n: count });
  }

  /** A form never leaves without its files: it waits for what is under way and stays for what failed. */
  submitted(event) {
    const unfinished = [...this.uploads.values()].filter((upload) => upload.state !== "done");
    if (!unfinished.length) {
      forget(prefix(this.options));
      return;
    }
    event.preventDefault();
    this.submitter = event.submitter;
    const failed = unfinished.filter((upload) => upload.state === "failed").length;
    announce(failed ? t("upload.failed", { n: failed }) : t("upload.waits"));
    unfinished.find((upload) => upload.state === "failed")?.row.querySelector("[data-file-retry]").focus();
    this.summarise();
  }

  problem(file) {
    const name = file.name.toLowerCase();
    const told = [...(this.element.parentElement?.querySelectorAll("[data-refused-endings]") ?? [])].find((item) =>
      item.dataset.refusedEndings.split(",").some((ending) => name.endsWith(ending)));
    if (told) return told.textContent.trim();
    if (this.accept.length && !this.accept.some((ending) => name.endsWith(ending))) return t("upload.type", { accept: this.accept.join(", ") });
    if (file.size === 0) return t("upload.empty");
    if (file.size > this.maxBytes) return t("upload.large", { size: size(file.size), max: size(this.maxBytes) });
    if (this.uploads.size >= this.maxFiles) return t("upload.many", { max: number(this.maxFiles) });
    return "";
  }

  add(files) {
    const rows = document.createDocumentFragment();
    for (const { file, path } of files) {
      const key = `${path}:${file.size}:${file.lastModified}`;
      if (this.uploads.has(key) || this.list.querySelector(`[data-key="${CSS.escape(key)}"]`)) continue;
      const row = this.template.content.firstElementChild.cloneNode(true);
      row.dataset.key = key;
      row.querySelector(".file-name").textContent = path;
      row.querySelector(".file-name").title = path;
      row.querySelector("progress").setAttribute("aria-label", path);
      rows.append(row);
      const refused = this.problem(file);
      if (refused) {
        row.dataset.state = "refused";
        row.querySelector(".file-note").textContent = refused;
        row.querySelector("[data-file-cancel]").addEventListener("click", () => row.remove());
        continue;
      }
      this.uploads.set(key, new FileUpload(key, file, path, row, this.options, (upload) => this.changed(upload)));
    }
    this.list.append(rows);
    this.pump();
  }

  remove(upload) {
    upload.cancel();
    upload.row.remove();
    this.uploads.delete(upload.key);
    this.element.querySelector(`input[type=hidden][data-key="${CSS.escape(upload.key)}"]`)?.remove();
    this.report("upload:removed", upload);
    this.submitIfAsked();
  }

  submitIfAsked() {
    const all = [...this.uploads.values()];
    if (!this.submitter || !all.length || all.some((upload) => upload.state !== "done")) return;
    const submitter = this.submitter;
    this.submitter = null;
    this.element.closest("form").requestSubmit(submitter);
  }

  pump() {
    const all = [...this.uploads.values()];
    let free = PARALLEL - all.filter((upload) => upload.state === "uploading").length;
    for (const upload of all) {
      if (this.paused || free <= 0) break;
      if (upload.state !== "queued" && upload.state !== "paused") continue;
      upload.start();
      free -= 1;
    }
    this.summarise();
  }

  changed(upload) {
    if (upload.state === "done" && !upload.reported) {
      upload.reported = true;
      const field = Object.assign(document.createElement("input"), { type: "hidden", name: this.element.dataset.name, value: upload.id });
      field.dataset.key = upload.key;
      this.element.append(field);
      this.report("upload:done", upload);
    }
    if (upload.state === "done" || upload.state === "failed") this.pump();
    this.submitIfAsked();
    // One paint per frame, whatever the number of progress events.
    if (!this.frame) this.frame = requestAnimationFrame(() => { this.frame = 0; this.summarise(); });
  }

  report(name, upload) {
    const all = [...this.uploads.values()];
    const pending = all.filter((other) => other.state !== "done").length;
    this.element.dispatchEvent(new CustomEvent(name, { bubbles: true, detail: { id: upload.id, url: upload.url, path: upload.path, pending } }));
    if (all.length && !pending) {
      this.element.dispatchEvent(new CustomEvent("upload:all-done", { bubbles: true, detail: { ids: all.map((other) => other.id) } }));
    }
  }

  summarise() {
    const all = [...this.uploads.values()];
    const bar = this.element.querySelector("[data-upload-summary]");
    bar.hidden = all.length === 0;
    this.element.dataset.pending = String(all.filter((upload) => upload.state !== "done").length);
    if (!all.length) return;
    const total = all.reduce((sum, upload) => sum + upload.file.size, 0);
    const sent = all.reduce((sum, upload) => sum + upload.sent, 0);
    const done = all.filter((upload) => upload.state === "done").length;
    const failed = all.filter((upload) => upload.state === "failed").length;
    const parts = [t("upload.progress", { done, n: all.length, sent: size(sent), total: size(total) })];
    if (failed) parts.push(t("upload.failed", { n: failed }));
    else if (this.submitter && done < all.length) parts.push(t("upload.waits"));
    bar.querySelector("[data-upload-text]").textContent = parts.join(" · ");
    const progress = bar.querySelector("[data-upload-total]");
    progress.value = total ? (100 * sent) / total : 100;
    progress.dataset.state = done === all.length ? "done" : "";
    bar.querySelector("[data-upload-pause]").hidden = done === all.length;
    bar.querySelector("[data-upload-retry-all]").hidden = failed === 0;
  }
}

export const bind = (root) => bindOnce(root, "[data-uploader]", (element) => new Uploader(element));
