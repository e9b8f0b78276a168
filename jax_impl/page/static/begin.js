// The first screen: a new song in a few words, a file, or a song of before.
import { choiceAgain, startWriting } from "./alternatives.js";
import { asPrograms, inParts, nameOf } from "./instruments.js";
import { byId } from "./parts.js";
import { changed, on, state, tell } from "./state.js";
import { dropSession, listSessions } from "./store.js";
import { beginSession, openSession } from "./versions.js";
import { restoreView } from "./view.js";

const chips = byId("chips"), input = byId("new-instruments"), error = byId("new-error");
const cross = '<svg viewBox="0 0 20 20" aria-hidden="true"><path d="M5.500 5.500l9 9M14.500 5.500l-9 9"/></svg>';
const presets = {
  "Piano trio": [0, 32, 128], "Rock band": [29, 30, 33, 128], "String quartet": [40, 40, 41, 42],
  "Game music": [80, 81, 38, 128], "Jazz quintet": [56, 66, 0, 32, 128], "Solo piano": [0],
};
let chosen = [];

function crossButton(label) {
  const button = Object.assign(document.createElement("button"), { type: "button", className: "icon" });
  button.innerHTML = cross;
  button.setAttribute("aria-label", label);
  return button;
}

function chipOf(name, index) {
  const chip = document.createElement("li");
  chip.className = "chip";
  const text = document.createElement("span");
  text.textContent = name;
  const remove = crossButton(`Remove ${name}`);
  remove.addEventListener("click", () => { setChips(chosen.filter((other, at) => at !== index)); input.focus(); });
  chip.append(text, remove);
  return chip;
}

/** Chooses instruments: names, or numbers of programs. */
function setChips(instruments) {
  chosen = instruments;
  const names = chosen.map((one) => (typeof one === "number" ? nameOf(one) : one));
  chips.replaceChildren(...names.map(chipOf));
  input.placeholder = chosen.length ? "add another" : "add an instrument, or none: the model decides";
}

function addTyped() {
  const names = inParts(input.value);
  input.value = "";
  if (names.length) setChips([...chosen, ...names]);
}

function showError(text) {
  error.textContent = text ?? "";
  error.hidden = !text;
  if (text) requestAnimationFrame(() => error.scrollIntoView({ block: "nearest" }));
}

function wanted() {
  const whole = { action: "new", bars: Number(byId("new-bars").value) || 0, instruments: asPrograms(chosen) };
  for (const wish of ["chords", "key", "meter", "density", "pitches"]) {
    const text = byId(`new-${wish}`).value.trim();
    if (text) whole[wish] = text;
  }
  for (const wish of ["tempo", "temperature", "top-p"]) {
    const number = Number(byId(`new-${wish}`).value);
    if (number) whole[wish.replace("-", "_")] = number;
  }
  return whole;
}

async function submit(event) {
  event.preventDefault();
  if (state.writing) return;
  addTyped();
  await beginSession(`Song of ${new Date().toLocaleDateString("en", { day: "numeric", month: "long" })}`);
  void startWriting(wanted(), "New song", showError);
}

function ago(time) {
  const minutes = Math.round((Date.now() - time) / 60000);
  if (minutes < 2) return "just now";
  if (minutes < 60) return `${minutes} minutes ago`;
  if (minutes < 60 * 36) return `${Math.round(minutes / 60)} hours ago`;
  return `${Math.round(minutes / 1440)} days ago`;
}

/** Opens a stored song as it was left: what is seen of it, and alternatives that wait for a choice. */
export async function reopen(id) {
  const session = await openSession(id);
  if (!session) return;
  choiceAgain(session.writing);
  restoreView(session.view);
}

async function goOn(id) {
  try {
    await reopen(id);
  } catch (failure) {
    tell(failure.message);
  }
}

function sessionItem(session, isFirst) {
  const item = document.createElement("li");
  if (isFirst) item.className = "first";
  const open = Object.assign(document.createElement("button"), { type: "button", className: "session" });
  const name = document.createElement("span"), when = document.createElement("span");
  name.textContent = isFirst ? `Go on with ${session.name}` : session.name;
  when.textContent = ago(session.changed);
  open.append(name, when);
  open.addEventListener("click", () => goOn(session.id));
  const forget = crossButton(`Forget ${session.name}`);
  forget.addEventListener("click", async () => {
    if (!confirm(`Forget ${session.name} and all its versions?`)) return;
    await dropSession(session.id);
    await listSongs();
  });
  item.append(open, forget);
  return item;
}

/** Offers the songs of before; the one that is open here is offered by "Back to the song". */
export async function listSongs() {
  const all = (await listSessions().catch(() => [])).filter((session) => session.id !== state.session).slice(0, 6);
  const list = document.createElement("ul");
  list.append(...all.map((session, index) => sessionItem(session, index === 0 && !state.versions.length)));
  byId("again").replaceChildren(list);
  byId("again").hidden = !all.length;
}

function serverCame() {
  const { server } = state;
  if (!server) return;
  setChips(chosen);
  const { name, parameters, step } = server.model;
  const size = parameters >= 1e6 ? `${(parameters / 1e6).toFixed(1)} million` : String(parameters);
  byId("model-line").textContent =
    `Written by ${name}: ${size} parameters${step ? `, step ${step}` : ""}. Songs are kept in this browser.`;
  for (const screen of ["new", "wish"]) {
    byId(`${screen}-temperature`).placeholder = server.sampler.temperature;
    byId(`${screen}-top-p`).placeholder = server.sampler.top_p;
  }
  byId("programs").replaceChildren(...server.programs.map((program) => new Option(program)));
}

function fillLists() {
  const tonics = ["C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"];
  const keys = tonics.flatMap((tonic) => [`${tonic} major`, `${tonic} minor`]);
  byId("keys").replaceChildren(...keys.map((key) => new Option(key)));
  const meters = ["4/4", "3/4", "2/4", "6/8", "5/4", "7/8", "12/8"];
  byId("meters").replaceChildren(...meters.map((meter) => new Option(meter)));
  byId("presets").append(...Object.entries(presets).map(([name, programs]) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: name });
    button.addEventListener("click", () => setChips(programs));
    return button;
  }));
}

input.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && input.value.trim()) event.preventDefault();
  if ((event.key === "Enter" || event.key === ",") && input.value.trim()) {
    event.preventDefault();
    addTyped();
  } else if (event.key === "Backspace" && !input.value && chosen.length) setChips(chosen.slice(0, -1));
});
input.addEventListener("change", addTyped);
byId("new-form").addEventListener("submit", submit);
byId("begin-back").addEventListener("click", () => changed("back"));
fillLists();
setChips([]);
on("server", serverCame);
on("alternatives", () => { byId("new-submit").disabled = Boolean(state.writing); });
