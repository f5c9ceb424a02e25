// From a key to ghost text, what further keys make of it, and accepting.

import assert from "node:assert/strict";
import { account, atRaise, block, raised } from "../samples.mjs";
import { until } from "../workbench.mjs";

/** A fresh copy of the account with the cursor behind `raise Val` and its suggestion on screen. */
async function suggested(bench, name) {
    bench.write(name, account);
    await bench.open(name, ...atRaise);
    return bench.suggestion("u");
}

export const cases = [
    {
        name: "first run without settings: ghost text appears, Tab accepts exactly it, the file is right on disk",
        async run(bench, picture) {
            const ghost = await suggested(bench, "account.py");
            assert.ok(ghost.length > 3 && !ghost.includes("\n"), JSON.stringify(ghost));
            // This one is the README's (docs/images/vscode.png).
            await until("the latency", async () => /\d+ ms/.test(await bench.statusItem.first().textContent()));
            await bench.page.screenshot({ path: picture });
            await bench.press("Tab");
            await bench.awaitNoGhost();
            await bench.save("account.py", raised(`u${ghost}`));
            await until("the accept in the log", () => /event=Accepted/.test(bench.log()));
        },
    },
    {
        name: "several lines are accepted as they are shown",
        async run(bench, picture) {
            bench.write("block.py", block);
            await bench.open("block.py", 3, 9);
            await bench.command("Lacuna: Suggest Now");
            const ghost = await bench.awaitGhost();
            await bench.page.screenshot({ path: picture });
            await bench.press("Tab");
            await bench.awaitNoGhost();
            const saved = await bench.save("block.py");
            assert.ok(saved.startsWith(block.slice(0, -1)) && saved.endsWith("\n"));
            const inserted = saved.slice(block.length - 1, -1);
            // VS Code draws the lines below in a zone of their own, without their indentation's width.
            const squeezed = (text) => text.replaceAll(/\s+/g, "");
            assert.equal(squeezed(inserted), squeezed(ghost));
            assert.ok(inserted.includes("\n"), "the model has become laconic");
            // However many lines they are, they are one step.
            await bench.press("Control+z");
            await bench.save("block.py", block);
            await bench.press("Control+y");
            await bench.save("block.py", saved);
        },
    },
    {
        name: "text that is typed through shortens it; in no animation frame is it missing",
        async run(bench) {
            const ghost = await suggested(bench, "through.py");
            const row = `            raise Valu${ghost}`;
            await bench.page.evaluate(() => {
                window.frames_ = [];
                window.watching = true;
                const look = () => {
                    const lines = [...document.querySelectorAll(".monaco-editor.focused .view-lines .view-line")];
                    // Line 10, by its place on the screen: line 4 begins alike.
                    const alike = lines.filter((node) => node.textContent.replaceAll("\u00a0", " ").startsWith("            raise Valu"));
                    const line = alike.sort((a, b) => parseFloat(a.style.top) - parseFloat(b.style.top)).at(-1);
                    window.frames_.push(line?.textContent ?? "");
                    if (window.watching) {
                        requestAnimationFrame(look);
                    }
                };
                requestAnimationFrame(look);
            });
            const typed = ghost.slice(0, Math.min(ghost.length - 2, 10));
            for (let i = 0; i < typed.length; i++) {
                await bench.type(typed[i]);
                await until(`the rest after ${i + 1} keys`, async () => (await bench.ghost()) === ghost.slice(i + 1));
            }
            const frames = await bench.page.evaluate(() => {
                window.watching = false;
                return window.frames_;
            });
            assert.ok(frames.length >= typed.length, `${frames.length} frames`);
            for (const frame of frames) {
                assert.equal(frame.replaceAll("\u00a0", " ").replaceAll("\u200b", ""), row);
            }
            await bench.press("Tab");
            await bench.save("through.py", raised(`u${ghost}`));
        },
    },
    {
        name: "word by word and line by line with VS Code's own commands; partial accepts are reported",
        async run(bench) {
            const ghost = await suggested(bench, "words.py");
            const told = () => bench.log().split("\n").filter((line) => /PartlyAccepted/.test(line)).length;
            const before = told();
            await bench.press("Control+ArrowRight");
            const left = await until("what is left", async () => {
                const now = await bench.ghost();
                return now !== undefined && now !== ghost && now;
            });
            assert.ok(ghost.endsWith(left) && left.length < ghost.length, JSON.stringify({ ghost, left }));
            await until("the partial accept in the log", () => told() === before + 1);
            await bench.press("Control+Alt+l");
            await bench.awaitNoGhost();
            await bench.save("words.py", raised(`u${ghost}`));
        },
    },
    {
        name: "undo takes back what was accepted and nothing else, in one step",
        async run(bench) {
            const ghost = await suggested(bench, "undo.py");
            await bench.press("Tab");
            await bench.awaitNoGhost();
            await bench.save("undo.py", raised(`u${ghost}`));
            await bench.press("Control+z");
            await bench.save("undo.py", raised("u"));
        },
    },
    {
        name: "Tab without a suggestion indents",
        async run(bench) {
            bench.write("tab.txt", "x\n");
            await bench.open("tab.txt", 1, 1);
            assert.equal(await bench.ghost(), undefined);
            await bench.press("Escape");
            await bench.press("Tab");
            assert.match(await bench.save("tab.txt"), /^(\t| +)x\n$/);
        },
    },
    {
        name: "alternatives are cycled, and the one on screen is accepted",
        async run(bench) {
            const first = await suggested(bench, "cycle.py");
            // Once: a second press while the alternatives are on their way would pass over one.
            await bench.press("Alt+]");
            const second = await until("an alternative", async () => {
                const now = await bench.awaitGhost();
                return now !== first && now;
            });
            await bench.press("Tab");
            await bench.awaitNoGhost();
            await bench.save("cycle.py", raised(`u${second}`));
        },
    },
    {
        name: "keys as fast as they go: none is lost, and afterwards a suggestion comes",
        async run(bench) {
            const line = "total = self.balance + amount and so on ";
            const text = line.repeat(15);
            bench.write("storm.py", `${account}\n`);
            await bench.open("storm.py", 13, 1);
            const pid = bench.serverPid();
            await bench.type(text);
            await bench.press("Enter");
            await bench.type("raise Valu");
            assert.ok((await bench.awaitGhost()).length > 0);
            await bench.press("Escape");
            await bench.save("storm.py", `${account}${text}\nraise Valu\n`);
            assert.equal(bench.serverPid(), pid);
        },
    },
];
