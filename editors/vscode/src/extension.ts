// Ghost text from the language server `lacuna`.
//
// Start reading at provider.ts for what happens at a keystroke, server.ts for the process behind it.

import * as vscode from "vscode";

import { showDashboard } from "./dashboard";
import { forgetClosed } from "./editors";
import { here, language, showMenu } from "./menu";
import { Pauses } from "./pauses";
import type { Scope } from "./protocol";
import { Provider } from "./provider";
import { Server } from "./server";
import { Snooze } from "./snooze";
import { turnOn } from "./settings";
import { StatusBar } from "./statusbar";
import { explain } from "./why";

let running: Server | undefined;

export async function activate(context: vscode.ExtensionContext): Promise<void> {
    const log = vscode.window.createOutputChannel("Lacuna", { log: true });
    const provider = new Provider(log);
    const server = new Server(context, log, provider.middleware);
    provider.server = server;
    running = server;
    const pauses = new Pauses(context);
    const snooze = new Snooze();
    const bar = new StatusBar(server);

    const command = (name: string, run: () => unknown) => vscode.commands.registerCommand(name, run);
    const pauseIn = (scope: (document: vscode.TextDocument) => Scope) => () => {
        const document = vscode.window.activeTextEditor?.document;
        return document && pauses.pause(scope(document), server.connection);
    };
    context.subscriptions.push(
        log,
        provider,
        bar,
        server.onDidStart((client) => {
            const told = Promise.all([pauses.tell(client), snooze.tell(client)]);
            void told.catch((error: unknown) => log.warn(String(error)));
        }),
        command("lacuna.menu", () => showMenu(server, pauses, snooze, bar)),
        command("lacuna.why", () => explain(server)),
        command("lacuna.dashboard", () => showDashboard(server.command())),
        command("lacuna.trigger", () => vscode.commands.executeCommand("editor.action.inlineSuggest.trigger")),
        command("lacuna.pauseFile", pauseIn(here)),
        command("lacuna.pauseLanguage", pauseIn(language)),
        command("lacuna.pauseEverywhere", () => pauses.pause({}, server.connection)),
        command("lacuna.resumeAll", () => pauses.resume({}, server.connection)),
        command("lacuna.beginSnooze", () => snooze.begin(server.connection)),
        command("lacuna.endSnooze", () => snooze.end(server.connection)),
        command("lacuna.dismiss", () => provider.dismiss()),
        command("lacuna.languageOn", () => turnOn(vscode.window.activeTextEditor?.document)),
        command("lacuna.showLog", () => log.show()),
        command("lacuna.restart", () => server.restart()),
        vscode.workspace.onDidCloseTextDocument(forgetClosed),
        // The server reads settings and folders once, at its start; that takes a tenth of a second.
        vscode.workspace.onDidChangeConfiguration((change) => change.affectsConfiguration("lacuna") && server.restart()),
        vscode.workspace.onDidChangeWorkspaceFolders(() => server.restart()),
    );
    await server.start();
}

export async function deactivate(): Promise<void> {
    await running?.dispose();
}
