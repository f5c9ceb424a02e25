// VS Code under test: a code-server of its own with the packaged extension, and a page in headless Chromium.

import { spawn, execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync, writeFileSync, openSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import net from "node:net";
import { chromium } from "playwright-core";

/** Nothing that is waited for takes this long. */
export const limitMs = 60_000;
/** Nor does loading the workbench, on a machine that does other things too. */
const loadLimitMs = 180_000;

const editorSettings = {
    "files.hotExit": "off",
    "files.autoSave": "off",
    "editor.quickSuggestions": { other: "off", comments: "off", strings: "off" },
    "editor.wordBasedSuggestions": "off",
    "editor.autoClosingBrackets": "never",
    "editor.autoClosingQuotes": "never",
    "editor.autoIndent": "keep",
    "editor.minimap.enabled": false,
    "editor.fontSize": 14,
    "workbench.startupEditor": "none",
    "workbench.secondarySideBar.defaultVisibility": "hidden",
    "workbench.editor.empty.hint": "hidden",
    "workbench.tips.enabled": false,
    "chat.disableAIFeatures": true,
    "extensions.autoUpdate": false,
    "extensions.ignoreRecommendations": true,
    "git.enabled": false,
    "security.workspace.trust.enabled": false,
    "telemetry.telemetryLevel": "off",
};

/** Commands that VS Code binds to no key, or to one that the browser takes. */
const keybindings = [
    { key: "ctrl+alt+l", command: "editor.action.inlineSuggest.acceptNextLine", when: "inlineSuggestionVisible" },
    { key: "ctrl+alt+u", command: "workbench.action.files.newUntitledFile" },
];

async function freePort() {
    const server = net.createServer();
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address();
    await new Promise((resolve) => server.close(resolve));
    return port;
}

/** Polls until `value` gives something that is neither undefined, null nor false. */
export async function until(what, value) {
    const end = Date.now() + limitMs;
    for (;;) {
        const found = await value();
        if (found !== undefined && found !== null && found !== false) {
            return found;
        }
        if (Date.now() > end) {
            throw new Error(`no ${what} within ${limitMs / 1000} s`);
        }
        await new Promise((resolve) => setTimeout(resolve, 20));
    }
}

const plain = (text) => text.replaceAll("\u00a0", " ").replaceAll("\u200b", "");

export class Workbench {
    /** Installs the extension, starts the server and the browser. `settings` are the user's, beside those that keep VS Code calm. */
    static async start(vsix, codeServer, settings = {}) {
        const bench = new Workbench();
        const dir = (bench.dir = mkdtempSync(join(tmpdir(), "lacuna-vscode-")));
        bench.workspace = join(dir, "ws");
        bench.settingsFile = join(dir, "data/User/settings.json");
        for (const folder of ["home", "ws", "data/User", "ext"]) {
            mkdirSync(join(dir, folder), { recursive: true });
        }
        bench.configure(settings);
        // No deadline: nothing may depend on how fast the machine is. What is shown is looked at here, not how sure it is.
        mkdirSync(join(dir, "home/.config/lacuna"), { recursive: true });
        writeFileSync(join(dir, "home/.config/lacuna/config.toml"), "[latency]\ndeadline_ms = 0\n[show]\nblock_tokens = 40\nmin_confidence = 0\n");
        writeFileSync(join(dir, "data/User/keybindings.json"), JSON.stringify(keybindings));
        const port = await freePort();
        writeFileSync(join(dir, "config.yaml"), `bind-addr: 127.0.0.1:${port}\nauth: none\ncert: false\n`);
        const env = { PATH: process.env.PATH, HOME: join(dir, "home"), LANG: "C.UTF-8", LACUNA_LOG: "info" };
        const entry = join(codeServer, "code/node_modules/code-server/out/node/entry.js");
        const places = ["--config", join(dir, "config.yaml"), "--user-data-dir", join(dir, "data"), "--extensions-dir", join(dir, "ext")];
        execFileSync(process.execPath, [entry, ...places, "--install-extension", vsix], { env, stdio: "pipe" });
        const log = openSync(join(dir, "code-server.log"), "w");
        const quiet = ["--disable-telemetry", "--disable-update-check", "--disable-workspace-trust", "--disable-getting-started-override", "--ignore-last-opened"];
        bench.server = spawn(process.execPath, [entry, ...places, ...quiet, bench.workspace], { env, stdio: ["ignore", log, log], detached: true });
        bench.origin = `http://127.0.0.1:${port}`;
        await until("code-server", () => fetch(`${bench.origin}/healthz`).then((r) => r.ok, () => false));
        bench.browser = await chromium.launch({
            executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
            args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
        });
        bench.page = await bench.browser.newPage({ viewport: { width: 1000, height: 620 } });
        bench.page.setDefaultTimeout(limitMs);
        // Unsaved text must not ask anybody.
        bench.page.on("dialog", (dialog) => dialog.accept());
        return bench;
    }

    /** Writes the user's settings; they are read when the workbench is loaded. */
    configure(settings) {
        writeFileSync(this.settingsFile, JSON.stringify({ ...editorSettings, ...settings }));
    }

    /** The user's settings as they are on disk; none while VS Code is writing them. */
    userSettings() {
        const text = readFileSync(this.settingsFile, "utf8");
        try {
            return JSON.parse(text);
        } catch {
            return {};
        }
    }

    /** Whether "Why No Suggestion?" gives this code now. */
    async lastReasonIs(code) {
        await this.clearMessages();
        await this.command("Lacuna: Why No Suggestion?");
        await this.page.locator(".notification-list-item-message").first().waitFor({ timeout: 3_000 }).catch(() => undefined);
        const messages = await this.messages();
        return messages.length === 0 || messages.some((text) => text.includes(`(${code})`));
    }

    /** Loads the workbench and waits until the extension's server has answered. */
    async load(query = `folder=${this.workspace}`) {
        await this.page.goto(`${this.origin}/?${query}`, { timeout: loadLimitMs });
        await this.running(loadLimitMs);
    }

    get statusItem() {
        return this.page.locator(".statusbar-item", { hasText: "Lacuna" });
    }

    async running(timeout = limitMs) {
        await this.page.locator(".statusbar-item:has(.codicon-sparkle, .codicon-debug-pause)", { hasText: "Lacuna" }).waitFor({ timeout });
    }

    write(name, text) {
        mkdirSync(dirname(join(this.workspace, name)), { recursive: true });
        writeFileSync(join(this.workspace, name), text);
    }

    read(name) {
        return readFileSync(join(this.workspace, name), "utf8");
    }

    /** Opens the input that a key opens and fills it. The input of a moment ago may be closing just then: asked again. */
    async ask(key, value) {
        const input = this.page.locator(".quick-input-widget input.input:visible");
        await until(`input by ${key}`, async () => {
            await this.page.keyboard.press(key);
            try {
                await input.fill(value, { timeout: 2_000 });
                return (await input.inputValue({ timeout: 500 })) === value;
            } catch {
                return false;
            }
        });
        return input;
    }

    /** Runs a command of the palette by its title. */
    async command(title) {
        const input = await this.ask("F1", `>${title}`);
        await this.page.locator(".quick-input-list .monaco-list-row", { hasText: title }).first().waitFor();
        await this.page.keyboard.press("Enter");
        await input.waitFor({ state: "hidden" });
    }

    /** Opens a file of the workspace and puts the cursor at a 1-based line and column. */
    async open(name, line, column) {
        // By its whole path: a file that was written a moment ago is in no index yet.
        const input = await this.ask("Control+p", join(this.workspace, name));
        await this.page.locator(".quick-input-list .monaco-list-row", { hasText: name.split("/").pop() }).first().waitFor();
        await this.page.keyboard.press("Enter");
        await this.page.locator(".tab.active", { hasText: name.split("/").pop() }).waitFor();
        await this.page.locator(".editor-instance .monaco-editor.focused").waitFor();
        await this.ask("Control+g", `:${line}:${column}`);
        await this.page.keyboard.press("Enter");
        await input.waitFor({ state: "hidden" });
        await this.page.locator(".editor-instance .monaco-editor.focused").waitFor();
        await this.page.locator(".statusbar-item", { hasText: `Ln ${line}, Col` }).waitFor();
    }

    async type(text) {
        await this.page.keyboard.type(text);
    }

    async press(key) {
        await this.page.keyboard.press(key);
    }

    /** What is shown as a suggestion: its first line and the lines below; undefined if nothing is. */
    async ghost() {
        const found = await this.page.evaluate(() => {
            const editor = document.querySelector(".monaco-editor.focused");
            const inline = [...(editor?.querySelectorAll(".view-line .ghost-text-decoration, .view-line .ghost-text-decoration-preview") ?? [])];
            const below = [...(editor?.querySelectorAll(".suggest-preview-text .view-line, .suggest-preview-text > div > div") ?? [])];
            if (inline.length === 0 && below.length === 0) {
                return null;
            }
            const top = (node) => node.getBoundingClientRect().top;
            const lines = [...new Set(below)].filter((node) => !below.some((other) => other !== node && other.contains(node)));
            return [inline.map((node) => node.textContent).join(""), ...lines.sort((a, b) => top(a) - top(b)).map((node) => node.textContent)];
        });
        return found ? plain(found.join("\n")) : undefined;
    }

    /** Waits for a suggestion that two animation frames leave as it is: its first line and the lines below are drawn one after the other. */
    async awaitGhost() {
        return until("suggestion", async () => {
            const first = await this.ghost();
            await this.frames();
            return first !== undefined && first === (await this.ghost()) && first;
        });
    }

    /**
     * Types a key and waits for what is suggested behind it. More than once: VS Code wires up suggestions for a new editor when it is idle,
     * and what is typed before that asks nobody.
     */
    async suggestion(key) {
        return until(`suggestion behind ${key}`, async () => {
            await this.type(key);
            const end = Date.now() + 3_000;
            while (Date.now() < end && (await this.ghost()) === undefined) {
                await this.frames();
            }
            if ((await this.ghost()) !== undefined) {
                return this.awaitGhost();
            }
            await this.press("Backspace");
            return undefined;
        });
    }

    /** Waits for two animation frames. */
    async frames() {
        await this.page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
    }

    async awaitNoGhost() {
        await until("end of the suggestion", async () => (await this.ghost()) === undefined);
    }

    /** Saves the active file and waits until the disk has it. */
    async save(name, expected) {
        await this.page.keyboard.press("Control+s");
        await this.page.locator(".tab.active:not(.dirty)").waitFor();
        const found = this.read(name);
        if (expected !== undefined && found !== expected) {
            throw new Error(`${name} on disk:\n${JSON.stringify(found)}\nexpected:\n${JSON.stringify(expected)}`);
        }
        return found;
    }

    /** Text of the messages in the corner. */
    async messages() {
        return this.page.locator(".notification-list-item-message").allTextContents();
    }

    /**
     * Asks for a suggestion and then "Why No Suggestion?", until the answer has this code. More than once, since the palette takes the
     * focus and with it cancels a request that is under way.
     */
    async why(code) {
        return until(`reason (${code})`, async () => {
            await this.clearMessages();
            await this.command("Lacuna: Suggest Now");
            await this.command("Lacuna: Why No Suggestion?");
            await this.page.locator(".notification-list-item-message").first().waitFor({ timeout: 3_000 }).catch(() => undefined);
            return (await this.messages()).find((text) => text.includes(`(${code})`));
        });
    }

    async clearMessages() {
        await this.command("Notifications: Clear All Notifications");
    }

    /** Process id of the language server of this workbench. */
    serverPid() {
        for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
            try {
                if (readlinkSync(`/proc/${pid}/exe`).startsWith(join(this.dir, "ext"))) {
                    return Number(pid);
                }
            } catch {
                // Gone, or not ours to look at.
            }
        }
        return undefined;
    }

    /** The extension's log, the server's words among it. */
    log() {
        const found = [];
        const walk = (dir) => {
            for (const entry of readdirSync(dir, { withFileTypes: true })) {
                const path = join(dir, entry.name);
                if (entry.isDirectory()) {
                    walk(path);
                } else if (entry.name === "Lacuna.log") {
                    found.push(readFileSync(path, "utf8"));
                }
            }
        };
        walk(join(this.dir, "data/logs"));
        return found.join("");
    }

    async stop() {
        await this.browser?.close();
        if (this.server) {
            const ended = new Promise((resolve) => this.server.once("exit", resolve));
            // The whole group: code-server's children and the language server.
            process.kill(-this.server.pid, "SIGTERM");
            const timer = setTimeout(() => process.kill(-this.server.pid, "SIGKILL"), 10_000);
            await ended;
            clearTimeout(timer);
        }
        rmSync(this.dir, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    }
}
