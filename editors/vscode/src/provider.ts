// One inline completion: whether to ask, the request, and what becomes known by it.

import * as vscode from "vscode";
import {
    ErrorCodes,
    InlineCompletionRequest,
    LSPErrorCodes,
    ResponseError,
    type InlineCompletionItem,
    type InlineCompletionList,
    type Middleware,
} from "vscode-languageclient/node";

import { leftAlone } from "./editors";
import { Events } from "./events";
import { didDismissMethod, didPartiallyAcceptMethod, didShowMethod, type RawItem } from "./protocol";
import type { Server } from "./server";

const expected: Set<number> = new Set([
    LSPErrorCodes.RequestCancelled,
    LSPErrorCodes.ServerCancelled,
    LSPErrorCodes.ContentModified,
    ErrorCodes.PendingResponseRejected,
    ErrorCodes.ConnectionInactive,
]);

export class Provider implements vscode.Disposable {
    private readonly events: Events;
    /** Set right after construction: the server needs our middleware, we need its connection. */
    server: Server | undefined;

    constructor(private readonly log: vscode.LogOutputChannel) {
        this.events = new Events({
            shown: (item) => this.notify(didShowMethod, { item }),
            partlyAccepted: (item, acceptedLength) => this.notify(didPartiallyAcceptMethod, { item, acceptedLength }),
            dismissed: (item) => this.notify(didDismissMethod, { item }),
        });
    }

    dispose(): void {
        this.events.dispose();
    }

    /** Hides what is on screen; it is not offered again at its place until the line changes. */
    async dismiss(): Promise<void> {
        this.events.dismissed();
        await vscode.commands.executeCommand("editor.action.inlineSuggest.hide");
    }

    /** Takes the place of the library's own request, which hides the items as the server sent them. */
    readonly middleware: Middleware = {
        provideInlineCompletionItems: async (document, position, context, token) => {
            const client = this.server?.connection;
            if (!client || (await leftAlone(document)) !== undefined || token.isCancellationRequested) {
                return undefined;
            }
            const params = client.code2ProtocolConverter.asInlineCompletionParams(document, position, context);
            let result: InlineCompletionList | InlineCompletionItem[] | null;
            try {
                result = await client.sendRequest(InlineCompletionRequest.type, params, token);
            } catch (error) {
                // Superseded and cancelled requests, and those of a server that has gone, are nobody's fault.
                if (!(error instanceof ResponseError && expected.has(error.code))) {
                    this.log.warn(`no suggestion for ${document.uri.toString()}: ${String(error)}`);
                }
                return undefined;
            }
            if (token.isCancellationRequested) {
                return undefined;
            }
            const items = Array.isArray(result) ? result : (result?.items ?? []);
            this.events.answered(document, position, items[0] as RawItem | undefined);
            return client.protocol2CodeConverter.asInlineCompletionResult(items, token);
        },
    };

    private notify(method: string, params: object): void {
        // Telemetry of the user's own; a lost event is no error.
        void this.server?.connection?.sendNotification(method, params).catch(() => undefined);
    }
}
