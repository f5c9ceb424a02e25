// What the package promises: only what every VS Code since 1.91 has.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";

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
];
