// Where sound comes from: pieces that the server renders, kept for a while, or our own small synthesizer.
import { pieceOfSound, wholeSound } from "./api.js";
import { silentTracks, state } from "./state.js";
import { playNotes } from "./synth.js";
import { songEnd } from "./time.js";

const kept = new Map();
const most = 40;
let failed = null;

export const serverSounds = (song) => Boolean(state.server?.sound && song.midi && !failed);

/** Why the sound is our own, in words, or null. */
export function whyOwnSound() {
  if (failed) return `The server could not make sound (${failed}); you hear the page's own simple sounds.`;
  if (state.server && !state.server.sound) {
    return ["You hear the page's own simple sounds.", state.server.sound_hint].filter(Boolean).join(" ");
  }
  return null;
}

export const giveServerAnotherTry = () => { failed = null; };
export const serverFailed = (error) => { failed = error.message.replace(/[.\s]+$/, ""); };

async function serverBuffer(context, song, from, to, without, signal) {
  const key = JSON.stringify([from, to, without]) + song.midi;
  const known = kept.get(key);
  kept.delete(key);
  const buffer = known
    ?? await context.decodeAudioData(await pieceOfSound(song, from, to, without, signal));
  kept.set(key, buffer);
  if (kept.size > most) kept.delete(kept.keys().next().value);
  return buffer;
}

/**
 * All notes that begin in [from, to): resolves to `start(at, offset, destination)`, which sounds them and returns how
 * to stop them.
 */
export async function piece(context, song, from, to, without, signal) {
  if (!serverSounds(song)) {
    return (at, offset, destination) => playNotes(context, song, from + offset, to, without, at, destination);
  }
  const buffer = await serverBuffer(context, song, from, to, without, signal);
  return (at, offset, destination) => {
    const source = new AudioBufferSourceNode(context, { buffer });
    source.connect(destination);
    source.start(at, offset);
    return () => source.stop();
  };
}

/** The whole song as a WAV file, with what is muted left out. */
export async function wavOf(song) {
  const without = silentTracks(song);
  if (state.server?.sound) return wholeSound(song, without);
  const seconds = songEnd(song);
  const context = new OfflineAudioContext(2, Math.ceil((seconds + 2) * 44100), 44100);
  const quieter = new GainNode(context, { gain: 0.6 });
  quieter.connect(context.destination);
  const begun = 0.05, step = 2;
  const piecesFrom = (from) => playNotes(context, song, from, from + step, without, begun + from, quieter);
  piecesFrom(0);
  for (let from = step; from < seconds; from += step) {
    void context.suspend(from).then(() => { piecesFrom(from); return context.resume(); });
  }
  return waveFile(await context.startRendering());
}

function waveFile(buffer) {
  const channels = [buffer.getChannelData(0), buffer.getChannelData(1)];
  const bytes = new DataView(new ArrayBuffer(44 + buffer.length * 4));
  const word = (at, text) => [...text].forEach((letter, index) => bytes.setUint8(at + index, letter.charCodeAt(0)));
  word(0, "RIFF"), word(8, "WAVEfmt "), word(36, "data");
  bytes.setUint32(4, 36 + buffer.length * 4, true);
  bytes.setUint32(16, 16, true);
  bytes.setUint16(20, 1, true);
  bytes.setUint16(22, 2, true);
  bytes.setUint32(24, buffer.sampleRate, true);
  bytes.setUint32(28, buffer.sampleRate * 4, true);
  bytes.setUint16(32, 4, true);
  bytes.setUint16(34, 16, true);
  bytes.setUint32(40, buffer.length * 4, true);
  for (let frame = 0, at = 44; frame < buffer.length; frame += 1) {
    for (const channel of channels) {
      bytes.setInt16(at, Math.max(-1, Math.min(1, channel[frame])) * 32767, true);
      at += 2;
    }
  }
  return new Blob([bytes], { type: "audio/wav" });
}
