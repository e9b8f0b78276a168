// Draws the song on one canvas: a ruler with bars, meters and chords, and below it a lane of notes for each track.
import { colourOf, palette } from "./colours.js";
import { byId } from "./parts.js";
import { on, silentTracks, state } from "./state.js";
import { barAt, barStart, lastAtMost, tickAt } from "./time.js";

export const ruler = 48;
export const margin = 10;
const canvas = byId("roll");
const stage = byId("stage");
const paint = canvas.getContext("2d");
const still = document.createElement("canvas");
const ground = still.getContext("2d", { alpha: false });
const font = "system-ui, sans-serif";
const loudness = [0.42, 0.58, 0.76, 1];

/** What is seen now: set by view.js before a frame is asked for. */
export const seen = { width: 0, height: 0, lane: 72, left: 0, top: 0, ratio: 1 };
export const cursorCell = { track: 0, bar: 0, shown: false };

export const xOf = (tick) => tick * state.scale - seen.left + margin;
export const tickOf = (x) => (x + seen.left - margin) / state.scale;
export const laneTop = (track) => ruler + track * seen.lane - seen.top;

let waiting = false;
let stale = true;
/** Asks for a frame; `all` unless only the playhead moved. */
export function draw(all = true) {
  stale ||= all;
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(frame);
}

function frame() {
  waiting = false;
  if (!seen.width || !seen.height) return;
  resize();
  if (stale) drawStill();
  stale = false;
  paint.setTransform(1, 0, 0, 1, 0, 0);
  paint.drawImage(still, 0, 0);
  paint.setTransform(seen.ratio, 0, 0, seen.ratio, 0, 0);
  if (state.song) drawPlayhead();
}

function resize() {
  const width = Math.round(seen.width * seen.ratio), height = Math.round(seen.height * seen.ratio);
  if (canvas.width === width && canvas.height === height) return;
  for (const one of [canvas, still]) Object.assign(one, { width, height });
  canvas.style.width = `${seen.width}px`;
  canvas.style.height = `${seen.height}px`;
  stale = true;
}

function drawStill() {
  ground.setTransform(seen.ratio, 0, 0, seen.ratio, 0, 0);
  ground.fillStyle = palette().back;
  ground.fillRect(0, 0, seen.width, seen.height);
  const song = state.song;
  if (!song?.bars.length) return;
  const quiet = new Set(silentTracks(song));
  drawLanes(song);
  drawBarLines(song);
  drawSelection(song);
  for (let track = 0; track < song.tracks.length; track += 1) {
    const top = laneTop(track);
    if (top + seen.lane > ruler && top < seen.height) drawLane(song.tracks[track], track, top, quiet.has(track));
  }
  drawCursor(song);
  drawRuler(song);
}

function drawLanes(song) {
  const colours = palette();
  const end = Math.min(seen.width, xOf(song.end.tick));
  for (let track = 0; track < song.tracks.length; track += 1) {
    const top = laneTop(track);
    if (top + seen.lane < ruler || top > seen.height) continue;
    ground.fillStyle = colours.lane;
    ground.fillRect(0, top, end, seen.lane - 1);
    ground.fillStyle = colours.line;
    ground.fillRect(0, top + seen.lane - 1, seen.width, 1);
    drawFresh(song, track, top);
  }
}

/** The bars that an alternative has written stand on a ground of their own. */
function drawFresh(song, track, top) {
  const bars = state.fresh?.bars.get(song.tracks[track].id);
  if (!bars) return;
  ground.fillStyle = palette()["accent-soft"];
  for (const bar of bars) {
    const left = xOf(barStart(song, bar));
    const right = xOf(barStart(song, bar + 1));
    if (right > 0 && left < seen.width) ground.fillRect(left, top, right - left, seen.lane - 1);
  }
}

function drawBarLines(song) {
  const colours = palette();
  const first = barAt(song, tickOf(0)), last = barAt(song, tickOf(seen.width));
  const bottom = Math.min(seen.height, laneTop(song.tracks.length));
  const step = labelStep(song);
  for (let bar = first; bar <= last + 1; bar += 1) {
    const x = Math.round(xOf(barStart(song, bar)));
    const strong = bar % step === 0 || bar === song.bars.length;
    if (!strong && step > 4) continue;
    ground.globalAlpha = strong ? 1 : 0.5;
    ground.fillStyle = colours.line;
    ground.fillRect(x, ruler, 1, bottom - ruler);
    if (bar <= last) drawBeats(song, bar, bottom);
  }
  ground.globalAlpha = 1;
}

