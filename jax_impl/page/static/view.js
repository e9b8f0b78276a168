// Which part of the song is seen: size of lanes and canvas, zoom, scroll, and following the playhead.
import { byId } from "./parts.js";
import { draw, laneTop, margin, ruler, seen, xOf } from "./roll.js";
import { changed, on, state } from "./state.js";
import { barStart, tickAt } from "./time.js";
import { alsoKeeps } from "./versions.js";

const stage = byId("stage");
const field = byId("field");
const root = document.documentElement;
const largest = 0.6;
let fitted = null;

const listWidth = () => parseFloat(getComputedStyle(root).getPropertyValue("--list"));
const smallest = () => Math.min(largest, (seen.width - 2 * margin) / Math.max(1, state.song?.end.tick ?? 1));

/** Measures the stage and lays out lanes and canvas in it. */
export function layOut() {
  const song = state.song;
  if (!song || !stage.clientWidth) return;
  const narrow = matchMedia("(max-width: 760px)").matches;
  const room = (stage.clientHeight - ruler) / Math.max(1, song.tracks.length);
  seen.width = Math.max(40, stage.clientWidth - listWidth());
  seen.height = stage.clientHeight;
  seen.ratio = devicePixelRatio || 1;
  const least = narrow && !root.classList.contains("wide-tracks") ? 52 : 72;
  seen.lane = Math.round(Math.max(least, Math.min(narrow ? 132 : 200, room)));
  root.style.setProperty("--lane-height", `${seen.lane}px`);
  state.scale = Math.max(smallest(), Math.min(largest, state.scale));
  const height = Math.max(stage.clientHeight, ruler + song.tracks.length * seen.lane);
  field.style.height = `${height}px`;
  field.style.width = `${Math.ceil(listWidth() + song.end.tick * state.scale + 2 * margin)}px`;
  look();
}

function look() {
  seen.left = stage.scrollLeft;
  seen.top = stage.scrollTop;
  changed("view");
}

/** Zooms so that what lies at `x` (on the canvas) stays there. */
export function zoom(factor, x = seen.width / 2) {
  if (!state.song) return;
  const tick = (x + seen.left - margin) / state.scale;
  state.scale = Math.max(smallest(), Math.min(largest, state.scale * factor));
  layOut();
  stage.scrollLeft = tick * state.scale + margin - x;
  look();
}

/** The whole song, or as much as leaves bars that can be read. */
export function fit(atLeast = 0) {
  state.scale = Math.max(atLeast, smallest());
  layOut();
}

/** Brings a bar and a track into sight. */
export function reveal(left, right, top, bottom) {
  if (left < 0) stage.scrollLeft += left - 20;
  else if (right > seen.width) stage.scrollLeft += Math.min(left - 20, right - seen.width + 20);
  if (top < ruler) stage.scrollTop += top - ruler;
  else if (bottom > seen.height) stage.scrollTop += bottom - seen.height;
}

/** Scrolls to where something is written, if that is out of sight. */
export function bringIntoSight(track, bar) {
  const x = xOf(barStart(state.song, bar));
  if (x < 0 || x > seen.width - 60) stage.scrollLeft += x - seen.width * 0.15;
  const top = laneTop(track);
  if (top < ruler || top + seen.lane > seen.height) stage.scrollTop += top - seen.height / 2;
}

export const scrollBy = (x, y) => stage.scrollBy(x, y);

function follow() {
  if (!state.playing || !state.follow || !state.song) return;
  const x = xOf(tickAt(state.song, state.position));
  if (x >= 0 && x <= seen.width * 0.92) return;
  stage.scrollLeft += x - seen.width * 0.08;
}

/** A song that was not seen before starts wholly in sight, with bars of at least 26 pixels. */
function newSong() {
  const song = state.song;
  if (song && fitted !== state.session) {
    fitted = state.session;
    stage.scrollTo(0, 0);
    layOut();
    fit((26 * song.bars.length) / Math.max(1, song.end.tick));
  } else layOut();
}

export function restoreView(view) {
  if (!view) return;
  fitted = state.session;
  state.scale = view.scale;
  layOut();
  stage.scrollTo(view.left, view.top);
  look();
}

function touches() {
  let before = 0;
  const spread = (event) => Math.hypot(event.touches[0].clientX - event.touches[1].clientX,
    event.touches[0].clientY - event.touches[1].clientY);
  const middle = (event) => (event.touches[0].clientX + event.touches[1].clientX) / 2
    - stage.getBoundingClientRect().left - listWidth();
  stage.addEventListener("touchstart", (event) => { if (event.touches.length === 2) before = spread(event); });
  stage.addEventListener("touchmove", (event) => {
    if (event.touches.length !== 2) return;
    event.preventDefault();
    const now = spread(event);
    if (before) zoom(now / before, middle(event));
    before = now;
  }, { passive: false });
}

function wheel(event) {
  if (!event.ctrlKey && !event.metaKey) return;
  event.preventDefault();
  zoom(Math.exp(-event.deltaY * 0.0035), event.clientX - stage.getBoundingClientRect().left - listWidth());
}

alsoKeeps("view", () => ({ scale: state.scale, left: stage.scrollLeft, top: stage.scrollTop }));
stage.addEventListener("scroll", look, { passive: true });
stage.addEventListener("wheel", wheel, { passive: false });
touches();
new ResizeObserver(layOut).observe(stage);
on("song", newSong);
on("position", follow);
const widen = byId("widen");
widen.addEventListener("click", () => {
  const wide = root.classList.toggle("wide-tracks");
  widen.setAttribute("aria-expanded", wide);
  layOut();
  draw();
});
byId("zoom-in").addEventListener("click", () => zoom(1.4));
byId("zoom-out").addEventListener("click", () => zoom(1 / 1.4));
byId("zoom-fit").addEventListener("click", () => fit());
