// The protocol extension of the server: docs/protocol.md.

import type { LanguageClient } from "vscode-languageclient/node";

/** Whether a server tells reasons and knows pauses; one that is older than this extension may not. */
export function tellsStatus(client: LanguageClient): boolean {
    const experimental = client.initializeResult?.capabilities.experimental as { lacunaStatus?: boolean } | undefined;
    return experimental?.lacunaStatus === true;
}

export interface Tokens {
    prompt: number;
    cached: number;
    new: number;
    generated: number;
}

/** The last answer of a document. */
export interface Last {
    uri: string;
    outcome: "suggest" | "silence";
    reason: string | null;
    meaning: string | null;
    remedy: string | null;
    /** That the first line is right; null or absent where the model does not say. */
    probability?: number | null;
    ms: number;
    fromMemory: boolean;
    tokens: Tokens;
}

export interface Report {
    state: "ready" | "paused" | "snoozed";
    model: string;
    version: string;
    paused: { everywhere: boolean; languages: string[]; documents: string[] };
    /** When the snooze ends, in milliseconds since 1970; absent where there is none. */
    snoozedUntil?: number;
    last: Last | null;
    /** Sentences about the settings that the user should read; older servers have none. */
    notices?: string[];
}

/** Where a pause holds; an empty object is everywhere. */
export type Scope = { uri: string } | { language: string } | Record<string, never>;

/** The part of an LSP item that events send back. */
export interface RawItem {
    insertText: string | { value: string };
    range?: { start: { line: number; character: number }; end: { line: number; character: number } };
    command?: { title: string; command: string; arguments?: unknown[] };
}

export const statusMethod = "lacuna/status";
export const didShowMethod = "textDocument/didShowCompletion";
export const didDismissMethod = "lacuna/didDismissCompletion";
export const didPartiallyAcceptMethod = "textDocument/didPartiallyAcceptCompletion";
