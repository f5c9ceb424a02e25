// Writes the server's settings into package.json, from `lacuna config schema`. `cargo test -p lacuna-tests editors` fails when they differ.
//
// Usage: node scripts/settings.mjs PATH-OF-LACUNA

import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";

const lacuna = process.argv[2];
if (!lacuna) {
    console.error("usage: node scripts/settings.mjs PATH-OF-LACUNA");
    process.exit(2);
}
const file = new URL("../package.json", import.meta.url);
const manifest = JSON.parse(readFileSync(file, "utf8"));
const schema = JSON.parse(execFileSync(lacuna, ["config", "schema"], { encoding: "utf8" }));

// Ours stay, the server's are replaced.
const properties = Object.fromEntries(
    Object.entries(manifest.contributes.configuration.properties).filter(([name]) => /^lacuna\.(server|trace)\./.test(name)),
);
for (const [area, { properties: keys }] of Object.entries(schema.properties)) {
    for (const [key, value] of Object.entries(keys)) {
        // Who may set it (crates/config/src/trust.rs): a folder's settings are a stranger's, and replace lists instead of adding to them.
        const { "x-workspace": reach, ...setting } = value;
        if (reach !== "users-file") {
            properties[`lacuna.${area}.${key}`] = { ...setting, scope: reach === "sets" ? "resource" : "machine" };
        }
    }
}
manifest.contributes.configuration.properties = properties;
writeFileSync(file, JSON.stringify(manifest, null, 2) + "\n");
