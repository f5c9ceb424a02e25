// What VS Code does not tell a stable extension: which suggestion was shown, and which was accepted in part.
//
// The API that says so is a proposed one. What it would say is inferred from what a stable extension sees: an answer that was
// not superseded while the cursor stayed is shown; an edit of several characters that goes on with the suggestion accepted a
// part of it (typing comes one by one). Whole accepts need no guess: they run the item's command. Esc is bound to a command of ours
// while an item of ours is there, which hides it as VS Code's own does and tells.

import * as vscode from "vscode";

import type { RawItem } from "./protocol";

export interface Listener {
    shown(item: RawItem): void;
    partlyAccepted(item: RawItem, acceptedLength: number): void;
    dismissed(item: RawItem): void;
}

/** While there is an item of ours, Esc is ours: the key is bound where this context is set. */
const offersContext = "lacuna.offers";

interface Offered {
    document: vscode.TextDocument;
    item: RawItem;
    text: string;
    start: vscode.Position;
}

export class Events implements vscode.Disposable {
    private offered: Offered | undefined;
    private readonly subscription: vscode.Disposable;

    constructor(private readonly listener: Listener) {
        this.subscription = vscode.workspace.onDidChangeTextDocument((change) => this.changed(change));
    }

    dispose(): void {
        this.subscription.dispose();
    }

    /** An answer is about to be given to VS Code, for the text as it is. */
    answered(document: vscode.TextDocument, position: vscode.Position, item: RawItem | undefined): void {
        const text = typeof item?.insertText === "string" ? item.insertText : undefined;
        if (item === undefined || text === undefined) {
            this.forget();
            return;
        }
        const start = item.range ? new vscode.Position(item.range.start.line, item.range.start.character) : position;
        const known = this.offered;
        // The same suggestion, typed further, is not shown twice.
        const same = known?.document === document && known.start.isEqual(start) && known.text === text;
        this.offered = { document, item: same ? known.item : item, text, start };
        void vscode.commands.executeCommand("setContext", offersContext, true);
        const editor = vscode.window.activeTextEditor;
        const stayed = editor?.document === document && editor.selection.active.isEqual(position);
        if (!same && stayed && vscode.workspace.getConfiguration("editor", document).get("inlineSuggest.enabled")) {
            this.listener.shown(item);
        }
    }

    /** The user turns down what is on screen. */
    dismissed(): void {
        const editor = vscode.window.activeTextEditor;
        if (this.offered && editor?.document === this.offered.document && editor.selection.active.line >= this.offered.start.line) {
            this.listener.dismissed(this.offered.item);
        }
        this.forget();
    }

    private forget(): void {
        this.offered = undefined;
        void vscode.commands.executeCommand("setContext", offersContext, false);
    }

    private changed({ document, contentChanges, reason }: vscode.TextDocumentChangeEvent): void {
        const offered = this.offered;
        if (offered?.document !== document || contentChanges.length === 0) {
            return;
        }
        const change = contentChanges[0];
        if (contentChanges.length !== 1 || change === undefined || reason !== undefined) {
            this.forget();
            return;
        }
        // Some editors' documents have CRLF; suggestions have not.
        const inserted = change.text.replace(/\r\n/g, "\n");
        const left = document.getText(new vscode.Range(offered.start, change.range.start)).replace(/\r\n/g, "\n");
        const now = change.range.start.isBefore(offered.start) ? undefined : left + inserted;
        if (now === undefined || !offered.text.startsWith(now)) {
            this.forget();
        } else if ([...inserted].length > 1 && now.length < offered.text.length) {
            this.listener.partlyAccepted(offered.item, now.length);
        }
    }
}
