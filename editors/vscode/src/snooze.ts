// Nothing unasked for some minutes. It outlives the server, not the window.

import type { LanguageClient } from "vscode-languageclient/node";

import { execute } from "./pauses";

/** Minutes of a snooze. */
const minutes = 5;

export class Snooze {
    /** Milliseconds since 1970. */
    private until = 0;

    get lasts(): boolean {
        return Date.now() < this.until;
    }

    async begin(client: LanguageClient | undefined): Promise<void> {
        this.until = Date.now() + minutes * 60_000;
        await execute(client, "lacuna.snooze", { minutes });
    }

    async end(client: LanguageClient | undefined): Promise<void> {
        this.until = 0;
        await execute(client, "lacuna.snooze", { minutes: 0 });
    }

    /** A server that has just started knows of no snooze. */
    async tell(client: LanguageClient): Promise<void> {
        if (this.lasts) {
            await execute(client, "lacuna.snooze", { minutes: (this.until - Date.now()) / 60_000 });
        }
    }
}
