// The parts of the page by their ids, also those of the screen that is not in the page at the moment.

const parts = new Map([...document.querySelectorAll("[id]")].map((part) => [part.id, part]));

export const byId = (id) => parts.get(id);