function drawBeats(song, bar, bottom) {
  const [count, unit] = (song.bars[bar].meter || "4/4").split("/").map(Number);
  const beat = 1920 / (unit || 4);
  if (beat * state.scale < 22) return;
  ground.globalAlpha = 0.35;
  for (let index = 1; index < count; index += 1) {
    ground.fillRect(Math.round(xOf(barStart(song, bar) + index * beat)), ruler, 1, bottom - ruler);
  }
}

/** Every how many bars a number has room. */
function labelStep(song) {
  const width = (song.end.tick / song.bars.length) * state.scale;
  let step = 1;
  while (step * width < 34) step *= 2;
  return step;
}

function drawSelection(song) {
  const chosen = state.selection;
  if (!chosen) return;
  const left = xOf(barStart(song, chosen.first - 1)), right = xOf(barStart(song, chosen.last));
  ground.fillStyle = palette().accent;
  ground.strokeStyle = palette().accent;
  for (const track of chosen.tracks) {
    const top = laneTop(track);
    ground.globalAlpha = state.writing ? 0 : 0.15;
    ground.fillRect(left, top, right - left, seen.lane - 1);
    ground.globalAlpha = 0.7;
    ground.fillRect(left, top, 1.5, seen.lane - 1);
    ground.fillRect(right - 1.5, top, 1.5, seen.lane - 1);
    if (!chosen.tracks.includes(track - 1)) ground.fillRect(left, top, right - left, 1.5);
    if (!chosen.tracks.includes(track + 1)) ground.fillRect(left, top + seen.lane - 2.5, right - left, 1.5);
  }
  ground.globalAlpha = 1;
}

const shapes = new WeakMap();
/** The notes of a track as arrays, with the latest end so far (for a search) and the row of each pitch. */
function shapeOf(track) {
  const known = shapes.get(track);
  if (known?.count === track.notes.length) return known;
  const count = track.notes.length;
  const shape = { count, ticks: new Float64Array(count), ends: new Float64Array(count), latest: new Float64Array(count),
    rows: new Uint8Array(count), loud: new Uint8Array(count), span: 1 };
  const rowOf = rows(track, shape);
  let latest = 0;
  track.notes.forEach(([tick, ticks, pitch, velocity], index) => {
    latest = Math.max(latest, tick + ticks);
    shape.ticks[index] = tick;
    shape.ends[index] = tick + ticks;
    shape.latest[index] = latest;
    shape.rows[index] = rowOf(pitch);
    shape.loud[index] = Math.min(3, velocity >> 5);
  });
  shapes.set(track, shape);
  return shape;
}

/** A function from pitches to rows: drums have a row for each that is struck, others the range they play in. */
function rows(track, shape) {
  const pitches = [...new Set(track.notes.map((note) => note[2]))].sort((one, other) => one - other);
  if (track.program === 128) {
    shape.span = Math.max(5, pitches.length);
    const places = new Map(pitches.map((pitch, index) => [pitch, index]));
    return (pitch) => places.get(pitch);
  }
  const lowest = pitches[0] ?? 60, highest = pitches.at(-1) ?? 60;
  shape.span = Math.max(13, highest - lowest + 1);
  const base = lowest - Math.floor((shape.span - (highest - lowest + 1)) / 2);
  return (pitch) => pitch - base;
}

const reached = new Float64Array(256);
const fullest = 8192;
/** Boxes (left, top, width) of one loudness, the last of them for new notes; drawn when a list is full. */
const boxes = Array.from({ length: 5 }, () => ({ size: 0, values: new Float32Array(3 * fullest) }));

