// Which editors are left alone, and why: read-only files, diffs, and views that are not files at all.

import * as fs from "node:fs/promises";
import * as vscode from "vscode";

/** Schemes of documents that people write code in. */
export const schemes = ["file", "untitled", "vscode-notebook-cell", "vscode-remote"];

export const documentSelector = schemes.map((scheme) => ({ scheme }));

/** Files without write permission, by URI; asked once, when a document is first completed. */
const readOnly = new Map<string, boolean>();

/** Why a document gets no suggestions, as a sentence; undefined if it gets them. */
export async function leftAlone(document: vscode.TextDocument): Promise<string | undefined> {
    const { scheme } = document.uri;
    if (!schemes.includes(scheme)) {
        return `Documents with the scheme ${scheme} are left alone.`;
    }
    if (inDiff(document.uri)) {
        return "Editors that show a difference are left alone.";
    }
    if (scheme !== "untitled" && (vscode.workspace.fs.isWritableFileSystem(scheme) === false || (await isReadOnly(document.uri)))) {
        return "The file is read-only.";
    }
    return undefined;
}

/** Whether the active tab is a difference in which this document is one side. */
function inDiff(uri: vscode.Uri): boolean {
    const input = vscode.window.tabGroups.activeTabGroup.activeTab?.input;
    if (!(input instanceof vscode.TabInputTextDiff)) {
        return false;
    }
    return [input.original, input.modified].some((side) => side.toString() === uri.toString());
}

async function isReadOnly(uri: vscode.Uri): Promise<boolean> {
    if (uri.scheme !== "file") {
        return false;
    }
    const key = uri.toString();
    let known = readOnly.get(key);
    if (known === undefined) {
        try {
            // By the file's own mode: VS Code tells extensions only of file systems that are read-only as a whole.
            known = ((await fs.stat(uri.fsPath)).mode & 0o222) === 0;
        } catch {
            // A file that has not been saved yet.
            known = false;
        }
        readOnly.set(key, known);
    }
    return known;
}

/** Permissions are looked at again when a file is opened again. */
export function forgetClosed(document: vscode.TextDocument): void {
    readOnly.delete(document.uri.toString());
}
