// One file of an uploader on top of tus-js-client: checksums per chunk, resume after a cut or a reload, retry, cancel.
import "ms/vendor/tus";
import { csrfToken } from "ms/dom";
import { size, t } from "ms/text";
import { uploadStorage } from "ms/upload-storage";

const { tus } = window; // the library is a UMD bundle and has no module exports
// A piece whose line is cut is sent again as a whole, since its checksum is of the whole: each cut halves it, each success doubles it.
const CHUNK_BYTES = 8 * 1024 * 1024;
const CHUNK_LEAST = 256 * 1024;
const RETRY_MS = [0, 1000, 3000, 5000, 10000];
const CHECKSUM_MISMATCH = 460;
const LOCKED = 423;

async function sha256(blob) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await blob.arrayBuffer()));
  return btoa(String.fromCharCode(...digest));
}

/** The library's transport with an Upload-Checksum header on every chunk (tus extension "checksum"). */
class ChecksumStack extends tus.DefaultHttpStack {
  createRequest(method, url) {
    const request = super.createRequest(method, url);
    // crypto.subtle exists on https and localhost only; elsewhere the server's own length checks remain.
    if (method !== "PATCH" || !crypto.subtle) return request;
    const send = request.send.bind(request);
    request.send = async (body) => {
      if (body instanceof Blob) request.setHeader("Upload-Checksum", `sha256 ${await sha256(body)}`);
      return send(body);
    };
    return request;
  }

  getName() {
    return "ChecksumStack";
  }
}

/** Fingerprints of one place in the product start alike. */
export const prefix = ({ endpoint, purpose }) => `${endpoint}:${purpose}:`;

/** What a person can do about a failed request, by its status. */
function cause(error) {
  const response = error.originalResponse;
  if (!response) return t("upload.cut");
  try {
    const problem = JSON.parse(response.getBody());
    const words = [problem.title, problem.detail, problem.fix].filter(Boolean);
    if (words.length) return words.join(" ");
  } catch {
    // Not a problem document; the status says what is known.
  }
  return t("upload.status", { status: String(response.getStatus()) });
}

export class FileUpload {
  state = "queued";
  sent = 0;
  reported = false;

  constructor(key, file, path, row, options, onChange) {
    Object.assign(this, { key, file, path, row, options, onChange });
    this.upload = new tus.Upload(file, {
      endpoint: options.endpoint,
      chunkSize: CHUNK_BYTES,
      retryDelays: RETRY_MS,
      urlStorage: uploadStorage,
      fingerprint: async () => `${prefix(options)}${key}`,
      metadata: { filename: file.name, filetype: file.type, relativePath: path, purpose: options.purpose },
      ...(options.checksum ? { httpStack: new ChecksumStack() } : {}),
      onBeforeRequest: (request) => request.setHeader("X-CSRFToken", csrfToken()),
      onShouldRetry: (error) => {
        const status = error.originalResponse?.getStatus() ?? 0;
        if (status === 0 && error.originalRequest.getMethod() === "PATCH") this.resize(0.5);
        return status === 0 || status >= 500 || status === 409 || status === LOCKED || status === CHECKSUM_MISMATCH;
      },
      onChunkComplete: () => this.resize(2),
      onProgress: (sent) => this.progress(sent),
      onSuccess: () => this.finish(),
      onError: (error) => this.show("failed", cause(error)),
    });
    this.show("queued", size(file.size));
  }

  get url() {
    return this.upload.url;
  }

  get id() {
    return this.upload.url ? new URL(this.upload.url).pathname.split("/").filter(Boolean).at(-1) : "";
  }

  async start() {
    this.show("uploading", this.row.querySelector(".file-note").textContent);
    const [previous] = await this.upload.findPreviousUploads();
    if (previous && !this.upload.url) this.upload.resumeFromPreviousUpload(previous);
    if (this.state === "uploading") this.upload.start();
  }

  pause() {
    if (this.state !== "uploading") return;
    this.upload.abort();
    this.show("paused", t("upload.paused", { sent: size(this.sent), total: size(this.file.size) }));
  }

  /** How many bytes the next request sends. */
  resize(factor) {
    const { options } = this.upload;
    options.chunkSize = Math.min(CHUNK_BYTES, Math.max(CHUNK_LEAST, options.chunkSize * factor));
  }

  queue() {
    if (this.state === "failed") this.show("queued", size(this.file.size));
  }

  cancel() {
    // Ends the upload on the server too; what was already refused or gone there needs no more.
    this.state = "cancelled";
    this.upload.abort(true).catch(() => {});
  }

  progress(sent) {
    this.sent = sent;
    if (this.state === "uploading") this.show("uploading", t("upload.sent", { sent: size(sent), total: size(this.file.size) }));
  }

  finish() {
    this.sent = this.file.size;
    this.show("done", t("upload.done", { total: size(this.file.size) }));
  }

  show(state, note) {
    this.state = state;
    this.row.dataset.state = state;
    this.row.querySelector(".file-note").textContent = note;
    this.row.querySelector("[data-file-retry]").hidden = state !== "failed";
    const bar = this.row.querySelector("progress");
    bar.value = this.file.size ? (100 * this.sent) / this.file.size : 0;
    bar.dataset.state = state;
    this.onChange(this);
  }
}
