// Code with a place where any code model has something to say.

import { readFileSync } from "node:fs";

/** One line is missing after `raise Val` (line 10, column 22). */
export const account = readFileSync(new URL("../samples/account.py", import.meta.url), "utf8");

/** A block is missing at the end: several lines (line 3, column 9). */
export const block = `class Tree:\n    def __init__(self, left, right, value):\n        \n`;

export const atRaise = [10, 22];

/** `account` with text after `raise Val`. */
export function raised(text) {
    return account.replace("raise Val\n", () => `raise Val${text}\n`);
}
