// The versions of the song: commit, undo, redo, and the session they are saved in.
import { readSong } from "./api.js";
import { forgetColours } from "./colours.js";
import { changed, on, say, state, tell } from "./state.js";
import * as store from "./store.js";

const songsInMemory = 8;
let saving = 0;
let moves = 0;

/** Shows a song in place of the one that was shown; what was selected and heard stays where it can. */
export function show(song) {
  const before = state.song;
  state.song = song;
  const chosen = state.selection;
  if (song && chosen) {
    const ids = new Set(chosen.tracks.map((track) => before?.tracks[track]?.id));
    const tracks = song.tracks.flatMap(({ id }, track) => (ids.has(id) ? [track] : []));
    const last = Math.min(chosen.last, song.bars.length);
    state.selection = tracks.length && chosen.first <= last ? { tracks, first: chosen.first, last } : null;
  }
  if (!song) state.selection = null;
  changed("song", "selection");
}

/** Makes a song the newest version; versions that were undone are gone from now on. */
export async function commit(song, label) {
  if (!state.session) await beginSession(state.name);
  for (const version of state.versions.splice(state.cursor + 1)) void store.dropVersion(state.session, version.key);
  const version = { key: store.newKey(), midi: song.midi, beats: song.beats ?? null, label, at: Date.now(), song };
  state.versions.push(version);
  state.cursor = state.versions.length - 1;
  forgetFarSongs();
  show(song);
  changed("versions");
  await store.putVersion(state.session, version).catch(cannotStore);
  await saveNow();
}

const cannotStore = () => tell("This browser has no room left for the song. Download the session to keep it.");

function forgetFarSongs() {
  state.versions.forEach((version, index) => {
    if (Math.abs(index - state.cursor) > songsInMemory) version.song = null;
  });
}

/** The song of a version: from memory, from this browser, or read again by the server. */
export async function songOf(version) {
  if (version.song) return version.song;
  const stored = await store.getVersion(state.session, version.key);
  version.song = stored?.song ?? await readSong(version.midi, `${state.name}.mid`, version.beats);
  if (!stored?.song) await store.putVersion(state.session, version).catch(cannotStore);
  return version.song;
}

async function move(step) {
  const target = state.cursor + step;
  if (state.writing) return say("Keep or discard what is written first.");
  if (target < 0 || target >= state.versions.length) return undefined;
  const turn = ++moves;
  const label = state.versions[Math.max(target, state.cursor)].label;
  state.cursor = target;
  changed("versions");
  try {
    const song = await songOf(state.versions[target]);
    if (turn !== moves) return undefined;
    forgetFarSongs();
    show(song);
    say(`${step < 0 ? "Undone" : "Again"}: ${label}`);
  } catch (error) {
    tell(error.message);
  }
  return undefined;
}

export const undo = () => move(-1);
export const redo = () => move(1);

export async function beginSession(name) {
  const id = store.newKey();
  await store.take(id);
  adopt({ id, name, cursor: -1, versions: [], muted: [], solo: [] }, []);
}

function adopt(session, versions) {
  forgetColours();
  state.session = session.id;
  sessionStorage.setItem("session", session.id);
  Object.assign(state, {
    name: session.name, versions, cursor: session.cursor, muted: new Set(session.muted), solo: new Set(session.solo),
    position: session.position ?? 0, loop: session.loop ?? false, follow: session.follow ?? true,
    selection: null, song: null, fresh: null, wishes: session.wishes ?? state.wishes,
  });
  changed("session", "versions", "mutes", "settings");
}

/** Opens a stored session in this tab, as a copy where another tab works in it. False if it has nothing. */
export async function openSession(id) {
  const session = await store.getSession(id);
  const stored = new Map((await store.getVersions(id)).map((version) => [version.key, version]));
  const versions = (session?.versions ?? []).map((key) => stored.get(key)).filter(Boolean);
  if (!versions.length && !session?.writing) return false;
  const cursor = Math.min(session.cursor, versions.length - 1);
  versions.forEach((version, index) => { if (Math.abs(index - cursor) > songsInMemory) version.song = null; });
  const mine = await store.take(id);
  if (!mine) await copySession(session, versions, cursor);
  else adopt({ ...session, cursor }, versions);
  const { selection } = session;
  if (versions.length) show(await songOf(state.versions[state.cursor]));
  state.selection = selection ?? null;
  changed("selection");
  return session;
}

async function copySession(session, versions, cursor) {
  const id = store.newKey();
  await store.take(id);
  for (const version of versions) {
    const whole = version.song ? version : await store.getVersion(session.id, version.key);
    await store.putVersion(id, whole);
  }
  adopt({ ...session, id, cursor, name: `${session.name} (copy)` }, versions);
  tell("The song is open in another tab. This tab has a copy of its own.");
  await saveNow();
}

const also = { view: () => null, writing: () => null };
/** Who knows what part of the song is seen, or what is still to be chosen, says so, to have it stored. */
export const alsoKeeps = (what, asked) => { also[what] = asked; };

export async function saveNow() {
  clearTimeout(saving);
  if (!state.session) return;
  if (!state.versions.length && !also.writing()) {
    await store.dropSession(state.session).catch(cannotStore);
    return;
  }
  await store.putSession({
    id: state.session, name: state.name, cursor: state.cursor, changed: Date.now(),
    versions: state.versions.map((version) => version.key), muted: [...state.muted], solo: [...state.solo],
    selection: state.selection, position: state.position, loop: state.loop, follow: state.follow,
    wishes: state.wishes, view: also.view(), writing: also.writing(),
  }).catch(cannotStore);
}

function saveSoon() {
  clearTimeout(saving);
  saving = setTimeout(saveNow, 300);
}

on("versions selection mutes settings name view alternatives", saveSoon);
addEventListener("pagehide", saveNow);
document.addEventListener("visibilitychange", () => { if (document.hidden) void saveNow(); });
