// Files in and out: opening MIDI and session files (also by dropping them), and the Download menu.
import { pictureOf, readSong, zipOfTracks } from "./api.js";
import { byId } from "./parts.js";
import { wavOf } from "./sound.js";
import { changed, on, say, state, tell } from "./state.js";
import { beginSession, commit, saveNow, show, songOf } from "./versions.js";
import { newKey, putVersion } from "./store.js";

const menu = byId("download-menu"), download = byId("download"), chooser = byId("file");
const format = "hid-museformer session";

const mebibytes = (bytes) => (bytes / 2 ** 20).toFixed(1).replace(/\.0$/, "");

function base64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
  return btoa(text);
}

const bytesOf = (midi) => Uint8Array.from(atob(midi), (letter) => letter.charCodeAt(0));

/** Opens a MIDI file as a new song, or a session with all its versions. */
async function openFile(file) {
  if (state.writing) return tell("Something is being written. Keep or discard it first.");
  const isSession = /\.json$/i.test(file.name);
  const most = state.server?.most_bytes ?? 2 ** 24;
  if (!isSession && file.size > most) {
    return tell(`${file.name} has ${mebibytes(file.size)} MB; ${mebibytes(most)} MB is the most that can be opened.`);
  }
  if (!file.size) return tell(`${file.name} is empty.`);
  say(`Opening ${file.name}`);
  try {
    await (isSession ? openSessionFile(file) : openMidi(file));
  } catch (error) {
    say("");
    tell(error.message);
  }
  return undefined;
}

async function openMidi(file) {
  const song = await readSong(base64(new Uint8Array(await file.arrayBuffer())), file.name);
  await beginSession(file.name.replace(/\.[^.]+$/, "") || "Song");
  await commit(song, `Open ${file.name}`);
  say(`${song.bars.length} bars, ${song.tracks.length} ${song.tracks.length === 1 ? "track" : "tracks"}`);
  if (song.notices.length) tell(song.notices.join("\n"));
}

async function openSessionFile(file) {
  const session = await file.text().then(JSON.parse).catch(() => null);
  const versions = session?.versions;
  const whole = session?.format === format && Array.isArray(versions) && versions.length
    && versions.every((version) => typeof version?.midi === "string");
  if (!whole) throw new Error(`${file.name} is no session of this page.`);
  const read = versions.map(({ midi, beats = null, label = "", at }) =>
    ({ key: newKey(), midi, beats, label: String(label), at: Number(at) || Date.now(), song: null }));
  const cursor = Math.max(0, Math.min(read.length - 1, Math.round(session.cursor) || 0));
  const song = await readSong(read[cursor].midi, file.name, read[cursor].beats);
  read[cursor].song = song;
  await beginSession(String(session.name || "Song").slice(0, 80));
  for (const version of read) await putVersion(state.session, version);
  Object.assign(state, { versions: read, cursor });
  show(song);
  changed("versions", "session");
  await saveNow();
  say(`${read.length} ${read.length === 1 ? "version" : "versions"} of ${state.name}`);
}

const fileName = () => state.name.replace(/[^\p{L}\p{N} ._()-]+/gu, "").trim() || "song";

function save(blob, ending) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${fileName()}${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 30000);
}

function sessionFile() {
  const versions = state.versions.map(({ midi, beats, label, at }) => ({ midi, beats, label, at }));
  const session = { format, name: state.name, cursor: state.cursor, versions };
  return new Blob([JSON.stringify(session)], { type: "application/json" });
}

const kinds = {
  midi: async (song) => save(new Blob([bytesOf(song.midi)], { type: "audio/midi" }), ".mid"),
  wav: async (song) => save(await wavOf(song), ".wav"),
  tracks: async (song) => save(await zipOfTracks(song, fileName()), ".zip"),
  picture: async (song) => save(await pictureOf(song), ".png"),
  session: async () => save(sessionFile(), ".json"),
};

async function downloadAs(kind, words) {
  openMenu(false);
  const version = state.versions[state.cursor];
  const shown = state.writing?.list[state.writing.chosen]?.song;
  if (!version && !shown) return;
  say(`Preparing: ${words}`);
  try {
    await kinds[kind](shown ?? await songOf(version));
    say(`Saved: ${words}`);
  } catch (error) {
    say("");
    tell(error.message);
  }
}

function openMenu(open) {
  menu.hidden = !open;
  download.setAttribute("aria-expanded", open);
  if (open) menu.querySelector("button").focus();
}

function keyInMenu(event) {
  const items = [...menu.querySelectorAll("button")];
  const at = items.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 }[event.key];
  if (to !== undefined) {
    event.preventDefault();
    items[(to + items.length) % items.length].focus();
  }
  if (event.key === "Escape" || event.key === "Tab") {
    openMenu(false);
    if (event.key === "Escape") download.focus();
  }
  if (event.key !== "Tab") event.stopPropagation();
}

const chooseFile = () => chooser.click();

function dropping() {
  let depth = 0;
  const isFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const mark = (change) => {
    depth = Math.max(0, change);
    byId("drop").hidden = depth === 0;
  };
  addEventListener("dragenter", (event) => { if (isFile(event)) { event.preventDefault(); mark(depth + 1); } });
  addEventListener("dragleave", (event) => { if (isFile(event)) mark(depth - 1); });
  addEventListener("dragover", (event) => { if (isFile(event)) event.preventDefault(); });
  addEventListener("drop", (event) => {
    if (!isFile(event)) return;
    event.preventDefault();
    mark(0);
    const file = event.dataTransfer.files[0];
    if (file) void openFile(file);
  });
}

download.addEventListener("click", () => openMenu(menu.hidden));
menu.addEventListener("keydown", keyInMenu);
menu.addEventListener("click", (event) => {
  const { kind } = event.target.dataset;
  if (kind) void downloadAs(kind, event.target.textContent);
});
addEventListener("pointerdown", (event) => { if (!event.target.closest?.(".menu-home")) openMenu(false); });
chooser.addEventListener("change", () => {
  if (chooser.files[0]) void openFile(chooser.files[0]);
  chooser.value = "";
});
byId("open").addEventListener("click", chooseFile);
byId("begin-open").addEventListener("click", chooseFile);
on("session", () => openMenu(false));
dropping();
