// The list of tracks beside the lanes: instrument, mute, solo, remove.
import { removeTracks, setProgram } from "./api.js";
import { colourOf } from "./colours.js";
import { byId } from "./parts.js";
import { changed, on, say, silentTracks, state, tell } from "./state.js";
import { commit } from "./versions.js";

const list = byId("track-list");
const cross = '<svg viewBox="0 0 20 20" aria-hidden="true"><path d="M5.500 5.500l9 9M14.500 5.500l-9 9"/></svg>';
let rows = [];
let shown = "";

/** A short name for a narrow column: "Electric Bass (finger)" becomes "Bass", "Acoustic Grand Piano" "Piano". */
function shortName(track) {
  const plain = track.name.replace(/\(.*?\)|\d+$/g, "").trim().split(/\s+/);
  return plain.at(-1) || track.name;
}

/** Names of tracks, with a number where two are the same. */
export function namesOf(song) {
  const counts = new Map(), so = new Map();
  for (const { name } of song.tracks) counts.set(name, (counts.get(name) ?? 0) + 1);
  return song.tracks.map(({ name }) => {
    so.set(name, (so.get(name) ?? 0) + 1);
    return counts.get(name) > 1 ? `${name} ${so.get(name)}` : name;
  });
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function button(className, text, label, action) {
  const made = element("button", className, text);
  made.type = "button";
  made.setAttribute("aria-label", label);
  made.title = label;
  made.addEventListener("click", action);
  return made;
}

/** A select with all instruments by family. */
function instrumentSelect(track, label) {
  const select = element("select", "");
  select.setAttribute("aria-label", label);
  select.title = track.name;
  for (const family of state.server?.families ?? []) {
    const group = document.createElement("optgroup");
    group.label = family.name;
    for (const program of family.programs) group.append(new Option(state.server.programs[program], program));
    select.append(group);
  }
  if (![...select.options].some((option) => Number(option.value) === track.program)) {
    select.append(new Option(track.name, track.program));
  }
  select.value = track.program;
  return select;
}

function rowOf(track, number, name) {
  const row = element("li", "track");
  row.style.setProperty("--colour", colourOf(track));
  const names = element("div", "names");
  const select = instrumentSelect(track, `Instrument of ${name}`);
  select.addEventListener("change", () => edit(() => withProgram(number, Number(select.value)),
    `Instrument: ${select.selectedOptions[0].textContent}`));
  const short = element("span", "short", shortName(track) + name.slice(track.name.length));
  short.title = name;
  names.append(select, short);
  const tools = element("div", "tools");
  const mute = button("mute", "M", `Mute ${name}`, () => flip(state.muted, track.id));
  const solo = button("solo", "S", `Solo ${name}`, () => flip(state.solo, track.id));
  const remove = button("remove", "", `Remove ${name}`, () => edit(() => removeTracks(state.song, [number]),
    `Remove ${name}`));
  remove.innerHTML = cross;
  tools.append(mute, solo);
  const own = element("span", "own-name", name.replace(state.server?.programs[track.program], "").trim());
  own.title = name;
  tools.append(own);
  tools.append(remove);
  row.append(names, tools);
  return { row, select, mute, solo, remove, track };
}

function flip(set, id) {
  if (!set.delete(id)) set.add(id);
  changed("mutes");
}

/** The song with a track on another instrument; a track that moves in the file for that stays muted or alone. */
async function withProgram(number, program) {
  const before = state.song;
  const song = await setProgram(before, number, program);
  const ids = new Set(before.tracks.map((track) => track.id));
  const moved = song.tracks.find((track) => !ids.has(track.id));
  for (const set of [state.muted, state.solo]) if (moved && set.has(before.tracks[number].id)) set.add(moved.id);
  return song;
}

let editing = false;
async function edit(ask, label) {
  if (editing || state.writing) return;
  editing = true;
  try {
    await commit(await ask(), label);
    say(label);
  } catch (error) {
    tell(error.message);
    shown = "";
    changed("song");
  } finally {
    editing = false;
  }
}

function build() {
  const tracks = state.song?.tracks ?? [];
  const key = JSON.stringify([tracks.map((track) => [track.id, track.program, track.name]), Boolean(state.server)]);
  if (key !== shown) {
    const focused = [...list.querySelectorAll("button, select")].indexOf(document.activeElement);
    const names = state.song ? namesOf(state.song) : [];
    rows = tracks.map((track, number) => rowOf(track, number, names[number]));
    list.replaceChildren(...rows.map(({ row }) => row));
    if (focused >= 0) list.querySelectorAll("button, select")[focused]?.focus();
    shown = key;
  }
  mark();
}

function mark() {
  if (!state.song) return;
  const quiet = new Set(silentTracks());
  rows.forEach(({ row, select, mute, solo, remove, track }, number) => {
    row.style.setProperty("--colour", colourOf(track));
    row.classList.toggle("silent", quiet.has(number));
    row.classList.toggle("fresh", Boolean(state.fresh?.tracks.has(track.id)));
    mute.setAttribute("aria-pressed", state.muted.has(track.id));
    solo.setAttribute("aria-pressed", state.solo.has(track.id));
    remove.disabled = Boolean(state.writing);
    select.disabled = Boolean(state.writing);
  });
}

on("song server alternatives", build);
on("mutes colours", mark);
