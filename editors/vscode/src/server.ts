// The server's process and the connection to it: start, settings, restart after a crash with growing pauses.

import * as fs from "node:fs";
import * as path from "node:path";
import * as vscode from "vscode";
import { CloseAction, ErrorAction, LanguageClient, State, type LanguageClientOptions, type Middleware } from "vscode-languageclient/node";

import { Backoff } from "./backoff";
import { documentSelector } from "./editors";
import { statusMethod, type Report } from "./protocol";
import { configuredModel, configuredServer, explicitSettings } from "./settings";
import { Speech } from "./speech";

export type Health = { kind: "loading" } | { kind: "running" } | { kind: "down"; why: string };

/** Failures are told by us, once and with a way out; the library would tell each of them too. */
class QuietClient extends LanguageClient {
    override error(message: string, data?: unknown): void {
        super.error(message, data, false);
    }
}

export class Server implements vscode.Disposable {
    health: Health = { kind: "down", why: "it has not been started yet" };
    private client: LanguageClient | undefined;
    private readonly backoff = new Backoff();
    private timer: NodeJS.Timeout | undefined;
    private disposed = false;
    private readonly changed = new vscode.EventEmitter<void>();
    private readonly reported = new vscode.EventEmitter<Report>();
    private readonly started = new vscode.EventEmitter<LanguageClient>();
    readonly onDidChangeHealth = this.changed.event;
    readonly onDidReport = this.reported.event;
    /** Fires for each new connection, after the handshake. */
    readonly onDidStart = this.started.event;

    constructor(
        private readonly context: vscode.ExtensionContext,
        private readonly log: vscode.LogOutputChannel,
        private readonly middleware: Middleware,
    ) {}

    /** The connection, while it works. */
    get connection(): LanguageClient | undefined {
        return this.health.kind === "running" ? this.client : undefined;
    }

    /** Ends what runs and starts anew, with the settings as they are now. */
    async restart(): Promise<void> {
        this.backoff.forget();
        await this.start();
    }

    async start(): Promise<void> {
        clearTimeout(this.timer);
        await this.end();
        if (this.disposed) {
            return;
        }
        const command = this.command();
        if (path.isAbsolute(command) && !fs.existsSync(command)) {
            this.giveUp(`${command} does not exist; set lacuna.server.path to the lacuna binary, or leave it empty`);
            return;
        }
        const model = configuredModel();
        const args = ["lsp", ...(model ? ["--model", model] : [])];
        const speech = new Speech(this.log);
        const client = new QuietClient("lacuna", "Lacuna", { command, args }, this.options(speech));
        // What the server can do beyond the standard (docs/protocol.md).
        client.registerFeature({
            fillClientCapabilities: (capabilities) => {
                capabilities.experimental = { ...(capabilities.experimental as object | undefined), lacunaStatus: true };
            },
            initialize: () => undefined,
            getState: () => ({ kind: "static" }),
            clear: () => undefined,
        });
        client.onNotification(statusMethod, (report: Report) => {
            if (report.last?.outcome === "silence") {
                this.log.info(`no suggestion: ${report.last.reason}`);
            }
            this.reported.fire(report);
        });
        client.onDidChangeState(({ newState }) => {
            if (newState === State.Stopped && this.client === client && this.health.kind === "running") {
                this.crashed("it ended unexpectedly");
            }
        });
        this.client = client;
        this.backoff.started(Date.now());
        this.set({ kind: "loading" });
        try {
            await client.start();
            if (this.client === client) {
                this.set({ kind: "running" });
                this.started.fire(client);
            }
        } catch (error) {
            const refusal = await speech.ended();
            if (this.client !== client) {
                return;
            }
            if (refusal) {
                // It has said what is wrong with a setting or a model: starting it again would not change that.
                this.log.error(`The server is down: ${refusal}`);
                this.giveUp(refusal);
            } else {
                this.crashed(`${command} did not start: ${error instanceof Error ? error.message : String(error)}`);
            }
        }
    }

    async dispose(): Promise<void> {
        this.disposed = true;
        clearTimeout(this.timer);
        await this.end();
        this.changed.dispose();
        this.reported.dispose();
        this.started.dispose();
    }

    private async end(): Promise<void> {
        const client = this.client;
        this.client = undefined;
        if (client?.needsStop()) {
            // A server that hangs is killed by the library after this time.
            await client.stop(2_000).catch(() => undefined);
        }
        await client?.dispose(2_000).catch(() => undefined);
    }

    /** The configured server, else the one in this package, else the one in PATH. */
    command(): string {
        const configured = configuredServer();
        if (configured) {
            return configured;
        }
        const name = process.platform === "win32" ? "lacuna.exe" : "lacuna";
        const bundled = path.join(this.context.extensionPath, "server", name);
        if (!fs.existsSync(bundled)) {
            return name;
        }
        // Some unpackers lose the permission to execute.
        try {
            fs.accessSync(bundled, fs.constants.X_OK);
        } catch {
            fs.chmodSync(bundled, 0o755);
        }
        return bundled;
    }

    private options(speech: Speech): LanguageClientOptions {
        return {
            documentSelector,
            outputChannel: this.log,
            stdioOptions: { stdout: () => undefined, stderr: (stream) => speech.listen(stream) },
            initializationOptions: { lacuna: explicitSettings() },
            middleware: this.middleware,
            // A document is sent when it is looked at: VS Code opens some, like its own settings, for nobody.
            textSynchronization: { delayOpenNotifications: true },
            errorHandler: {
                error: () => ({ action: ErrorAction.Continue, handled: true }),
                // Restarts are ours.
                closed: () => ({ action: CloseAction.DoNotRestart, handled: true }),
            },
            initializationFailedHandler: () => false,
        };
    }

    private crashed(why: string): void {
        this.log.error(`The server is down: ${why}`);
        if (this.disposed) {
            return;
        }
        const delay = this.backoff.ended(Date.now());
        if (delay !== undefined) {
            this.set({ kind: "down", why: `${why}; it is being started again` });
            this.timer = setTimeout(() => void this.start(), delay);
            return;
        }
        this.giveUp(why);
    }

    private giveUp(why: string): void {
        this.set({ kind: "down", why });
        // The only message: everything before it was repaired without the user's help.
        const [log, settings, again] = ["Show Log", "Open Settings", "Try Again"];
        void vscode.window.showErrorMessage(`Lacuna gives no suggestions: ${why}.`, log, settings, again).then((choice) => {
            if (choice === log) {
                this.log.show();
            } else if (choice === settings) {
                void vscode.commands.executeCommand("workbench.action.openSettings", "lacuna.server.path");
            } else if (choice === again) {
                void this.restart();
            }
        });
    }

    private set(health: Health): void {
        this.health = health;
        this.changed.fire();
    }
}
