// Turns ticks into seconds and bars and back, for one song.

const maps = new WeakMap();

function mapOf(song) {
  if (!maps.has(song)) {
    const points = [...song.bars, song.end];
    maps.set(song, { ticks: points.map((point) => point.tick), seconds: points.map((point) => point.seconds) });
  }
  return maps.get(song);
}

/** A draft grows: what was known of its times must be forgotten. */
export const forgetTimes = (song) => maps.delete(song);

/** The last index whose value is not above `value` (0 if all are). */
export function lastAtMost(values, value) {
  let low = 0, high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] <= value) low = middle + 1; else high = middle;
  }
  return Math.max(0, low - 1);
}

function between(from, to, value) {
  if (from.length < 2) return to[0] ?? 0;
  const index = Math.min(lastAtMost(from, value), from.length - 2);
  const width = from[index + 1] - from[index] || 1;
  return to[index] + ((value - from[index]) * (to[index + 1] - to[index])) / width;
}

export const secondsAt = (song, tick) => between(mapOf(song).ticks, mapOf(song).seconds, tick);
export const tickAt = (song, seconds) => between(mapOf(song).seconds, mapOf(song).ticks, seconds);

/** The bar (from 0) in which a tick lies, within the song. */
export const barAt = (song, tick) => Math.min(lastAtMost(mapOf(song).ticks, tick), song.bars.length - 1);
export const barStart = (song, bar) => (song.bars[bar] ?? song.end).tick;

/** When the last note and the last bar are over. */
export const songEnd = (song) => Math.max(song.seconds || 0, song.end.seconds);

/** "5.3": bar and quarter within it, as musicians say it. */
export function placeInWords(song, seconds) {
  const tick = Math.max(0, tickAt(song, seconds));
  const bar = barAt(song, tick);
  const beat = Number(song.bars[bar]?.meter?.split("/")[1]) || 4;
  return `${bar + 1}.${Math.floor((tick - barStart(song, bar)) / (1920 / beat)) + 1}`;
}

export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
