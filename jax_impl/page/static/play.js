// Plays the song: pieces of sound are fetched ahead and scheduled; mutes, alternatives and seeking act at once.
import { Unreachable } from "./api.js";
import { byId } from "./parts.js";
import { setsPlayhead } from "./select.js";
import * as sound from "./sound.js";
import { changed, on, silentTracks, state, tell } from "./state.js";
import { barStart, clock, placeInWords, secondsAt, songEnd } from "./time.js";

const firstPiece = 2, laterPiece = 6, ownPiece = 0.5;
let context = null;
let master = null;
let run = null;

function prepare() {
  if (context) return;
  context = new AudioContext();
  master = new GainNode(context, { gain: 0.85 });
  const compressor = new DynamicsCompressorNode(context, { threshold: -12, ratio: 4, release: 0.2 });
  master.connect(compressor).connect(context.destination);
}

/** Where playing turns back to, and from where; null if it does not. */
function loopOf(song) {
  if (!state.loop) return null;
  const { first, last } = state.selection ?? { first: 1, last: song.bars.length };
  const from = Math.max(0, secondsAt(song, barStart(song, first - 1)));
  return { from, to: secondsAt(song, barStart(song, last)) };
}

const round = (seconds) => Math.round(seconds * 10000) / 10000;

/** The end of the piece that begins at `from`: short ones first, then those of a fixed grid, so that they are kept. */
function pieceEnd(from, isFirst, limit, own) {
  if (own) return Math.min(limit, from + ownPiece);
  const grid = (Math.floor(from / laterPiece + 1e-6) + 1) * laterPiece;
  const next = isFirst ? Math.min(from + firstPiece, grid) : grid;
  return round(limit - next < 0.3 ? limit : Math.min(limit, next));
}

/**
 * Begins to play at `position`. With `instead` the old sound goes on until the new one is there, which then takes
 * over where the old one has come to.
 */
function begin(position, instead = null) {
  const old = run;
  const gain = new GainNode(context, { gain: 1 });
  gain.connect(master);
  run = { song: state.song, without: silentTracks(), gain, stops: [], timeline: [], abort: new AbortController(),
    next: round(Math.max(0, position)), at: null, old: instead ? old : null };
  if (old && !instead) end(old);
  state.position = position;
  void feed(run);
}

