// When a server that has ended is started again: after growing pauses, and not for ever.

/** Milliseconds before each restart in a row; after the last one the server stays down until the user asks. */
const pausesMs = [200, 1_000, 5_000, 15_000, 60_000];
/** A server that lived this long starts the row anew. */
const healthyMs = 60_000;

export class Backoff {
    private crashes = 0;
    private startedAt = 0;

    started(now: number): void {
        this.startedAt = now;
    }

    /** The pause before the next start; undefined: there shall be none. */
    ended(now: number): number | undefined {
        if (now - this.startedAt > healthyMs) {
            this.crashes = 0;
        }
        return pausesMs[this.crashes++];
    }

    /** The user has asked for a start. */
    forget(): void {
        this.crashes = 0;
    }
}
