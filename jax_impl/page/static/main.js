// Starts the page: connects to the server, brings back this tab's song, and shows what there is to show.
import { askServer } from "./api.js";
import { listSongs, reopen } from "./begin.js";
import "./alternatives.js";
import "./files.js";
import "./keys.js";
import { byId } from "./parts.js";
import { stop } from "./play.js";
import "./tracks.js";
import "./write.js";
import { changed, on, readOnly, say, state, tell } from "./state.js";
import { redo, undo } from "./versions.js";
import { layOut } from "./view.js";

const main = byId("main"), begin = byId("begin"), work = byId("work");
const undoButton = byId("undo"), redoButton = byId("redo"), name = byId("name");
let polling = 0;
let atBegin = null;

/** Shows the first screen or the song; what is not shown is not in the page at all. */
function screen(showBegin) {
  if (atBegin === showBegin) return;
  atBegin = showBegin;
  main.replaceChildren(showBegin ? begin : work);
  byId("song-tools").hidden = showBegin;
  document.body.classList.toggle("begun", !showBegin);
  byId("begin-back").hidden = !state.versions.length;
  if (showBegin) void listSongs();
  else layOut();
}

function songChanged() {
  screen(!state.song);
}

function versionsChanged() {
  const { versions, cursor } = state;
  undoButton.disabled = Boolean(state.writing) || cursor < 1;
  redoButton.disabled = Boolean(state.writing) || cursor >= versions.length - 1;
  undoButton.title = undoButton.disabled ? "Undo (Ctrl+Z)" : `Undo: ${versions[cursor].label} (Ctrl+Z)`;
  redoButton.title = redoButton.disabled ? "Redo (Ctrl+Shift+Z)" : `Redo: ${versions[cursor + 1].label} (Ctrl+Shift+Z)`;
  for (const id of ["new", "open"]) byId(id).disabled = Boolean(state.writing);
}

function nameChanged() {
  if (document.activeElement !== name) name.value = state.name;
  document.title = state.name && state.song ? `${state.name} – hid-museformer` : "hid-museformer";
}

async function connect() {
  const first = !state.server;
  state.server = await askServer();
  state.online = true;
  changed("server");
  if (!first) say("The server is there again.");
}

function serverChanged() {
  byId("banner").hidden = state.online;
  clearTimeout(polling);
  if (!state.online) polling = setTimeout(() => connect().catch(serverChanged), 3000);
}

function rename() {
  state.name = name.value.trim() || "Song";
  name.value = state.name;
  changed("name");
}

async function restore() {
  const id = sessionStorage.getItem("session");
  if (id) await reopen(id);
}

undoButton.addEventListener("click", undo);
redoButton.addEventListener("click", redo);
byId("new").addEventListener("click", () => { stop(); screen(true); });
name.addEventListener("change", rename);
name.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === "Escape") name.blur(); });
byId("toast-close").addEventListener("click", () => { byId("toast").hidden = true; });
on("song", songChanged);
on("back", () => screen(false));
on("versions alternatives song", versionsChanged);
on("session name song", nameChanged);
on("server", serverChanged);

Object.defineProperty(window, "page", { value: Object.freeze({ state: readOnly }) });
work.remove();
await connect().catch(() => changed("server"));
await restore().catch((error) => tell(error.message));
if (!state.song) screen(true);
