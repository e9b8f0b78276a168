// Keeps sessions and their versions in IndexedDB; each tab works in a session of its own.

let database = null;
let held = null;

function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function open() {
  if (database) return database;
  const request = indexedDB.open("hid-museformer", 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore("sessions", { keyPath: "id" });
    request.result.createObjectStore("versions", { keyPath: ["session", "key"] });
  };
  database = done(request);
  return database;
}

async function on(store, mode, ask) {
  const transaction = (await open()).transaction(store, mode);
  return done(ask(transaction.objectStore(store)));
}

export const putSession = (session) => on("sessions", "readwrite", (store) => store.put(session));
export const getSession = (id) => on("sessions", "readonly", (store) => store.get(id));
export const getVersion = (session, key) => on("versions", "readonly", (store) => store.get([session, key]));
export const dropVersion = (session, key) => on("versions", "readwrite", (store) => store.delete([session, key]));

/** Stores a version with its song; where there is no room, what is needed to read the song again. */
export async function putVersion(session, version) {
  const put = (song) => on("versions", "readwrite", (store) => store.put({ ...version, song, session }));
  try {
    await put(version.song);
  } catch {
    await put(null);
  }
}

/** All sessions, the last used first. */
export async function listSessions() {
  const all = await on("sessions", "readonly", (store) => store.getAll());
  return all.sort((one, other) => other.changed - one.changed);
}

const versionsOf = (id) => IDBKeyRange.bound([id], [id, []]);
export const getVersions = (id) => on("versions", "readonly", (store) => store.getAll(versionsOf(id)));

export async function dropSession(id) {
  await on("versions", "readwrite", (store) => store.delete(versionsOf(id)));
  await on("sessions", "readwrite", (store) => store.delete(id));
}

/** Whether this tab has the session to itself from now on; what it had before is let go. */
export async function take(id) {
  held?.();
  held = null;
  if (!navigator.locks) return true;
  for (let attempt = 0; attempt < 6; attempt += 1) {
    if (await tryLock(id)) return true;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return false;
}

function tryLock(id) {
  return new Promise((resolve) => {
    navigator.locks.request(`session ${id}`, { ifAvailable: true }, (lock) => {
      resolve(Boolean(lock));
      return lock ? new Promise((release) => { held = release; }) : null;
    });
  });
}

export const newKey = () => `${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 10)}`;
