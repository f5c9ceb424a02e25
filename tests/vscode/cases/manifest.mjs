// What the package promises: only what every VS Code since 1.91 has.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const editor = join(process.env.LACUNA_ROOT, "editors/vscode");
const json = (path) => JSON.parse(readFileSync(path, "utf8"));

export const cases = [
    {
        name: "the package uses no proposed API and is checked against the oldest VS Code that it names",
        async run(bench) {
            const list = execFileSync("ls", [join(bench.dir, "ext")], { encoding: "utf8" }).split("\n");
            const installed = json(join(bench.dir, "ext", list.find((name) => name.startsWith("lacuna.lacuna-")), "package.json"));
            assert.equal(installed.enabledApiProposals, undefined);
            assert.equal(installed.engines.vscode, "^1.91.0");
            assert.equal(json(join(editor, "node_modules/@types/vscode/package.json")).version, "1.91.0");
            assert.equal(json(join(editor, "node_modules/vscode-languageclient/package.json")).engines.vscode, "^1.91.0");
            // Names that only proposals have.
            const bundle = readFileSync(join(editor, "dist/extension.js"), "utf8");
            assert.doesNotMatch(bundle, /handleDidShowCompletionItem|handleDidPartiallyAcceptCompletionItem|handleEndOfLifetime/);
        },
    },
    {
        name: "a server that keeps ending is started again after growing pauses, five times; one that was healthy starts anew",
        async run() {
            const esbuild = await import(pathToFileURL(join(editor, "node_modules/esbuild/lib/main.js")));
            const { code } = await esbuild.transform(readFileSync(join(editor, "src/backoff.ts"), "utf8"), { loader: "ts", format: "esm" });
            const { Backoff } = await import(`data:text/javascript,${encodeURIComponent(code)}`);
            const backoff = new Backoff();
            const lives = (ms) => {
                backoff.started(0);
                return backoff.ended(ms);
            };
            const row = [200, 1_000, 5_000, 15_000, 60_000, undefined];
            assert.deepEqual(row.map(() => lives(60_000)), row);
            assert.equal(lives(10), undefined, "it stays down");
            assert.equal(lives(60_001), 200, "it was healthy");
            assert.equal(lives(10), 1_000);
            backoff.forget();
            assert.deepEqual(row.map(() => lives(0)), row);
        },
    },
];
