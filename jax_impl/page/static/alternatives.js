// A write from its start to the choice: bars as they come, alternatives A, B, C, keep or discard.
import { Unreachable, reference, write } from "./api.js";
import { draftOf, freshOf, freshOfDraft } from "./draft.js";
import { focusInstead } from "./focus.js";
import { byId } from "./parts.js";
import { changed, on, say, state, tell } from "./state.js";
import { alsoKeeps, commit, show } from "./versions.js";
import { bringIntoSight } from "./view.js";
import { openSheet, showError } from "./write.js";

/**
 * state.writing = {wanted, label, base: Song|null, running, words, chosen,
 *   list: [{draft, song, fresh, copies, notice, bars}], stop: AbortController, failed: function}
 */
const letters = "ABC";

/** Asks for music. `failed(text)` is told what went wrong, where the panel is not there to say so. */
export async function startWriting(wanted, label, failed = showError) {
  if (state.writing?.running) return;
  const base = wanted.action === "new" ? null : state.song;
  const whole = { alternatives: 3, ...wanted, ...(base && { song: reference(base) }) };
  const writing = { wanted, label, base, failed, running: true, seen: false, words: waiting(), chosen: 0,
    notices: [], list: [], stop: new AbortController(), expected: expectedBars(wanted, base) };
  state.writing = writing;
  failed(null);
  openSheet(true);
  showChosen();
  say(label);
  try {
    await write(whole, writing.stop.signal, (name, data) => heard(writing, name, data));
    if (writing.running) throw new Error("The server stopped in the middle.");
  } catch (error) {
    if (state.writing === writing) ended(writing, error.name === "AbortError" ? null : error);
  }
}

/** What is said until the server begins: its programs are compiled once, before that a request takes long. */
function waiting() {
  return state.server?.warm ? "Asking the server" : "Getting the model ready; the first time takes a minute or two";
}

function expectedBars(wanted, base) {
  const bars = wanted.last ? wanted.last - wanted.first + 1 : wanted.bars || base?.bars.length || 0;
  const names = wanted.instruments?.split(",").filter(Boolean).length;
  const tracks = wanted.tracks?.length ?? (names || (wanted.action === "new" ? 0 : base.tracks.length));
  return bars * tracks;
}

function alternative(writing, index) {
  const { base, wanted } = writing;
  writing.list[index] ??= { draft: draftOf(base, wanted), song: null, bars: 0, hits: 0 };
  return writing.list[index];
}

function heard(writing, name, data) {
  if (state.writing !== writing) return;
  if (!writing.base && !writing.list.length) {
    alternative(writing, 0);
    showChosen();
  }
  if (name === "accepted") return;
  if (name === "queued") {
    const requests = data.ahead === 1 ? "request" : "requests";
    writing.words = data.ahead ? `${data.ahead} ${requests} before this one` : "It is your turn";
  } else if (name === "begun") {
    writing.words = writing.base ? "Reading what is there" : "Beginning";
    writing.notices = data.notices ?? [];
  } else if (name === "bars") barsCame(writing, data);
  else if (name === "written") {
    const one = alternative(writing, data.alternative);
    Object.assign(one, { song: data.song, notice: data.notice, fresh: freshOf(data.song, writing.base, one.draft) });
    if (data.alternative === writing.chosen) showChosen();
  } else if (name === "copies") alternative(writing, data.alternative).copies = data.text;
  else if (name === "done") {
    state.server.warm = true;
    ended(writing, null);
  }
  else if (name === "failed") throw new Error(data.error);
  fillPanel();
}

function barsCame(writing, { alternative: index, bars }) {
  const one = alternative(writing, index);
  for (const bar of bars) one.draft.add(bar);
  one.bars += bars.length;
  one.hits += bars.reduce((sum, bar) => sum + bar.notes.length, 0);
  const last = bars.at(-1);
  if (!last) return;
  const track = one.draft.song.tracks[last.track]?.name ?? "a new track";
  if (index !== writing.chosen) return;
  writing.words = `Writing: bar ${last.bar} of ${track}`;
  showSoon(writing, bars[0]);
}

let soon = 0;
/** Bars may come faster than they can be shown; the first one is brought into sight. */
function showSoon(writing, { track, bar }) {
  soon ||= setTimeout(() => {
    soon = 0;
    if (state.writing !== writing) return;
    showChosen();
    if (!writing.seen) bringIntoSight(track, bar - 1);
    writing.seen = true;
  }, 60);
}

/** After the last event, Stop or an error what is whole can be chosen; if nothing is, all is as it was. */
function ended(writing, error) {
  writing.running = false;
  writing.list = writing.list.filter((one) => one?.song);
  if (!writing.list.length) {
    leave();
    if (error && !(error instanceof Unreachable && !state.online)) writing.failed(error.message);
    say(error ? error.message : "Stopped. The song is as it was.");
    return;
  }
  writing.chosen = Math.min(writing.chosen, writing.list.length - 1);
  if (error) tell(error.message);
  const count = writing.list.length;
  say(count > 1 ? `${count} alternatives to choose from.` : "Written. Keep it or discard it.");
  showChosen();
}

