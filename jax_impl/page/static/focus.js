// Whether what has the focus got it by keyboard: then Space and Enter press it, otherwise they belong to the song.

let pointing = false;
let byKeyboard = false;

export const focusedByKeyboard = () => byKeyboard && document.activeElement !== document.body;

/** Moves the focus where what had it has gone, but only for those who work by keyboard. */
export function focusInstead(target) {
  if (byKeyboard) target.focus();
}

addEventListener("pointerdown", () => { pointing = true; byKeyboard = false; }, true);
addEventListener("click", () => { pointing = false; }, true);
addEventListener("keydown", () => { pointing = false; }, true);
addEventListener("focusin", () => { byKeyboard = !pointing; });
