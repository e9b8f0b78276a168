// Selecting bars x tracks on the roll: by mouse, by touch (long press, then drag) and by keyboard.
import { byId } from "./parts.js";
import { cursorCell, draw, laneTop, ruler, seen, tickOf, xOf } from "./roll.js";
import { changed, on, state } from "./state.js";
import { barAt, barStart, secondsAt } from "./time.js";
import { reveal, scrollBy } from "./view.js";

const canvas = byId("roll");
const edge = 24;
let anchor = null;
let drag = null;
let pressTimer = 0;
let seek = () => {};

/** Play.js says how the playhead is set. */
export const setsPlayhead = (how) => { seek = how; };

/** Selects tracks (numbers) in bars `first` to `last` (from 1); nothing where there is nothing to select. */
export function select(tracks, first, last) {
  const bars = state.song?.bars.length ?? 0;
  const inside = (bar) => Math.max(1, Math.min(bars, Math.round(bar) || 1));
  const numbers = [...new Set(tracks)].sort((one, other) => one - other);
  state.selection = bars && numbers.length
    ? { tracks: numbers, first: Math.min(inside(first), inside(last)), last: Math.max(inside(first), inside(last)) }
    : null;
  changed("selection");
}

export const selectNone = () => select([], 1, 1);
export const selectAll = () => select(state.song.tracks.map((track, index) => index), 1, state.song.bars.length);

function span(from, to) {
  const low = Math.min(from.track, to.track), high = Math.max(from.track, to.track);
  select(Array.from({ length: high - low + 1 }, (unused, index) => low + index), from.bar + 1, to.bar + 1);
}

function pointOf(event) {
  const box = canvas.getBoundingClientRect();
  return { x: event.clientX - box.left, y: event.clientY - box.top };
}

function cellAt({ x, y }, clamp) {
  const { tracks, end } = state.song;
  const track = Math.floor((y - ruler + seen.top) / seen.lane);
  const tick = tickOf(x);
  if (!clamp && (track < 0 || track >= tracks.length || tick > end.tick)) return null;
  return { track: Math.max(0, Math.min(tracks.length - 1, track)), bar: barAt(state.song, tick) };
}

function setFromRuler(point) {
  const end = state.song.end.tick;
  seek(secondsAt(state.song, Math.max(0, Math.min(end, tickOf(point.x)))));
}

function pressed(event) {
  if (!state.song || event.button !== 0) return;
  const point = pointOf(event);
  if (event.pointerType === "touch") return touched(event, point);
  canvas.focus({ preventScroll: true });
  event.preventDefault();
  canvas.setPointerCapture(event.pointerId);
  if (point.y < ruler) {
    drag = { kind: "ruler" };
    return setFromRuler(point);
  }
  startAt(point, event.shiftKey);
}

function startAt(point, extend) {
  const cell = cellAt(point);
  if (!cell) return selectNone();
  if (!extend || !anchor) anchor = cell;
  Object.assign(cursorCell, cell, { shown: true });
  drag = { kind: "cells", point };
  span(anchor, cell);
  requestAnimationFrame(scrollAtEdges);
}

/** A long press begins a selection; a short touch on the ruler sets the playhead; all else scrolls. */
function touched(event, point) {
  clearTimeout(pressTimer);
  drag = { kind: "wait", point, at: event.timeStamp };
  pressTimer = setTimeout(() => {
    if (drag?.kind !== "wait" || point.y < ruler) return;
    navigator.vibrate?.(12);
    startAt(point, false);
  }, 380);
}

function moved(event) {
  if (!drag) return;
  const point = pointOf(event);
  if (drag.kind === "wait" && Math.hypot(point.x - drag.point.x, point.y - drag.point.y) > 9) stop();
  else if (drag.kind === "ruler") setFromRuler(point);
  else if (drag.kind === "cells") {
    drag.point = point;
    dragTo(point);
  }
}

function dragTo(point) {
  const cell = cellAt(point, true);
  if (cell.track === cursorCell.track && cell.bar === cursorCell.bar) return;
  Object.assign(cursorCell, cell);
  span(anchor, cell);
}

function scrollAtEdges() {
  if (drag?.kind !== "cells") return;
  const { x, y } = drag.point;
  const push = (at, low, high) => (at < low + edge ? -8 : at > high - edge ? 8 : 0);
  const right = push(x, 0, seen.width), down = push(y, ruler, seen.height);
  if (drag.moved && (right || down)) {
    scrollBy(right, down);
    dragTo(drag.point);
  }
  requestAnimationFrame(scrollAtEdges);
}

function released(event) {
  if (drag?.kind === "wait" && event.type === "pointerup") {
    if (drag.point.y < ruler) setFromRuler(drag.point);
    else selectNone();
  }
  stop();
}

function stop() {
  clearTimeout(pressTimer);
  drag = null;
}

const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

function key(event) {
  const step = steps[event.key];
  if (!step || !state.song || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  event.stopPropagation();
  const { tracks, bars } = state.song;
  if (!event.shiftKey || !anchor) anchor = null;
  const from = { track: cursorCell.track, bar: cursorCell.bar };
  if (cursorCell.shown) {
    cursorCell.track = Math.max(0, Math.min(tracks.length - 1, cursorCell.track + step[0]));
    cursorCell.bar = Math.max(0, Math.min(bars.length - 1, cursorCell.bar + step[1]));
  }
  cursorCell.shown = true;
  anchor ??= event.shiftKey ? from : { track: cursorCell.track, bar: cursorCell.bar };
  const to = { track: cursorCell.track, bar: cursorCell.bar };
  span(event.shiftKey ? anchor : to, to);
  const top = laneTop(to.track);
  reveal(xOf(barStart(state.song, to.bar)), xOf(barStart(state.song, to.bar + 1)), top, top + seen.lane);
}

canvas.addEventListener("pointerdown", pressed);
canvas.addEventListener("pointermove", (event) => { if (drag) drag.moved = true; moved(event); });
canvas.addEventListener("pointerup", released);
canvas.addEventListener("pointercancel", stop);
canvas.addEventListener("contextmenu", (event) => { if (event.pointerType === "touch") event.preventDefault(); });
canvas.addEventListener("touchmove", (event) => {
  if (drag?.kind === "cells") event.preventDefault();
}, { passive: false });
canvas.addEventListener("keydown", key);
canvas.addEventListener("dblclick", (event) => {
  const point = pointOf(event);
  const cell = state.song && point.y > ruler && cellAt(point);
  if (cell) select([cell.track], 1, state.song.bars.length);
});
on("song", () => {
  const { tracks, bars } = state.song ?? { tracks: [], bars: [] };
  cursorCell.track = Math.max(0, Math.min(cursorCell.track, tracks.length - 1));
  cursorCell.bar = Math.max(0, Math.min(cursorCell.bar, bars.length - 1));
  anchor = null;
  draw();
});
