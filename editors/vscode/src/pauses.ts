// Pauses outlive the server and the window: languages and "everywhere" with the user, files with the workspace.

import type * as vscode from "vscode";
import type { LanguageClient } from "vscode-languageclient/node";

import { tellsStatus, type Scope } from "./protocol";

const [globalKey, workspaceKey] = ["pauses", "pausedFiles"];

export class Pauses {
    constructor(private readonly context: vscode.ExtensionContext) {}

    private get scopes(): Scope[] {
        return [...this.context.globalState.get<Scope[]>(globalKey, []), ...this.context.workspaceState.get<Scope[]>(workspaceKey, [])];
    }

    has(scope: Scope): boolean {
        return this.scopes.some((other) => same(other, scope));
    }

    async pause(scope: Scope, client: LanguageClient | undefined): Promise<void> {
        if (!this.has(scope)) {
            await this.keep([...this.scopes, scope]);
        }
        await execute(client, "lacuna.pause", scope);
    }

    /** Ends one pause; an empty scope ends all of them. */
    async resume(scope: Scope, client: LanguageClient | undefined): Promise<void> {
        const everywhere = Object.keys(scope).length === 0;
        await this.keep(everywhere ? [] : this.scopes.filter((other) => !same(other, scope)));
        await execute(client, "lacuna.resume", scope);
    }

    /** A server that has just started knows no pauses. */
    async tell(client: LanguageClient): Promise<void> {
        for (const scope of this.scopes) {
            await execute(client, "lacuna.pause", scope);
        }
    }

    private async keep(scopes: Scope[]): Promise<void> {
        await this.context.globalState.update(globalKey, scopes.filter((scope) => !("uri" in scope)));
        await this.context.workspaceState.update(workspaceKey, scopes.filter((scope) => "uri" in scope));
    }
}

function same(a: Scope, b: Scope): boolean {
    return JSON.stringify(a) === JSON.stringify(b);
}

/** Runs a command of the server's about when it is quiet; an empty argument is none. */
export async function execute(client: LanguageClient | undefined, command: string, argument: object): Promise<void> {
    if (client && !tellsStatus(client)) {
        throw new Error("Lacuna's server is older than this extension and knows no pauses; update it");
    }
    const args = Object.keys(argument).length === 0 ? [] : [argument];
    await client?.sendRequest("workspace/executeCommand", { command, arguments: args });
}