function leave() {
  const { base } = state.writing;
  state.writing = null;
  state.fresh = null;
  show(base);
  changed("alternatives");
}

function showChosen() {
  const { list, chosen, base } = state.writing;
  const one = list[chosen];
  const song = one?.song ?? one?.draft.song ?? base;
  state.fresh = one ? (one.song ? one.fresh : freshOfDraft(one.draft, base)) : null;
  show(song);
  changed("alternatives");
}

export function choose(index) {
  const { writing } = state;
  if (!writing?.list[index] || writing.chosen === index) return;
  writing.chosen = index;
  showChosen();
  say(`Alternative ${letters[index]}`);
}

export function stopWriting() {
  const { writing } = state;
  if (!writing?.running) return;
  writing.stop.abort();
  ended(writing, null);
}

/** Makes the alternative that is shown the newest version. */
export async function keep() {
  const { writing } = state;
  const song = writing?.list[writing.chosen]?.song;
  if (!song || writing.running) return;
  state.writing = null;
  state.fresh = null;
  changed("alternatives");
  openSheet(false);
  await commit(song, writing.label);
  say(`Kept: ${writing.label}`);
}

export function discard() {
  if (!state.writing || state.writing.running) return;
  leave();
  openSheet(false);
  say("Discarded. The song is as it was.");
}

function onceMore() {
  const { wanted, label, failed } = state.writing;
  leave();
  void startWriting(wanted, label, failed);
}

function itemOf(index) {
  const item = document.createElement("li");
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: letters[index] });
  button.addEventListener("click", () => choose(index));
  const text = document.createElement("p");
  text.id = `alternative-${index}`;
  button.setAttribute("aria-describedby", text.id);
  item.append(button, text);
  return item;
}

function wordsOf(one) {
  if (one?.song) return one.copies ?? (one.hits ? `${one.hits} ${one.hits === 1 ? "note" : "notes"}` : "Silent");
  return one?.bars ? `${one.bars} ${one.bars === 1 ? "bar" : "bars"} so far` : "Not begun";
}

function fillPanel() {
  const { writing } = state;
  const focused = byId("panel-body").contains(document.activeElement) ? document.activeElement : null;
  byId("write").hidden = Boolean(writing);
  byId("choose").hidden = !writing;
  if (writing) fillChoice(writing);
  const next = !writing ? "panel-body" : writing.running ? "stop" : "keep";
  if (focused && !focused.checkVisibility()) focusInstead(byId(next));
}

function fillChoice(writing) {
  byId("choose-title").textContent = writing.label;
  byId("running").hidden = !writing.running;
  byId("running-text").textContent = writing.words;
  const count = writing.list.reduce((sum, one) => sum + (one?.bars ?? 0), 0);
  const all = writing.expected * (writing.wanted.alternatives ?? 3);
  byId("progress").style.transform = `scaleX(${all ? Math.min(1, count / all) : Math.min(0.9, count / 200)})`;
  fillList(writing);
  const texts = [...new Set([...writing.notices, writing.list[writing.chosen]?.notice].filter(Boolean))];
  byId("choose-notice").textContent = texts.join(". ");
  byId("choose-notice").hidden = !texts.length;
  byId("choose-actions").hidden = byId("once-more").hidden = writing.running;
  byId("keep-which").textContent = writing.list.length > 1 ? `\u00a0${letters[writing.chosen]}` : "";
}

function fillList(writing) {
  const list = byId("alternatives");
  const count = writing.running ? Math.max(writing.wanted.alternatives ?? 3, writing.list.length) : writing.list.length;
  while (list.children.length > count) list.lastChild.remove();
  while (list.children.length < count) list.append(itemOf(list.children.length));
  [...list.children].forEach((item, index) => {
    const [button, text] = item.children;
    button.setAttribute("aria-pressed", index === writing.chosen);
    button.disabled = !writing.list[index];
    text.textContent = wordsOf(writing.list[index]);
  });
}

/** What is stored of alternatives that are still to be chosen from. */
function stored() {
  const { writing } = state;
  if (!writing) return null;
  if (writing.running) return { lost: writing.label };
  const list = writing.list.map(({ song, copies, notice, fresh, hits }) => ({ song, copies, notice, fresh, hits }));
  return { wanted: writing.wanted, label: writing.label, notices: writing.notices, chosen: writing.chosen, list };
}

/** Goes on with a choice that was not made before the page was closed. */
export function choiceAgain(kept) {
  if (kept?.lost) tell(`"${kept.lost}" was not written to its end when the page was closed. Ask for it again.`);
  if (!kept?.list) return;
  state.writing = { ...kept, base: state.song, running: false, words: "", failed: showError, stop: null, expected: 0 };
  showChosen();
}

alsoKeeps("writing", stored);
byId("stop").addEventListener("click", stopWriting);
byId("keep").addEventListener("click", keep);
byId("discard").addEventListener("click", discard);
byId("once-more").addEventListener("click", onceMore);
on("alternatives", fillPanel);
