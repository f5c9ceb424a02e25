// Makes the .vsix. With a binary it goes into the package, which is then for one platform; without, `lacuna` is taken from PATH.
//
// Usage: node scripts/package.mjs OUT.vsix [PATH-OF-LACUNA]

import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const [out, lacuna] = process.argv.slice(2);
if (!out) {
    console.error("usage: node scripts/package.mjs OUT.vsix [PATH-OF-LACUNA]");
    process.exit(2);
}
const here = dirname(dirname(fileURLToPath(import.meta.url)));
const run = (program, ...args) => execFileSync(process.execPath, [join(here, "node_modules", program), ...args], { cwd: here, stdio: "inherit" });

rmSync(join(here, "server"), { recursive: true, force: true });
copyFileSync(join(here, "../../LICENSE-MIT"), join(here, "LICENSE"));
const target = [];
if (lacuna) {
    const name = process.platform === "win32" ? "lacuna.exe" : "lacuna";
    mkdirSync(join(here, "server"));
    copyFileSync(lacuna, join(here, "server", name));
    chmodSync(join(here, "server", name), 0o755);
    target.push("--target", `${process.platform}-${process.arch}`);
}
execFileSync("npm", ["run", "--silent", "build"], { cwd: here, stdio: "inherit" });
run("@vscode/vsce/vsce", "package", "--no-dependencies", "--allow-missing-repository", ...target, "-o", resolve(out));
rmSync(join(here, "server"), { recursive: true, force: true });