const crowd = 300;
const strips = [];
/** Lanes with many notes in sight are drawn once and kept as pictures, so that scrolling down costs little. */
function drawLane(track, number, top, quiet) {
  const shape = shapeOf(track);
  const many = lastAtMost(shape.ticks, tickOf(seen.width)) - lastAtMost(shape.latest, tickOf(0));
  if (many < crowd) return drawNotes(ground, track, top, quiet);
  strips[number] ??= { brush: document.createElement("canvas").getContext("2d"), made: [] };
  const strip = strips[number];
  const { canvas: picture } = strip.brush;
  const made = [shape, colourOf(track), quiet, state.fresh?.notes.get(track.id), state.scale, seen.left, seen.lane,
    seen.width, seen.ratio];
  if (made.some((value, index) => value !== strip.made[index])) {
    picture.width = Math.round(seen.width * seen.ratio);
    picture.height = Math.round(seen.lane * seen.ratio);
    strip.brush.setTransform(seen.ratio, 0, 0, seen.ratio, 0, 0);
    drawNotes(strip.brush, track, 0, quiet);
    strip.made = made;
  }
  return ground.drawImage(picture, 0, top, picture.width / seen.ratio, picture.height / seen.ratio);
}

function drawNotes(brush, track, top, quiet) {
  const { count, ticks, ends, latest, rows: rowOf, loud, span } = shapeOf(track);
  if (!count) return;
  const { scale } = state;
  const shift = margin - seen.left;
  const from = tickOf(0), to = tickOf(seen.width);
  const row = (seen.lane - 11) / span;
  const thick = thickness(row);
  const bottom = top + seen.lane - 6 - thick / 2 - row / 2;
  const fresh = state.fresh?.notes.get(track.id);
  const thickOf = (kind) => (kind === 4 ? thick + 1 : thick);
  const draws = boxes.map((list, kind) => () => fill(brush, list, thickOf(kind), alphaOf(kind, quiet, fresh)));
  brush.fillStyle = colourOf(track);
  reached.fill(-1);
  for (let index = lastAtMost(latest, from); index < count && ticks[index] < to; index += 1) {
    const right = ends[index] * scale + shift;
    const before = reached[rowOf[index]];
    if (right < 0 || right <= before + 0.5) continue;
    const left = Math.max(ticks[index] * scale + shift, before);
    reached[rowOf[index]] = right;
    const wide = track.program === 128 ? Math.max(2, Math.min(thick, right - left)) : Math.max(1.5, right - left - 1);
    const kind = fresh && isFresh(fresh, track.notes[index]) ? 4 : loud[index];
    const { values, size } = boxes[kind];
    values[size] = left;
    values[size + 1] = bottom - rowOf[index] * row;
    values[size + 2] = wide;
    boxes[kind].size += 3;
    if (size + 3 === values.length) draws[kind]();
  }
  for (const drawKind of draws) drawKind();
}

/** Notes are as thick as their row, but not thicker than short ones are long. */
function thickness(row) {
  const most = Math.max(4, Math.min(11, 170 * state.scale));
  return Math.max(2.5, Math.min(most, row - (row > 4 ? 1 : 0)));
}

const isFresh = (fresh, note) => fresh.has(`${note[0]} ${note[1]} ${note[2]} ${note[3]}`);

function alphaOf(kind, quiet, fresh) {
  if (kind === 4) return quiet ? 0.4 : 1;
  return loudness[kind] * (quiet ? 0.25 : fresh ? 0.55 : 1);
}

function fill(brush, list, thick, alpha) {
  const { values, size } = list;
  list.size = 0;
  if (!size) return;
  brush.globalAlpha = alpha;
  if (thick >= 3.5 && size < 3000) {
    brush.beginPath();
    for (let at = 0; at < size; at += 3) brush.roundRect(values[at], values[at + 1], values[at + 2], thick, thick / 3);
    brush.fill();
  } else {
    for (let at = 0; at < size; at += 3) brush.fillRect(values[at], values[at + 1], values[at + 2], thick);
  }
  brush.globalAlpha = 1;
}

function drawCursor(song) {
  if (!cursorCell.shown || document.activeElement !== canvas || !canvas.matches(":focus-visible")) return;
  const { track, bar } = cursorCell;
  const left = xOf(barStart(song, bar)), right = xOf(barStart(song, bar + 1));
  ground.strokeStyle = palette().text;
  ground.lineWidth = 1.5;
  ground.strokeRect(left + 1, laneTop(track) + 1, right - left - 2, seen.lane - 3);
}

