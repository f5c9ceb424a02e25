// The menu behind the status bar item.

import * as vscode from "vscode";

import type { Pauses } from "./pauses";
import type { Scope } from "./protocol";
import type { Server } from "./server";
import type { Snooze } from "./snooze";
import type { StatusBar } from "./statusbar";

type Entry = vscode.QuickPickItem & { run?: () => unknown };

export async function showMenu(server: Server, pauses: Pauses, snooze: Snooze, bar: StatusBar): Promise<void> {
    const document = vscode.window.activeTextEditor?.document;
    const run = (command: string) => () => vscode.commands.executeCommand(command);
    const pause = (label: string, scope: Scope): Entry =>
        pauses.has(scope)
            ? { label: `$(play) Resume ${label}`, run: () => pauses.resume(scope, server.connection) }
            : { label: `$(debug-pause) Pause ${label}`, run: () => pauses.pause(scope, server.connection) };
    const entries: Entry[] = [
        ...(document ? [pause("in This File", here(document)), pause(`for ${document.languageId}`, language(document))] : []),
        pause("Everywhere", {}),
        snooze.lasts
            ? { label: "$(bell) End Snooze", run: run("lacuna.endSnooze") }
            : { label: "$(bell-slash) Snooze for 5 Minutes", run: run("lacuna.beginSnooze") },
        ...(document && bar.isOff(document) ? [{ label: `$(check) Turn On for ${document.languageId}`, run: run("lacuna.languageOn") }] : []),
        { label: "", kind: vscode.QuickPickItemKind.Separator },
        { label: "$(question) Why No Suggestion?", run: run("lacuna.why") },
        { label: "$(graph) Open Dashboard", run: run("lacuna.dashboard") },
        { label: "$(output) Show Log", run: run("lacuna.showLog") },
        { label: "$(debug-restart) Restart Server", run: run("lacuna.restart") },
        { label: "$(gear) Settings", run: () => vscode.commands.executeCommand("workbench.action.openSettings", "lacuna.") },
    ];
    const chosen = await vscode.window.showQuickPick(entries, { title: title(server, bar) });
    await chosen?.run?.();
}

export function here(document: vscode.TextDocument): Scope {
    return { uri: document.uri.toString() };
}

export function language(document: vscode.TextDocument): Scope {
    return { language: document.languageId };
}

function title(server: Server, bar: StatusBar): string {
    if (server.health.kind === "down") {
        return "Lacuna is not running";
    }
    return bar.report ? `Lacuna ${bar.report.version}, model ${bar.report.model}` : "Lacuna";
}
