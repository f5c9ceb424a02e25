// Files that others break on: line endings, tabs, wide characters, untitled documents, notebooks, several folders.

import assert from "node:assert/strict";
import { account, atRaise, raised } from "../samples.mjs";

export const cases = [
    {
        name: "a file with CRLF keeps it",
        async run(bench) {
            const crlf = (text) => text.replaceAll("\n", "\r\n");
            bench.write("crlf.py", crlf(account));
            await bench.open("crlf.py", ...atRaise);
            const ghost = await bench.suggestion("u");
            await bench.press("Tab");
            await bench.awaitNoGhost();
            await bench.save("crlf.py", crlf(raised(`u${ghost}`)));
        },
    },
    {
        name: "a file indented with tabs gets tabs",
        async run(bench) {
            const tabs = (text) => text.replaceAll("    ", "\t");
            bench.write("tabs.py", tabs(account));
            await bench.open("tabs.py", 10, 1);
            await bench.press("End");
            const ghost = await bench.suggestion("u");
            await bench.press("Tab");
            await bench.awaitNoGhost();
            await bench.save("tabs.py", tabs(raised(`u${ghost}`)));
        },
    },
    {
        name: "multi-byte text left of the cursor",
        async run(bench) {
            const before = 's = "🦀👩‍👩‍👧 größe 漢字"; raise Val';
            const text = (more) => account.replace("            raise Val\n", () => `            ${before}${more}\n`);
            bench.write("wide.py", text(""));
            await bench.open("wide.py", 10, 1);
            await bench.press("End");
            const ghost = await bench.suggestion("u");
            await bench.press("Tab");
            await bench.awaitNoGhost();
            await bench.save("wide.py", text(`u${ghost}`));
        },
    },
    {
        name: "an untitled document is completed",
        async run(bench) {
            await bench.press("Control+Alt+u");
            await bench.page.locator(".tab.active", { hasText: "Untitled" }).waitFor();
            // Plain text is off.
            await bench.press("Control+K");
            await bench.press("m");
            await bench.type("JavaScript");
            await bench.press("Enter");
            await bench.type("for (let i = 0; i < items.le");
            assert.ok((await bench.suggestion("n")).length > 0);
            await bench.press("Escape");
            await bench.command("View: Revert and Close Editor");
        },
    },
    {
        name: "a notebook's cell is completed",
        async run(bench) {
            const cell = { cell_type: "code", execution_count: null, metadata: {}, outputs: [], source: account.split(/(?<=\n)/) };
            bench.write("cells.ipynb", JSON.stringify({ cells: [cell], metadata: { language_info: { name: "python" } }, nbformat: 4, nbformat_minor: 5 }));
            await bench.ask("Control+p", `${bench.workspace}/cells.ipynb`);
            await bench.page.locator(".quick-input-list .monaco-list-row", { hasText: "cells.ipynb" }).first().waitFor();
            await bench.press("Enter");
            const line = bench.page.locator(".notebookOverlay .view-line", { hasText: /raise\sVal$/ });
            await line.click();
            await bench.press("End");
            assert.ok((await bench.suggestion("u")).length > 0);
            await bench.press("Escape");
            await bench.command("View: Revert and Close Editor");
        },
    },
];
