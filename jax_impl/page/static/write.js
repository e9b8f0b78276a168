// The panel in which bars are rewritten, varied, continued, and tracks added; it mirrors the selection.
import { startWriting } from "./alternatives.js";
import { colourOf } from "./colours.js";
import { asPrograms, inParts } from "./instruments.js";
import { byId } from "./parts.js";
import { select, selectAll, selectNone } from "./select.js";
import { changed, on, state } from "./state.js";
import { namesOf } from "./tracks.js";

const fromBar = byId("from-bar"), toBar = byId("to-bar"), picks = byId("track-picks");
const rewrite = byId("rewrite"), vary = byId("vary"), addOnly = byId("add-only");
const wishes = ["chords", "key", "density", "pitches", "polyphony", "temperature", "top-p", "alternatives"];
const numbers = new Set(["temperature", "top-p", "alternatives"]);
let shown = "";

/** What is wished, as the server wants it: without what was left empty. */
function wished() {
  const wanted = {};
  for (const wish of wishes) {
    const text = byId(`wish-${wish}`).value.trim();
    if (text) wanted[wish.replace("-", "_")] = numbers.has(wish) ? Number(text) : text;
  }
  return wanted;
}

const barsInWords = (first, last) => (first === last ? `bar ${first}` : `bars ${first}–${last}`);

function tracksInWords(song, tracks) {
  const names = namesOf(song);
  if (tracks.length === song.tracks.length && tracks.length > 1) return "all tracks";
  return tracks.length > 2 ? `${tracks.length} tracks` : tracks.map((track) => names[track]).join(", ");
}

function writeSelected(action) {
  const chosen = state.selection;
  if (!chosen || state.writing) return;
  const verb = action === "vary" ? "Vary" : "Rewrite";
  const label = `${verb} ${barsInWords(chosen.first, chosen.last)}, ${tracksInWords(state.song, chosen.tracks)}`;
  startWriting({ action, ...chosen, ...wished() }, label);
}

function writeOn() {
  const bars = Number(byId("more-bars").value);
  if (!(bars >= 1)) return complain("How many bars more? Write a number from 1 on.", byId("more-bars"));
  startWriting({ action: "continue", bars, ...wished() }, `Continue ${bars} ${bars === 1 ? "bar" : "bars"}`);
}

function addTrack() {
  const names = inParts(byId("add-instrument").value);
  if (!names.length) return complain("Which instrument? Choose or write one.", byId("add-instrument"));
  const only = state.selection && addOnly.checked
    ? { first: state.selection.first, last: state.selection.last } : {};
  const instruments = asPrograms(names);
  startWriting({ action: "add", instruments, ...only, ...wished() }, `Add ${names.join(", ")}`);
}

function complain(text, input) {
  showError(text);
  input.focus();
}

export function showError(text) {
  const error = byId("write-error");
  error.textContent = text ?? "";
  error.hidden = !text;
  if (text) error.scrollIntoView({ block: "nearest" });
}

function pickOf(track, number, name) {
  const label = document.createElement("label");
  label.className = "pick";
  const box = Object.assign(document.createElement("input"), { type: "checkbox" });
  box.addEventListener("change", () => {
    const before = state.selection;
    const tracks = (before?.tracks ?? []).filter((other) => other !== number);
    select(box.checked ? [...tracks, number] : tracks, before?.first ?? 1, before?.last ?? state.song.bars.length);
  });
  const dot = document.createElement("span");
  dot.className = "dot";
  dot.style.setProperty("--colour", colourOf(track));
  const text = document.createElement("span");
  text.textContent = name;
  label.title = name;
  label.append(box, dot, text);
  return label;
}

function buildPicks() {
  const tracks = state.song?.tracks ?? [];
  const key = JSON.stringify(tracks.map((track) => [track.id, track.name, colourOf(track)]));
  if (key === shown) return;
  shown = key;
  const names = state.song ? namesOf(state.song) : [];
  picks.replaceChildren(...tracks.map((track, number) => pickOf(track, number, names[number])));
}

function mirror() {
  const chosen = state.selection;
  const bars = state.song?.bars.length ?? 1;
  fromBar.max = toBar.max = bars;
  for (const [input, value] of [[fromBar, chosen?.first], [toBar, chosen?.last]]) {
    if (document.activeElement !== input) input.value = value ?? "";
  }
  picks.querySelectorAll("input").forEach((box, number) => {
    box.checked = Boolean(chosen?.tracks.includes(number));
  });
  rewrite.disabled = vary.disabled = !chosen;
  byId("selection-hint").textContent = chosen
    ? `${barsInWords(chosen.first, chosen.last)} of ${tracksInWords(state.song, chosen.tracks)}`.replace("b", "B")
    : "Drag over the lanes, or choose bars and tracks here.";
  byId("sheet-text").textContent = state.writing ? state.writing.label : chosen
    ? `Write: ${barsInWords(chosen.first, chosen.last)}, ${tracksInWords(state.song, chosen.tracks)}` : "Write";
  byId("add-only-line").hidden = !chosen;
  if (chosen) byId("add-only-text").textContent = `New track only in ${barsInWords(chosen.first, chosen.last)}`;
}

function typed(event) {
  const first = Number(fromBar.value), last = Number(toBar.value);
  const tracks = state.selection?.tracks ?? state.song.tracks.map((track, number) => number);
  if (!first && !last) return event.type === "change" ? selectNone() : undefined;
  const bars = state.song.bars.length;
  if (event.type === "input" && (first > bars || last > bars)) return undefined;
  return select(tracks, first || last || 1, last || first || bars);
}

function keepWishes() {
  state.wishes = Object.fromEntries(wishes.map((wish) => [wish, byId(`wish-${wish}`).value]));
  countWishes();
  changed("settings");
}

function countWishes() {
  const count = wishes.filter((wish) => wish !== "alternatives" && byId(`wish-${wish}`).value.trim()).length;
  byId("wishes-set").hidden = !count;
  byId("wishes-set").textContent = count;
}

function fillWishes() {
  for (const wish of wishes) byId(`wish-${wish}`).value = state.wishes[wish] ?? (wish === "alternatives" ? 3 : "");
  countWishes();
}

for (const input of [fromBar, toBar]) {
  input.addEventListener("input", typed);
  input.addEventListener("change", (event) => { typed(event); input.blur(); mirror(); });
}
byId("write").addEventListener("submit", (event) => event.preventDefault());
byId("wishes").addEventListener("input", keepWishes);
byId("wishes-clear").addEventListener("click", () => { state.wishes = {}; fillWishes(); changed("settings"); });
rewrite.addEventListener("click", () => writeSelected("rewrite"));
vary.addEventListener("click", () => writeSelected("vary"));
byId("select-all").addEventListener("click", selectAll);
byId("select-none").addEventListener("click", selectNone);
byId("continue").addEventListener("click", writeOn);
byId("add").addEventListener("click", addTrack);
for (const [id, action] of [["more-bars", writeOn], ["add-instrument", addTrack]]) {
  byId(id).addEventListener("keydown", (event) => { if (event.key === "Enter") action(); });
}
byId("sheet").addEventListener("click", () => openSheet(!byId("panel").classList.contains("open")));

export function openSheet(open) {
  byId("panel").classList.toggle("open", open);
  byId("sheet").setAttribute("aria-expanded", open);
}

on("song colours", () => { buildPicks(); mirror(); });
on("selection alternatives", mirror);
on("session", fillWishes);
