// A small synthesizer in Web Audio: an envelope and a wave for each family of instruments, and noise for drums.
import { lastAtMost, secondsAt, tickAt } from "./time.js";

/** By family of General MIDI: wave, attack, seconds until it fades (0: never), release, cutoff in partials, level. */
const families = [
  ["triangle", 0.004, 1.6, 0.15, 8, 0.34], ["sine", 0.002, 0.9, 0.3, 12, 0.34], ["sine", 0.02, 0, 0.08, 6, 0.22],
  ["triangle", 0.004, 1.1, 0.12, 7, 0.34], ["triangle", 0.006, 1.8, 0.08, 5, 0.5], ["sawtooth", 0.07, 0, 0.2, 4, 0.13],
  ["sawtooth", 0.1, 0, 0.3, 3.5, 0.12], ["sawtooth", 0.03, 0, 0.1, 5, 0.15], ["square", 0.03, 0, 0.1, 4, 0.11],
  ["sine", 0.05, 0, 0.12, 4, 0.26], ["square", 0.01, 0, 0.1, 6, 0.1], ["sawtooth", 0.25, 0, 0.6, 3, 0.1],
  ["triangle", 0.1, 0, 0.5, 4, 0.18], ["triangle", 0.004, 0.8, 0.1, 7, 0.32], ["sine", 0.002, 0.5, 0.1, 8, 0.34],
  ["triangle", 0.05, 1, 0.2, 5, 0.15],
];
/** Drums: [noise: 0 or 1, frequency, seconds, level]; noise is filtered from there upward, tones fall to a third. */
const drums = {
  35: [0, 130, 0.28, 0.9], 36: [0, 150, 0.25, 0.9], 37: [1, 2600, 0.05, 0.3], 38: [1, 1300, 0.18, 0.4],
  39: [1, 1500, 0.14, 0.35], 40: [1, 1600, 0.16, 0.4], 41: [0, 170, 0.3, 0.6], 42: [1, 7500, 0.05, 0.22],
  43: [0, 190, 0.3, 0.6], 44: [1, 7000, 0.06, 0.2], 45: [0, 230, 0.28, 0.55], 46: [1, 6500, 0.35, 0.2],
  47: [0, 260, 0.26, 0.55], 48: [0, 300, 0.25, 0.5], 49: [1, 4200, 1.1, 0.26], 50: [0, 340, 0.24, 0.5],
  51: [1, 6800, 0.5, 0.16], 53: [1, 5200, 0.6, 0.16], 54: [1, 8500, 0.12, 0.2], 55: [1, 4800, 0.8, 0.22],
  56: [0, 800, 0.12, 0.25], 57: [1, 4000, 1.1, 0.26],
};
const noises = new WeakMap();

function noiseOf(context) {
  if (!noises.has(context)) {
    const buffer = new AudioBuffer({ length: context.sampleRate, sampleRate: context.sampleRate });
    const samples = buffer.getChannelData(0);
    for (let index = 0; index < samples.length; index += 1) samples[index] = Math.random() * 2 - 1;
    noises.set(context, buffer);
  }
  return noises.get(context);
}

/** Sounds all notes that begin in [from, to), `from` being the time `at` of the context; returns how to stop them. */
export function playNotes(context, song, from, to, without, at, destination) {
  const voices = [];
  const first = tickAt(song, from), end = tickAt(song, to);
  song.tracks.forEach((track, number) => {
    if (without.includes(number)) return;
    const ticks = track.notes.map((note) => note[0]);
    for (let index = lastAtMost(ticks, first - 1); index < ticks.length && ticks[index] < end; index += 1) {
      if (ticks[index] < first) continue;
      const [tick, length, pitch, velocity] = track.notes[index];
      const starts = secondsAt(song, tick);
      const lasts = secondsAt(song, tick + length) - starts;
      const voice = { at: Math.max(at, at + starts - from), lasts, pitch, loud: (velocity / 127) ** 1.5 };
      voices.push(track.program === 128 ? drum(context, voice, destination)
        : tone(context, voice, families[track.program >> 3], destination));
    }
  });
  return () => voices.forEach((source) => source.stop());
}

function tone(context, { at, lasts, pitch, loud }, [type, attack, fade, release, partials, level], destination) {
  const frequency = 440 * 2 ** ((pitch - 69) / 12);
  const source = new OscillatorNode(context, { type, frequency, detune: (Math.random() - 0.5) * 6 });
  const cutoff = Math.min(16000, frequency * partials * (0.5 + loud));
  const filter = new BiquadFilterNode(context, { frequency: cutoff, Q: 0.4 });
  const gain = new GainNode(context, { gain: 0 });
  const ends = at + Math.max(0.05, lasts);
  const peak = level * loud;
  gain.gain.setValueAtTime(0, at);
  gain.gain.linearRampToValueAtTime(peak, Math.min(ends, at + attack));
  if (fade) gain.gain.setTargetAtTime(0, at + attack, fade / 3);
  gain.gain.setTargetAtTime(0, ends, release / 4);
  source.connect(filter).connect(gain).connect(destination);
  source.start(at);
  source.stop(ends + release * 1.5);
  return source;
}

function drum(context, { at, pitch, loud }, destination) {
  const [noisy, frequency, seconds, level] = drums[pitch] ?? [1, 3000, 0.1, 0.2];
  const gain = new GainNode(context, { gain: level * loud });
  gain.gain.setValueAtTime(level * loud, at);
  gain.gain.setTargetAtTime(0, at + 0.004, seconds / 4);
  const source = noisy ? new AudioBufferSourceNode(context, { buffer: noiseOf(context), loop: true })
    : new OscillatorNode(context, { frequency });
  if (noisy) {
    source.connect(new BiquadFilterNode(context, { type: "highpass", frequency })).connect(gain);
    source.start(at, Math.random() * 0.9);
  } else {
    source.frequency.setValueAtTime(frequency, at);
    source.frequency.exponentialRampToValueAtTime(frequency / 3, at + seconds);
    source.connect(gain);
    source.start(at);
  }
  gain.connect(destination);
  source.stop(at + seconds * 1.6);
  return source;
}
