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

    constructor(private readonly server: Server) {
        this.item.name = "Lacuna";
        this.item.command = "lacuna.menu";
        this.subscriptions = [
            server.onDidReport((report) => {
                this.latest = report;
                if (report.last) {
                    this.reports.set(report.last.uri, report);
                }
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
        const icon = paused ? "$(debug-pause)" : "$(sparkle)";
        const cost = last?.outcome === "suggest" ? ` ${Math.max(1, Math.round(last.ms))} ms` : "";
        this.item.text = `${icon} Lacuna${paused ? "" : cost}`;
        this.item.tooltip = tooltip(this.latest, last ?? undefined, Boolean(paused));
    }
}

export function isPaused({ paused }: Report, document: vscode.TextDocument): boolean {
    return paused.everywhere || paused.languages.includes(document.languageId) || paused.documents.includes(document.uri.toString());
}

function tooltip(report: Report | undefined, last: Last | undefined, paused: boolean): vscode.MarkdownString {
    const lines = [`**Lacuna**${report ? ` ${report.version}, model ${report.model}` : ""}`];
    if (paused) {
        lines.push("Paused here");
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
