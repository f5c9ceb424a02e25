// What the server says on standard error: its log, and why it refuses to start.

import type { Readable } from "node:stream";
import type * as vscode from "vscode";

/** How the server begins a line for people; lines of its log begin with a time. */
const address = "lacuna: ";
/** Longest wait for the end of a stream whose process has ended. */
const limitMs = 1_000;

export class Speech {
    private refusal: string | undefined;
    private end: Promise<void> = Promise.resolve();

    constructor(private readonly log: vscode.LogOutputChannel) {}

    listen(stream: Readable): void {
        let rest = "";
        stream.setEncoding("utf8");
        stream.on("data", (text: string) => {
            const lines = (rest + text).split("\n");
            rest = lines.pop() ?? "";
            lines.forEach((line) => this.line(line));
        });
        this.end = new Promise((resolve) => {
            stream.once("close", () => {
                this.line(rest);
                resolve();
            });
        });
    }

    /** The last line for people, once the server has nothing more to say. */
    async ended(): Promise<string | undefined> {
        await Promise.race([this.end, new Promise((resolve) => setTimeout(resolve, limitMs))]);
        return this.refusal;
    }

    private line(text: string): void {
        if (text === "") {
            return;
        }
        if (text.startsWith(address)) {
            this.refusal = text.slice(address.length);
        }
        this.log.info(text);
    }
}
