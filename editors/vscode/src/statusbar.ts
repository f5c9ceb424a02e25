// The item in the status bar: state, and what the last answer in this document cost.

import * as vscode from "vscode";

import type { Last, Report } from "./protocol";
import type { Server } from "./server";

export class StatusBar implements vscode.Disposable {
    private readonly item = vscode.window.createStatusBarItem("lacuna.status", vscode.StatusBarAlignment.Right, 100);
    private readonly subscriptions: vscode.Disposable[];
    /** The last report of each document. */
    private readonly reports = new Map<string, Report>();
    private latest: Report | undefined;
    /** The server says nothing when a snooze ends. */
    private wake: NodeJS.Timeout | undefined;

    constructor(private readonly server: Server) {
        this.item.name = "Lacuna";
        this.item.command = "lacuna.menu";
        this.subscriptions = [
            server.onDidReport((report) => {
                this.latest = report;
                if (report.last) {
                    this.reports.set(report.last.uri, report);
                }
                clearTimeout(this.wake);
                this.wake = report.snoozedUntil === undefined ? undefined : setTimeout(() => this.update(), report.snoozedUntil - Date.now() + 1);
                this.update();
            }),
            server.onDidChangeHealth(() => this.update()),
            vscode.window.onDidChangeActiveTextEditor(() => this.update()),
            vscode.workspace.onDidCloseTextDocument((document) => this.reports.delete(document.uri.toString())),
        ];
        this.update();
        this.item.show();
    }

    /** What the server last said, about whichever document. */
    get report(): Report | undefined {
        return this.latest;
    }

    /** Whether the last answer in a document was that its language is off. */
    isOff(document: vscode.TextDocument): boolean {
        return this.reports.get(document.uri.toString())?.last?.reason === "language-off";
    }

    dispose(): void {
        clearTimeout(this.wake);
        this.item.dispose();
        for (const subscription of this.subscriptions) {
            subscription.dispose();
        }
    }

    private update(): void {
        const { health } = this.server;
        this.item.backgroundColor = undefined;
        if (health.kind === "down") {
            this.item.text = "$(error) Lacuna";
            this.item.tooltip = `Lacuna is not running: ${health.why}`;
            this.item.backgroundColor = new vscode.ThemeColor("statusBarItem.warningBackground");
            return;
        }
        if (health.kind === "loading") {
            this.item.text = "$(loading~spin) Lacuna";
            this.item.tooltip = "Lacuna is loading its model";
            return;
        }
        const editor = vscode.window.activeTextEditor;
        const last = editor && this.reports.get(editor.document.uri.toString())?.last;
        const paused = this.latest && editor && isPaused(this.latest, editor.document);
        const snoozed = paused ? undefined : snoozedUntil(this.latest);
        const icon = paused ? "$(debug-pause)" : snoozed ? "$(bell-slash)" : "$(sparkle)";
        const cost = last?.outcome === "suggest" ? ` ${Math.max(1, Math.round(last.ms))} ms` : "";
        this.item.text = `${icon} Lacuna${paused || snoozed ? "" : cost}`;
        this.item.tooltip = tooltip(this.latest, last ?? undefined, paused ? "Paused here" : snoozed);
    }
}

export function isPaused({ paused }: Report, document: vscode.TextDocument): boolean {
    return paused.everywhere || paused.languages.includes(document.languageId) || paused.documents.includes(document.uri.toString());
}

/** Until when nothing is suggested unasked, in words. */
function snoozedUntil(report: Report | undefined): string | undefined {
    const until = report?.snoozedUntil;
    if (until === undefined || until <= Date.now()) {
        return undefined;
    }
    return `Snoozed until ${new Date(until).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}`;
}

function tooltip(report: Report | undefined, last: Last | undefined, quiet: string | undefined): vscode.MarkdownString {
    const lines = [`**Lacuna**${report ? ` ${report.version}, model ${report.model}` : ""}`];
    if (quiet) {
        lines.push(quiet);
    } else if (last?.outcome === "silence") {
        lines.push(`No suggestion: ${last.meaning} (${last.reason})`);
    } else if (last) {
        const { cached, new: computed, generated } = last.tokens;
        const source = last.fromMemory ? ", from memory" : "";
        lines.push(`Last answer: ${last.ms.toFixed(1)} ms${source}`, `Tokens: ${cached} cached, ${computed} new, ${generated} generated`);
    }
    lines.push(...(report?.notices ?? []).map((notice) => `$(warning) ${notice.replace(/[\\`*_{}[\]()#+.!|<>$-]/g, "\\$&")}`));
    return new vscode.MarkdownString(lines.join("\n\n"), true);
}