function drawRuler(song) {
  const colours = palette();
  ground.fillStyle = colours.back;
  ground.fillRect(0, 0, seen.width, ruler);
  if (state.selection) {
    const left = xOf(barStart(song, state.selection.first - 1)), right = xOf(barStart(song, state.selection.last));
    ground.fillStyle = colours["accent-soft"];
    ground.fillRect(left, 0, right - left, ruler);
  }
  ground.fillStyle = colours.line;
  ground.fillRect(0, ruler - 1, seen.width, 1);
  ground.textBaseline = "middle";
  drawNumbers(song);
  drawChords(song);
}

function drawNumbers(song) {
  const colours = palette();
  const step = labelStep(song);
  const last = barAt(song, tickOf(seen.width));
  let free = -Infinity;
  for (let bar = Math.max(0, barAt(song, tickOf(-60))); bar <= last; bar += 1) {
    const x = xOf(barStart(song, bar));
    const meter = song.bars[bar].meter;
    const news = meter && meter !== song.bars[bar - 1]?.meter;
    if (bar % step && !news) continue;
    if (x < free) continue;
    ground.fillStyle = colours.edge;
    ground.fillRect(Math.round(x), 6, 1, 14);
    ground.font = `12px ${font}`;
    ground.fillStyle = colours.soft;
    ground.fillText(String(bar + 1), x + 9, 13);
    free = x + 18 + ground.measureText(String(bar + 1)).width;
    if (!news) continue;
    ground.font = `600 11px ${font}`;
    ground.fillStyle = colours.accent;
    ground.fillText(meter, free - 3, 13);
    free += ground.measureText(meter).width + 8;
  }
}

function drawChords(song) {
  ground.font = `600 12.5px ${font}`;
  ground.fillStyle = palette().text;
  const last = barAt(song, tickOf(seen.width));
  let free = -Infinity;
  let before = null;
  for (let bar = Math.max(0, barAt(song, tickOf(-120))); bar <= last; bar += 1) {
    const chord = song.bars[bar].chord;
    const x = xOf(barStart(song, bar)) + 5;
    if (!chord || chord === before || x < free) continue;
    const text = chordAsWritten(chord);
    ground.fillText(text, x, 33);
    free = x + ground.measureText(text).width + 8;
    before = chord;
  }
}

/** "Amin7" as musicians write it, "Am7", "Fmaj" as "F" and no chord as "N.C."; no longer than there is room. */
function chordAsWritten(chord) {
  if (chord === "N") return "N.C.";
  const text = chord.replace(/maj$/, "").replace("min", "m");
  return text.length > 14 ? `${text.slice(0, 13)}…` : text;
}

function drawPlayhead() {
  const tick = tickAt(state.song, state.position);
  const x = Math.round(xOf(tick));
  if (x < -8 || x > seen.width + 8) return;
  if (state.playing) drawSounding(tick);
  paint.fillStyle = palette().accent;
  paint.fillRect(x - 0.75, 8, 1.5, seen.height);
  paint.beginPath();
  paint.moveTo(x - 6, 1);
  paint.lineTo(x + 6, 1);
  paint.lineTo(x + 6, 7);
  paint.lineTo(x, 13);
  paint.lineTo(x - 6, 7);
  paint.fill();
}

/** What sounds now lights up. */
function drawSounding(tick) {
  const quiet = new Set(silentTracks());
  paint.fillStyle = palette().text;
  state.song.tracks.forEach((track, number) => {
    const top = laneTop(number);
    if (quiet.has(number) || top < ruler - seen.lane || top > seen.height) return;
    const shape = shapeOf(track);
    const row = (seen.lane - 11) / shape.span;
    const thick = thickness(row);
    for (let index = lastAtMost(shape.ticks, tick); index >= 0 && shape.latest[index] > tick; index -= 1) {
      if (shape.ends[index] <= tick || shape.ticks[index] > tick) continue;
      const y = top + seen.lane - 6 - thick / 2 - row / 2 - shape.rows[index] * row;
      if (y < ruler) continue;
      const left = xOf(shape.ticks[index]);
      const right = track.program === 128 ? left + thick : xOf(shape.ends[index]) - 1;
      paint.fillRect(left, y - 0.5, Math.max(2, right - left), thick + 1);
    }
  });
}

on("song selection mutes colours view alternatives", () => draw());
on("position", () => draw(false));
new ResizeObserver(() => draw()).observe(stage);
canvas.addEventListener("focus", () => draw());
canvas.addEventListener("blur", () => draw());
