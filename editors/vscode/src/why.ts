// "Why no suggestion?": the reason in words, and a button for what can be done about it.

import * as vscode from "vscode";

import { leftAlone } from "./editors";
import { statusMethod, tellsStatus, type Last, type Report } from "./protocol";
import type { Server } from "./server";

interface Answer {
    text: string;
    /** Label and command of the remedy. */
    action?: { title: string; command: string; argument?: string };
}

/** Setting that a reason can be answered with. */
const settingOf: Record<string, string> = {
    deadline: "lacuna.latency.deadline_ms",
    "low-confidence": "lacuna.show.min_confidence",
    "file-too-large": "lacuna.context.max_file_bytes",
    "ignored-path": "lacuna.context.ignore",
    "in-comment": "lacuna.show.in_comments",
    "in-doc-comment": "lacuna.show.in_doc_comments",
    "in-string": "lacuna.show.in_strings",
};

/** Finds out why the active editor shows nothing, and says so. */
export async function explain(server: Server): Promise<void> {
    const { text, action } = await answer(server, vscode.window.activeTextEditor);
    const choice = await vscode.window.showInformationMessage(`Lacuna: ${text}`, ...(action ? [action.title] : []));
    if (action && choice === action.title) {
        await vscode.commands.executeCommand(action.command, ...(action.argument ? [action.argument] : []));
    }
}

async function answer(server: Server, editor: vscode.TextEditor | undefined): Promise<Answer> {
    if (!editor) {
        return { text: "No text editor is active. (not-this-editor)" };
    }
    if (server.health.kind === "down") {
        return { text: `The server is not running: ${server.health.why}. (not-running)`, action: { title: "Show Log", command: "lacuna.showLog" } };
    }
    if (server.health.kind === "loading") {
        return { text: "The server is loading its model. (loading)" };
    }
    const alone = await leftAlone(editor.document);
    if (alone) {
        return { text: `${alone} (not-this-editor)` };
    }
    if (!vscode.workspace.getConfiguration("editor", editor.document).get("inlineSuggest.enabled")) {
        return {
            text: "VS Code's setting editor.inlineSuggest.enabled is off. (no-trigger)",
            action: { title: "Open Setting", command: "workbench.action.openSettings", argument: "editor.inlineSuggest.enabled" },
        };
    }
    if (server.connection && !tellsStatus(server.connection)) {
        return { text: "The server is older than this extension and does not tell; update it. (older-server)" };
    }
    const uri = editor.document.uri.toString();
    const report = await server.connection?.sendRequest<Report>(statusMethod, { textDocument: { uri } });
    const { text, action } = reason(report?.last);
    return { text: [text, ...(report?.notices ?? [])].join(" · "), ...(action ? { action } : {}) };
}

/** The last answer, in words. */
function reason(last: Last | null | undefined): Answer {
    if (!last) {
        return { text: "Nothing has been asked here yet: type, or trigger a suggestion. (no-trigger)", action: trigger };
    }
    if (last.outcome === "suggest") {
        return { text: `The last request had a suggestion; it was dismissed, or what was typed since disagrees with it.${likely(last)} (no-trigger)`, action: trigger };
    }
    const text = `${last.meaning} ${last.remedy}${likely(last)} (${last.reason})`;
    if (last.reason?.startsWith("paused")) {
        return { text, action: { title: "Resume", command: "lacuna.resumeAll" } };
    }
    if (last.reason === "snoozed") {
        return { text, action: { title: "End Snooze", command: "lacuna.endSnooze" } };
    }
    if (last.reason === "after-undo" || last.reason === "dismissed-before") {
        return { text, action: trigger };
    }
    if (last.reason === "language-off") {
        return { text, action: { title: "Turn On for This Language", command: "lacuna.languageOn" } };
    }
    const setting = last.reason ? settingOf[last.reason] : undefined;
    return setting ? { text, action: { title: "Open Setting", command: "workbench.action.openSettings", argument: setting } } : { text };
}

/** How likely the suggestion was right, as a sentence with a blank before it. */
function likely(last: Last): string {
    return typeof last.probability === "number" ? ` Likely right: ${Math.round(100 * last.probability)} %.` : "";
}

const trigger = { title: "Suggest Now", command: "editor.action.inlineSuggest.trigger" };
