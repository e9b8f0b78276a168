// Keys of the whole page, and the dialog that lists them.
import { choose, keep, stopWriting } from "./alternatives.js";
import { byId } from "./parts.js";
import { focusedByKeyboard } from "./focus.js";
import { flipFollow, flipLoop, playOrPause, seek } from "./play.js";
import { selectAll, selectNone } from "./select.js";
import { state } from "./state.js";
import { redo, undo } from "./versions.js";
import { fit, zoom } from "./view.js";

const help = byId("help-dialog");
const words = [
  ["Space", "Play or pause"], ["Home", "Playhead to the start"], ["L, F", "Loop the selection, follow the playhead"],
  ["Drag", "Select bars and tracks; on a touch screen press long first"],
  ["Arrows, Shift+arrows", "Move and extend the selection on the roll"], ["Ctrl+A", "Select all"],
  ["Escape", "Stop writing; else select none"], ["1, 2, 3", "Hear and see alternative A, B, C"], ["Enter", "Keep the alternative"],
  ["Ctrl+Z, Ctrl+Shift+Z", "Undo, redo"], ["+, −, 0", "Zoom in, out, whole song"], ["Ctrl+wheel", "Zoom"],
  ["Shift+wheel", "Scroll along the song"], ["?", "This list"],
];

function row([key, meaning]) {
  const term = document.createElement("dt"), text = document.createElement("dd");
  term.textContent = key;
  text.textContent = meaning;
  return [term, text];
}

function showHelp() {
  if (!help.open) help.showModal();
}

const typing = (target) => target.closest?.("input:not([type=checkbox]), select, textarea");
const pressing = (target) => focusedByKeyboard() && target.closest?.("button, summary, input");

const plain = {
  "+": () => zoom(1.4), "=": () => zoom(1.4), "-": () => zoom(1 / 1.4), 0: () => fit(), l: flipLoop, f: flipFollow,
  Home: () => seek(0), "?": showHelp, 1: () => choose(0), 2: () => choose(1), 3: () => choose(2),
};

function escape() {
  if (state.writing?.running) stopWriting();
  else selectNone();
}

function withControl(event) {
  const key = event.key.toLowerCase();
  if (key === "z") return event.shiftKey ? redo : undo;
  if (key === "y") return redo;
  if (key === "a") return selectAll;
  return null;
}

function meaningOf(event) {
  if (event.key === "?" && !typing(event.target)) return showHelp;
  if (!state.song || !byId("work").isConnected) return null;
  if (event.key === "Escape") return escape;
  if (typing(event.target)) return null;
  if (event.ctrlKey || event.metaKey) return withControl(event);
  if (event.altKey) return null;
  if (event.key === " ") return pressing(event.target) ? null : playOrPause;
  if (event.key === "Enter") return state.writing && !pressing(event.target) ? keep : null;
  return plain[event.key] ?? plain[event.key.toLowerCase()] ?? null;
}

addEventListener("keydown", (event) => {
  if (help.open || event.defaultPrevented) return;
  const meaning = meaningOf(event);
  if (!meaning) return;
  event.preventDefault();
  meaning();
});
// Space plays also while a button that was clicked has the focus; that must then not be pressed by it as well.
addEventListener("keyup", (event) => {
  if (event.key === " " && meaningOf(event) === playOrPause && !help.open) event.preventDefault();
});
byId("help-list").append(...words.flatMap(row));
byId("help").addEventListener("click", showHelp);
