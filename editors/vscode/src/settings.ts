// The server's settings as the user has set them here.
//
// Only what is set is sent: a default sent from here would override the workspace's lacuna.toml.

import * as vscode from "vscode";

/** Settings of this extension that the server does not know. */
const own = new Set(["server", "trace"]);
/** The area whose settings a folder's .vscode/settings.json may hold. The others have `scope: machine`: VS Code does not take them from there. */
const ofFolders = "show";

/** `{ area: { key: value } }` of all settings with a value of the user's. */
export function explicitSettings(): Record<string, Record<string, unknown>> {
    const configuration = vscode.workspace.getConfiguration("lacuna");
    const settings: Record<string, Record<string, unknown>> = {};
    for (const [area, keys] of Object.entries(configuration)) {
        if (own.has(area) || typeof keys !== "object" || keys === null) {
            continue;
        }
        for (const key of Object.keys(keys)) {
            const found = configuration.inspect(`${area}.${key}`);
            const folders = area === ofFolders ? (found?.workspaceFolderValue ?? found?.workspaceValue) : undefined;
            const value = folders ?? found?.globalValue;
            if (value !== undefined) {
                (settings[area] ??= {})[key] = value;
            }
        }
    }
    return settings;
}

/** Path of the server, where the user has set one. */
export function configuredServer(): string | undefined {
    return vscode.workspace.getConfiguration("lacuna").inspect<string>("server.path")?.globalValue?.trim() || undefined;
}

/** The model, where the user has set one: it is loaded before the server is told any other setting. */
export function configuredModel(): string | undefined {
    return vscode.workspace.getConfiguration("lacuna").inspect<string>("model.path")?.globalValue?.trim() || undefined;
}

/** Adds the document's language to the user's settings: to what is on, and out of what is off. */
export async function turnOn(document: vscode.TextDocument | undefined): Promise<void> {
    if (!document) {
        return;
    }
    const [id, configuration] = [document.languageId, vscode.workspace.getConfiguration("lacuna.show", document)];
    const change = async (key: string, changed: (list: string[]) => string[]) => {
        const found = configuration.inspect<string[]>(key);
        // Where a folder has a list of its own, the user's is not heard there.
        const places: [string[] | undefined, vscode.ConfigurationTarget][] = [
            [found?.globalValue ?? found?.defaultValue ?? [], vscode.ConfigurationTarget.Global],
            [found?.workspaceValue, vscode.ConfigurationTarget.Workspace],
            [found?.workspaceFolderValue, vscode.ConfigurationTarget.WorkspaceFolder],
        ];
        for (const [list, target] of places) {
            const next = list && changed(list);
            if (next && next.join() !== list.join()) {
                await configuration.update(key, next, target);
            }
        }
    };
    await change("disabled_languages", (list) => list.filter((other) => other !== id && other !== "*"));
    await change("languages", (list) => (list.includes(id) || list.includes("*") ? list : [...list, id]));
}
