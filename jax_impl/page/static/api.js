// Talks to the server: one function per endpoint, errors in words, and the event stream of a write.
import { changed, state } from "./state.js";

/** The server did not answer at all; the banner says so, nobody else has to. */
export class Unreachable extends Error {}

function setOnline(online) {
  if (state.online === online) return;
  state.online = online;
  changed("server");
}

async function request(path, body, { signal, accept } = {}) {
  const options = body === undefined ? { signal } : {
    method: "POST", signal, body: JSON.stringify(body),
    headers: { "Content-Type": "application/json", ...(accept && { Accept: accept }) },
  };
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    setOnline(false);
    throw new Unreachable("The server does not answer.");
  }
  setOnline(true);
  if (response.ok) return response;
  const answer = await response.json().catch(() => null);
  throw new Error(answer?.error ?? `The server answered with status ${response.status}.`);
}

const json = async (response) => (await response).json();
const blob = async (response) => (await response).blob();
export const reference = (song) => ({ midi: song.midi, beats: song.beats ?? null });

export const askServer = () => json(request("/api/server"));
/** Reads a file; `beats` of a song that was read before: null as in the file, an object as they were found then. */
export const readSong = (midi, name, beats) => json(request("/api/read", { midi, name, beats }));
export const removeTracks = (song, remove) => json(request("/api/edit", { song: reference(song), remove }));
export const setProgram = (song, track, program) =>
  json(request("/api/edit", { song: reference(song), track, program }));
export const zipOfTracks = (song, name) => blob(request("/api/tracks", { song: reference(song), name }));
export const pictureOf = (song) => blob(request("/api/picture", { song: reference(song) }));
export const wholeSound = (song, without) => blob(request("/api/sound", { song: reference(song), without }));
export const pieceOfSound = async (song, from, to, without, signal) =>
  (await request("/api/sound", { song: reference(song), from, to, without }, { signal })).arrayBuffer();

/** Asks for music and gives each event of the stream to `heard(name, data)` until it ends, "accepted" before all. */
export async function write(wanted, signal, heard) {
  const response = await request("/api/write", wanted, { signal, accept: "text/event-stream" });
  heard("accepted", {});
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    let part;
    try {
      part = await reader.read();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      setOnline(false);
      throw new Unreachable("The server went away while it was writing.");
    }
    if (part.done) return;
    const blocks = (rest + part.value.replaceAll("\r\n", "\n")).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) readEvent(block, heard);
  }
}

function readEvent(block, heard) {
  let name = "message";
  const data = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
  }
  if (data.length) heard(name, JSON.parse(data.join("\n")));
}