/** Ends a run without a click. */
function end(one) {
  if (one.old) end(one.old);
  one.abort.abort();
  one.gain.gain.setTargetAtTime(0, context.currentTime, 0.012);
  setTimeout(() => {
    one.stops.forEach((stop) => stop());
    one.gain.disconnect();
  }, 120);
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function feed(one) {
  try {
    while (run === one) {
      const loop = loopOf(one.song);
      const within = loop && one.next < loop.to - 0.001;
      const limit = within ? loop.to : songEnd(one.song);
      if (one.next >= limit - 0.001) return void (one.last = true);
      const own = !sound.serverSounds(one.song);
      if (one.at !== null && one.at - context.currentTime > (own ? 1 : 9)) {
        await pause(own ? 150 : 400);
        continue;
      }
      const to = pieceEnd(one.next, one.at === null, limit, own);
      const start = await sound.piece(context, one.song, one.next, to, one.without, one.abort.signal);
      if (run !== one) return;
      schedule(one, start, to);
      one.next = within && to >= loop.to - 0.001 ? round(loop.from) : to;
    }
  } catch (error) {
    if (run === one && error.name !== "AbortError") ownSoundAfter(error);
  }
}

function schedule(one, start, to) {
  const now = context.currentTime + 0.03;
  const from = one.next;
  let at = one.at === null ? now : Math.max(one.at, now);
  let offset = 0;
  if (one.old) {
    const reached = positionOf(one.old) + 0.03;
    if (reached > from && reached < to) {
      offset = reached - from;
      at -= offset;
    }
    end(one.old);
    one.old = null;
  }
  one.stops.push(start(at + offset, offset, one.gain));
  one.timeline.push({ at: at + offset, from: from + offset, to });
  one.at = at + to - from;
  if (one.stops.length > 60) one.stops.splice(0, 30);
}

function ownSoundAfter(error) {
  sound.serverFailed(error);
  if (!(error instanceof Unreachable)) tell(sound.whyOwnSound());
  changed("sound");
  begin(state.position);
}

/** The place in the song that is heard now. */
function positionOf(one) {
  if (!one.timeline.length) return one.old ? positionOf(one.old) : one.next;
  const now = context.currentTime - (context.outputLatency || 0);
  while (one.timeline.length > 1 && one.timeline[1].at <= now) one.timeline.shift();
  const { at, from, to } = one.timeline[0];
  return Math.max(from, Math.min(to, from + now - at));
}

function tick() {
  if (!state.playing) return;
  if (run.timeline.length || run.old) state.position = positionOf(run);
  if (run.last && state.position >= songEnd(run.song) - 0.02) return stop();
  changed("position");
  requestAnimationFrame(tick);
}

function setPlaying(playing) {
  state.playing = playing;
  document.documentElement.dataset.playing = String(playing);
  byId("play").setAttribute("aria-label", playing ? "Pause" : "Play");
  byId("play").title = playing ? "Pause (Space)" : "Play (Space)";
  changed("play", "position");
}

export async function play() {
  if (!state.song?.bars.length || state.playing) return;
  prepare();
  sound.giveServerAnotherTry();
  changed("sound");
  setPlaying(true);
  await context.resume();
  if (!state.playing || run) return;
  const loop = loopOf(state.song);
  if (state.position >= songEnd(state.song) - 0.05) state.position = 0;
  if (loop && (state.position < loop.from || state.position >= loop.to - 0.05)) state.position = loop.from;
  begin(state.position);
  requestAnimationFrame(tick);
}

export function stop() {
  if (!state.playing) return;
  if (run) end(run);
  run = null;
  setPlaying(false);
  changed("settings");
}

export const playOrPause = () => (state.playing ? stop() : play());

/** Sets the playhead, and plays on from there if it plays. */
export function seek(seconds) {
  if (!state.song) return;
  state.position = Math.max(0, Math.min(songEnd(state.song), seconds));
  if (state.playing && run) begin(state.position);
  changed("position", "settings");
}

/** The song or what is to be heard of it changed: what plays goes on with that. */
function takeOver() {
  if (!state.song) return stop();
  state.position = Math.min(state.position, songEnd(state.song));
  changed("position");
  if (!state.playing || !run) return undefined;
  const same = run.song.midi === state.song.midi && String(run.without) === String(silentTracks());
  if (same) run.song = state.song;
  else begin(positionOf(run), true);
  return undefined;
}

function loopChanged() {
  byId("loop").setAttribute("aria-pressed", state.loop);
  byId("follow").setAttribute("aria-pressed", state.follow);
}

export function flipLoop() {
  state.loop = !state.loop;
  changed("settings");
  if (state.playing && run) begin(positionOf(run), true);
}

export function flipFollow() {
  state.follow = !state.follow;
  changed("settings");
}

let shown = "";
function showPosition() {
  const text = state.song ? `${placeInWords(state.song, state.position)} · ${clock(state.position)}` : "1.1 · 0:00";
  if (text !== shown) byId("position").textContent = text;
  shown = text;
}

function showHint() {
  const why = sound.whyOwnSound();
  byId("sound-hint").hidden = !why;
  byId("sound-hint").textContent = why ?? "";
  byId("sound-hint").title = why ?? "";
}

function selectionChanged() {
  if (state.loop && state.playing && run) begin(positionOf(run), true);
}

setsPlayhead(seek);
document.documentElement.dataset.playing = "false";
byId("play").addEventListener("click", playOrPause);
byId("to-start").addEventListener("click", () => seek(0));
byId("loop").addEventListener("click", flipLoop);
byId("follow").addEventListener("click", flipFollow);
on("song mutes", takeOver);
on("selection", selectionChanged);
on("position song", showPosition);
on("settings", loopChanged);
on("server sound", showHint);
