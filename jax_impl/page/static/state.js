// The one state of the page, and who wants to know when a part of it changes.
import { byId } from "./parts.js";

/**
 * @typedef {{midi: string, beats: object|null, bars: {tick: number, seconds: number, meter: string, chord: string,
 *   bpm: number}[], end: {tick: number, seconds: number}, seconds: number, notices: string[],
 *   tracks: {id: string, program: number, name: string, notes: number[][]}[]}} Song
 * @typedef {{key: string, midi: string, beats: object|null, label: string, at: number, song: Song|null}} Version
 */
export const state = {
  server: null,
  online: true,
  session: null,
  name: "",
  /** @type {Version[]} */ versions: [],
  cursor: -1,
  /** @type {Song|null} what is shown: a version, or an alternative that is not chosen yet */ song: null,
  /** @type {{tracks: number[], first: number, last: number}|null} bars from 1 */ selection: null,
  /** what write.js asked for and what came of it, see alternatives.js */ writing: null,
  /** bars x tracks that differ from the version below, by track id: see alternatives.js */ fresh: null,
  muted: new Set(),
  solo: new Set(),
  position: 0,
  playing: false,
  loop: false,
  follow: true,
  scale: 0.05,
  wishes: {},
};

const listeners = new Map();

/** Calls `listener` whenever one of the topics (words separated by blanks) changes. */
export function on(topics, listener) {
  for (const topic of topics.split(" ")) {
    if (!listeners.has(topic)) listeners.set(topic, []);
    listeners.get(topic).push(listener);
  }
}

/** Tells all who listen that these topics changed; each listener is called once. */
export function changed(...topics) {
  const called = new Set();
  for (const topic of topics) for (const listener of listeners.get(topic) ?? []) called.add(listener);
  for (const listener of called) listener();
}

/** The tracks (their numbers) that are not to be heard now. */
export function silentTracks(song = state.song) {
  if (!song) return [];
  const anySolo = song.tracks.some((track) => state.solo.has(track.id));
  return song.tracks.flatMap((track, index) =>
    (anySolo ? !state.solo.has(track.id) : state.muted.has(track.id)) ? [index] : []);
}

export const say = (text) => {
  byId("status").textContent = text;
};

let toastTimer = 0;
/** Shows a message that must not be missed. */
export function tell(text) {
  byId("toast-text").textContent = text;
  byId("toast").hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { byId("toast").hidden = true; }, 12000);
}

/** What tests may look at; nothing can be changed through it. */
export const readOnly = Object.freeze({
  get song() { return state.song; },
  get selection() { return state.selection; },
  get versions() { return state.versions; },
  get cursor() { return state.cursor; },
});
