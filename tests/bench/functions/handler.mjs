// Handlers of Node.js to measure with, as those of handler.py and imports.py.

export const echo = async (event) => event;

/** Milliseconds of its own imports: there are none. */
export const imports = async () => 0;
