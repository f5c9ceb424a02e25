// Runs every case in one VS Code and prints `N passed, N failed`. Start with tests/vscode/run; an argument picks cases by name.

import { join } from "node:path";
import { Workbench } from "./workbench.mjs";
import { cases as files } from "./cases/files.mjs";
import { cases as quiet } from "./cases/quiet.mjs";
import { cases as server } from "./cases/server.mjs";
import { cases as typing } from "./cases/typing.mjs";
import { cases as manifest } from "./cases/manifest.mjs";

const { CODE_SERVER: codeServer, LACUNA_OUT: out } = process.env;
const only = process.argv[2];
// Cases that restart the server come last.
const cases = [...manifest, ...typing, ...files, ...quiet, ...server].filter(({ name }) => !only || name.includes(only));

let [passed, failed] = [0, 0];
const began = Date.now();
const bench = await Workbench.start(join(out, "lacuna.vsix"), codeServer);
try {
    await bench.load();
    console.log(`      VS Code is ready (${((Date.now() - began) / 1000).toFixed(1)} s)`);
    for (const { name, run } of cases) {
        const start = Date.now();
        const picture = join(out, `${name.replaceAll(/[^a-z0-9]+/gi, "-")}.png`);
        try {
            await run(bench, picture);
            passed += 1;
            console.log(`ok    ${name} (${Date.now() - start} ms)`);
        } catch (error) {
            failed += 1;
            console.log(`FAIL  ${name} (${Date.now() - start} ms)\n${error.stack}\nlog:\n${bench.log().split("\n").slice(-20).join("\n")}`);
            await bench.page.screenshot({ path: picture.replace(".png", "-failed.png") }).catch(() => undefined);
            // The next case shall not suffer for this one.
            await bench.page.keyboard.press("Escape").catch(() => undefined);
            await bench.command("Lacuna: Resume").catch(() => undefined);
        }
    }
} finally {
    await bench.stop();
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
