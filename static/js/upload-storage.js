// Remembers where each upload was begun, so that it goes on after a reload. One key per file: 5,000 files stay fast.
const ROOT = "ms.upload:";
const LIFE_MS = 24 * 3600 * 1000;

function read(key) {
  try {
    const entry = JSON.parse(localStorage.getItem(key));
    return entry && Date.now() - new Date(entry.creationTime) < LIFE_MS ? { ...entry, urlStorageKey: key } : null;
  } catch {
    return null;
  }
}

/** The interface that tus-js-client calls `urlStorage`. */
export const uploadStorage = {
  async findAllUploads() {
    return remembered("");
  },
  async findUploadsByFingerprint(fingerprint) {
    const entry = read(ROOT + fingerprint);
    return entry ? [entry] : [];
  },
  async addUpload(fingerprint, upload) {
    try {
      localStorage.setItem(ROOT + fingerprint, JSON.stringify(upload));
    } catch {
      // Full or switched off: this upload only loses its resume after a reload.
    }
    return ROOT + fingerprint;
  },
  async removeUpload(key) {
    try { localStorage.removeItem(key); } catch { /* nothing was stored */ }
  },
};

/** Entries whose fingerprint starts with prefix; expired ones are dropped. */
export function remembered(prefix) {
  try {
    const keys = Object.keys(localStorage).filter((key) => key.startsWith(ROOT));
    for (const key of keys) if (!read(key)) localStorage.removeItem(key);
    return keys.filter((key) => key.startsWith(ROOT + prefix)).map(read).filter(Boolean);
  } catch {
    return [];
  }
}

/** The server has taken these uploads over: the same file chosen again is a new upload. */
export function forget(prefix) {
  for (const entry of remembered(prefix)) localStorage.removeItem(entry.urlStorageKey);
}
