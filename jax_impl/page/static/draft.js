// A song that is being written: what stays of the one before, and the bars that have come so far.
import { nameOf } from "./instruments.js";
import { forgetTimes } from "./time.js";

/** A draft over `base` (null: a new song), without the notes that are written anew, with the bars that will come. */
export function draftOf(base, wanted) {
  const end = { tick: 0, seconds: 0 };
  const nothing = { midi: "", beats: null, bars: [], end, seconds: 0, tracks: [], notices: [] };
  const song = base ? emptied(base, wanted) : nothing;
  const draft = { song, written: new Map(), notes: new Map(), tempo: wanted.tempo || 120 };
  if (wanted.action === "new") addBars(draft, wanted.bars, barLength(wanted.meter));
  if (wanted.action === "continue") addBars(draft, wanted.bars, base.end.tick - base.bars.at(-1).tick);
  return { ...draft, add: (bar) => addBar(draft, bar) };
}

function barLength(meter) {
  const [count, unit] = (meter ?? "").split("/").map(Number);
  return count && unit ? (1920 * count) / unit : 1920;
}

function emptied(base, { action, tracks, first, last }) {
  const again = action === "rewrite" || action === "vary" ? new Set(tracks) : null;
  const from = again && base.bars[first - 1].tick;
  const to = again && (base.bars[last] ?? base.end).tick;
  const stays = ([tick]) => tick < from || tick >= to;
  const notesOf = (track, number) => track.notes.filter((note) => !again?.has(number) || stays(note));
  const emptiedTracks = base.tracks.map((track, number) => ({ ...track, notes: notesOf(track, number) }));
  return { ...base, bars: [...base.bars], end: { ...base.end }, tracks: emptiedTracks };
}

function addBar(draft, bar) {
  const { song, written, notes: keys } = draft;
  while (song.tracks.length <= bar.track) song.tracks.push(newTrack(song.tracks.length, bar.program));
  const track = song.tracks[bar.track];
  if (!track.notes.length && track.program !== bar.program) song.tracks[bar.track] = newTrack(bar.track, bar.program);
  const { notes } = song.tracks[bar.track];
  const sorted = !notes.length || !bar.notes.length || notes.at(-1)[0] <= bar.notes[0][0];
  notes.push(...bar.notes);
  if (!sorted) notes.sort((one, other) => one[0] - other[0]);
  if (!written.has(bar.track)) {
    written.set(bar.track, new Set());
    keys.set(bar.track, new Set());
  }
  written.get(bar.track).add(bar.bar - 1);
  for (const note of bar.notes) keys.get(bar.track).add(keyOf(note));
  fitBars(draft, bar);
}

function newTrack(number, program) {
  return { id: `draft-${number}`, program, name: nameOf(program), notes: [] };
}

/** Empty bars at the end of the song. */
function addBars({ song, tempo }, count, length) {
  forgetTimes(song);
  for (let index = 0; index < count; index += 1) {
    const before = song.bars.at(-1);
    const bpm = before?.bpm || tempo;
    const meter = before?.meter || (length % 480 ? `${length / 240}/8` : `${length / 480}/4`);
    song.bars.push({ ...song.end, meter, chord: "", bpm });
    song.end = { tick: song.end.tick + length, seconds: song.end.seconds + length / 8 / bpm };
    song.seconds = song.end.seconds;
  }
}

/** A bar that came may show that bars are longer than was guessed, or that there are more of them. */
function fitBars(draft, { bar, ticks, chord }) {
  const { song } = draft;
  const length = ticks || 1920;
  if (bar === 1 && !song.midi && song.bars.length && song.bars.at(-1).tick !== (song.bars.length - 1) * length) {
    const count = song.bars.length;
    song.bars = [];
    song.end = { tick: 0, seconds: 0 };
    addBars(draft, count, length);
  }
  if (song.bars.length < bar) addBars(draft, bar - song.bars.length, length);
  if (chord) song.bars[bar - 1] = { ...song.bars[bar - 1], chord };
}

const keyOf = (note) => `${note[0]} ${note[1]} ${note[2]} ${note[3]}`;

/**
 * What is new in a draft: by track id the bars that were written and their notes, and the tracks that are new as a
 * whole. Nothing is marked where all is new.
 */
export function freshOfDraft({ song, written, notes }, base) {
  if (!base) return null;
  const idOf = (number) => song.tracks[number].id;
  return {
    bars: new Map([...written].map(([number, bars]) => [idOf(number), bars])),
    notes: new Map([...notes].map(([number, keys]) => [idOf(number), keys])),
    tracks: new Set(song.tracks.slice(base.tracks.length).map((track) => track.id)),
  };
}

/** The same of a song that is whole: its notes that were not there before, in the tracks that were written. */
export function freshOf(song, base, draft) {
  if (!base) return null;
  const fresh = { bars: new Map(), notes: new Map(), tracks: new Set() };
  const before = new Map(base.tracks.map((track) => [track.id, track]));
  const written = new Map([...draft.written].map(([number, bars]) => [draft.song.tracks[number].id, bars]));
  let next = base.tracks.length;
  song.tracks.forEach((track) => {
    const old = before.get(track.id);
    const bars = old ? written.get(track.id) : draft.written.get(next++);
    if (!old) fresh.tracks.add(track.id);
    if (!bars?.size) return;
    const known = new Set(old?.notes.map(keyOf));
    fresh.bars.set(track.id, bars);
    fresh.notes.set(track.id, new Set(track.notes.map(keyOf).filter((key) => !known.has(key))));
  });
  return fresh;
}
