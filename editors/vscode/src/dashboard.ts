// What became of the suggestions: the page that `lacuna telemetry report --html` writes, in a tab.

import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import * as vscode from "vscode";

/** A store of years is read in seconds. */
const limitMs = 60_000;

/** Makes the page with the program at `command` and shows it. The page loads nothing: its policy forbids it. */
export async function showDashboard(command: string): Promise<void> {
    const folder = await mkdtemp(join(tmpdir(), "lacuna-"));
    try {
        const file = join(folder, "report.html");
        await promisify(execFile)(command, ["telemetry", "report", "--html", file], { timeout: limitMs });
        const panel = vscode.window.createWebviewPanel("lacuna.dashboard", "Lacuna: Dashboard", vscode.ViewColumn.Active, { enableScripts: true });
        panel.webview.html = await readFile(file, "utf8");
    } catch (error) {
        // The program's own words, where it had some.
        const { stderr } = error as { stderr?: string };
        void vscode.window.showErrorMessage(`Lacuna: no dashboard: ${stderr?.trim() || String(error)}`);
    } finally {
        await rm(folder, { recursive: true, force: true });
    }
}
