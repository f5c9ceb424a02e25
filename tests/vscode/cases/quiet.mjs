// Where nothing is suggested, and whether the user can find out why.

import assert from "node:assert/strict";
import { chmodSync } from "node:fs";
import { join } from "node:path";
import { account, atRaise } from "../samples.mjs";
import { until } from "../workbench.mjs";

export const cases = [
    {
        name: "pause for a language from the menu, ask why, resume from the answer",
        async run(bench, picture) {
            bench.write("pause.py", account);
            await bench.open("pause.py", ...atRaise);
            await bench.statusItem.click();
            await bench.page.locator(".quick-input-list .monaco-list-row", { hasText: "Pause for python" }).click();
            await bench.page.locator(".statusbar-item:has(.codicon-debug-pause)", { hasText: "Lacuna" }).waitFor();
            // The click has taken the focus.
            await bench.open("pause.py", ...atRaise);
            await bench.type("u");
            assert.match(await bench.why("paused-language"), /paused for this language/);
            await bench.page.screenshot({ path: picture });
            await bench.page.locator(".notification-list-item a.monaco-button", { hasText: "Resume" }).click();
            await bench.running();
            await bench.open("pause.py", 10, 23);
            await bench.type("e");
            assert.ok((await bench.awaitGhost()).length > 0);
            await bench.press("Escape");
            await bench.command("File: Revert File");
        },
    },
    {
        name: "snooze from the menu: nothing unasked, asking is answered; and ended from the answer",
        async run(bench, picture) {
            bench.write("snooze.py", account);
            await bench.open("snooze.py", ...atRaise);
            await bench.statusItem.first().click();
            await bench.page.locator(".quick-input-list .monaco-list-row", { hasText: "Snooze for 5 Minutes" }).click();
            await bench.page.locator(".statusbar-item:has(.codicon-bell-slash)", { hasText: "Lacuna" }).waitFor();
            await bench.open("snooze.py", ...atRaise);
            await bench.type("u");
            await until("the reason", () => /no suggestion: snoozed/.test(bench.log()));
            assert.equal(await bench.ghost(), undefined);
            await bench.page.screenshot({ path: picture });
            await bench.command("Lacuna: Suggest Now");
            await bench.awaitGhost();
            await bench.press("Escape");
            await bench.command("Lacuna: End Snooze");
            await bench.page.locator(".statusbar-item:has(.codicon-sparkle)", { hasText: "Lacuna" }).waitFor();
            await bench.type("e");
            await bench.awaitGhost();
            await bench.press("Escape");
            await bench.command("File: Revert File");
        },
    },
    {
        name: "Esc hides a suggestion and tells the server, which then does not offer it there unasked; asking shows it again",
        async run(bench) {
            bench.write("dismissed.py", account);
            await bench.open("dismissed.py", ...atRaise);
            const ghost = await bench.suggestion("u");
            const told = () => bench.log().split("Dismissed {").length - 1;
            const before = told();
            await bench.press("Escape");
            await bench.awaitNoGhost();
            await until("the server to hear of it", () => told() === before + 1);
            await bench.command("Lacuna: Suggest Now");
            assert.equal(await bench.awaitGhost(), ghost);
            await bench.press("Escape");
            await bench.awaitNoGhost();
            // Without a suggestion the key is VS Code's.
            await until("the server to hear of it", () => told() === before + 2);
            await bench.press("Escape");
            await bench.frames();
            assert.equal(told(), before + 2);
            await bench.command("File: Revert File");
        },
    },
    {
        name: "the status bar says what the last answer cost",
        async run(bench) {
            bench.write("cost.py", account);
            await bench.open("cost.py", ...atRaise);
            await bench.suggestion("u");
            await until("a latency", async () => /\d+ ms/.test(await bench.statusItem.first().textContent()));
            const label = await bench.statusItem.first().locator("a, [aria-label]").first().getAttribute("aria-label");
            assert.match(label, /model embedded/);
            assert.match(label, /\d+ cached, \d+ new/);
            await bench.press("Escape");
            await bench.command("File: Revert File");
        },
    },
    {
        name: "the dashboard opens from the menu and knows what was accepted",
        async run(bench, picture) {
            await bench.statusItem.first().click();
            await bench.page.locator(".quick-input-list .monaco-list-row", { hasText: "Open Dashboard" }).click();
            await bench.page.locator(".tab.active", { hasText: "Lacuna: Dashboard" }).waitFor();
            const page = bench.page.frameLocator("iframe.webview").frameLocator("iframe");
            await page.getByText(/accept/i).first().waitFor();
            await bench.page.screenshot({ path: picture });
            await bench.command("View: Close Editor");
        },
    },
    {
        name: "a difference is left alone",
        async run(bench) {
            bench.write("diff.py", account);
            await bench.open("diff.py", ...atRaise);
            await bench.suggestion("u");
            await bench.press("Escape");
            await bench.command("File: Compare Active File with Saved");
            await bench.page.locator(".tab.active", { hasText: "↔" }).waitFor();
            await bench.page.locator(".diff-editor-right-side .view-line, .modified-in-monaco-diff-editor .view-line").first().click();
            await bench.press("Control+End");
            await bench.type("def withdraw_all(self):");
            assert.match(await bench.why("not-this-editor"), /difference/);
            await bench.clearMessages();
            assert.equal(await bench.ghost(), undefined);
            await bench.command("View: Close Editor");
            await bench.command("File: Revert File");
        },
    },
    {
        name: "a file without write permission is left alone",
        async run(bench) {
            bench.write("locked.py", account);
            chmodSync(join(bench.workspace, "locked.py"), 0o444);
            await bench.open("locked.py", ...atRaise);
            await bench.type("u");
            assert.match(await bench.why("not-this-editor"), /read-only/);
            await bench.clearMessages();
            assert.equal(await bench.ghost(), undefined);
            await bench.command("File: Revert File");
        },
    },
    {
        name: "a file of secrets is left alone, and says so",
        async run(bench) {
            bench.write("deep/.env", "TOKEN=\n");
            await bench.open("deep/.env", 1, 7);
            await bench.type("a");
            assert.match(await bench.why("ignored-path"), /context\.ignore/);
            await bench.clearMessages();
            assert.equal(await bench.ghost(), undefined);
            await bench.command("File: Revert File");
        },
    },
    {
        name: "a language that the model was not trained for is off; one click turns it on, in the user's settings",
        async run(bench) {
            bench.write("off.lua", "local function add(a, b)\n  return a + b\nend\n\nlocal function sub(a, b)\n  return \nend\n");
            await bench.open("off.lua", 6, 10);
            await bench.type("a");
            assert.match(await bench.why("language-off"), /not trained/);
            await bench.page.locator(".notification-list-item a.monaco-button", { hasText: "Turn On for This Language" }).click();
            await until("the setting", () => bench.userSettings()["lacuna.show.languages"]?.join() === "trained,lua");
            await bench.running();
            await bench.open("off.lua", 6, 11);
            await bench.type(" ");
            await until("an answer", async () => {
                await bench.command("Lacuna: Suggest Now");
                return !(await bench.lastReasonIs("language-off"));
            });
            await bench.command("File: Revert File");
            bench.configure({});
            await bench.load();
        },
    },
    {
        name: "the log has the code of a silence",
        async run(bench) {
            assert.match(bench.log(), /no suggestion: ignored-path/);
            assert.match(bench.log(), /inlineCompletion silence="paused-language"/);
        },
    },
];
