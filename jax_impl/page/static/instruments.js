// Instruments as musicians name them and as the server takes them.
import { state } from "./state.js";

export const nameOf = (program) => state.server?.programs[program] ?? `Program ${program}`;

/**
 * Names and programs as the server takes them: known names become numbers, so that none is taken for another; the rest
 * is for the server to judge.
 */
export function asPrograms(names) {
  const known = (state.server?.programs ?? []).map((name) => name.toLowerCase());
  return names.map((name) => {
    const program = typeof name === "number" ? name : known.indexOf(name.toLowerCase());
    return program === 128 ? "drums" : program < 0 ? name : String(program);
  }).join(",");
}

/** "bass, Grand Piano" in parts. */
export const inParts = (text) => text.split(",").map((name) => name.trim()).filter(Boolean);
