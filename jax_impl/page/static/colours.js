// Twelve hues for tracks and the colours of the page as the canvas needs them, for light and dark.
import { changed, state } from "./state.js";

const light = ["#1d5fb8", "#b4491a", "#1f7a45", "#8b3fb0", "#a86a00", "#00768a", "#c02a62", "#5a6b00", "#5347c4",
  "#8f4a34", "#00704f", "#a3308f"];
const dark = ["#7ab3ff", "#ff9a66", "#66d394", "#cf95f2", "#f2bd4b", "#55cfe0", "#ff86ad", "#bccf4e", "#a79dff",
  "#dda48c", "#3fd3ac", "#f088d8"];
const scheme = matchMedia("(prefers-color-scheme: dark)");
const names = ["back", "text", "soft", "line", "accent", "lane", "accent-soft", "on-accent", "edge"];
let known = null;

/** The page's colours by their names in style.css. */
export function palette() {
  if (!known) {
    const style = getComputedStyle(document.documentElement);
    known = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  }
  return known;
}

const given = new Map();
/** The colour of a track; it stays with the track's id as long as the song is there. */
export function colourOf(track) {
  if (track.program === 128) return scheme.matches ? "#a2a9b1" : "#5b6168";
  if (!given.has(track.id)) given.set(track.id, freeHue(track.id));
  return (scheme.matches ? dark : light)[given.get(track.id)];
}

function freeHue(id) {
  const used = new Array(light.length).fill(0);
  for (const track of state.song?.tracks ?? []) if (given.has(track.id)) used[given.get(track.id)] += 1;
  const least = Math.min(...used);
  const index = used.indexOf(least);
  return index < 0 ? id.length % light.length : index;
}

/** Gives the hues anew, in the order of the tracks. */
export const forgetColours = () => given.clear();

scheme.addEventListener("change", () => { known = null; changed("colours"); });
