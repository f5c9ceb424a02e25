// The server dies, hangs, is missing, or gets other settings.

import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { account, atRaise, raised } from "../samples.mjs";
import { until } from "../workbench.mjs";

/** A program for `lacuna.server.path`. */
function program(bench, name, script) {
    const path = join(bench.dir, name);
    writeFileSync(path, `#!/bin/sh\n${script}\n`);
    chmodSync(path, 0o755);
    return path;
}

/** A value that none of the settings has: what `schema` allows, but for `victim` where it is free. */
function another(schema, victim) {
    if (schema.enum) {
        return schema.enum.find((value) => value !== schema.default);
    }
    const type = [schema.type].flat()[0];
    const made = { boolean: () => !schema.default, string: () => victim, array: () => [victim], object: () => ({ [victim]: victim }) };
    return (made[type] ?? (() => Math.min((schema.default ?? 0) + 1, schema.maximum ?? Infinity)))();
}

/**
 * Every setting that may do harm, with another value than it has: a program that leaves a trace as the server, a folder that must stay
 * empty wherever a path may stand.
 */
function hostile(bench, name) {
    const manifest = JSON.parse(readFileSync(join(process.env.LACUNA_ROOT, "editors/vscode/package.json"), "utf8"));
    const [victim, ran] = [join(bench.dir, `victim-of-${name}`), join(bench.dir, `ran-for-${name}`)];
    mkdirSync(victim);
    const harmful = Object.entries(manifest.contributes.configuration.properties).filter(([, { scope }]) => scope === "machine");
    assert.ok(harmful.length > 20, "the harmful are known");
    const settings = Object.fromEntries(harmful.map(([key, schema]) => [key, another(schema, victim)]));
    settings["lacuna.server.path"] = program(bench, name, `touch ${ran}\nexec ${process.env.LACUNA_BIN} "$@"`);
    return { settings, victim, ran };
}

/** Loads the workbench, again if it has not seen the settings that were written just before, until a message has this text. */
async function toldOnLoading(bench, text) {
    let loaded = 0;
    return until("a message", async () => {
        if (Date.now() - loaded > 20_000) {
            await bench.page.goto(`${bench.origin}/?folder=${bench.workspace}`);
            loaded = Date.now();
        }
        return (await bench.messages()).find((message) => message.includes(text));
    });
}

export const cases = [
    {
        name: "a server killed in the middle of a request comes back; no message, nothing lost",
        async run(bench) {
            bench.write("killed.py", account);
            await bench.open("killed.py", ...atRaise);
            await bench.suggestion("u");
            const pid = bench.serverPid();
            // Stopped, it cannot answer what is asked next.
            process.kill(pid, "SIGSTOP");
            await bench.type("9");
            await bench.awaitNoGhost();
            process.kill(pid, "SIGKILL");
            await until("a new server", () => {
                const now = bench.serverPid();
                return now !== undefined && now !== pid;
            });
            await bench.running();
            await bench.press("Backspace");
            // Nothing unasked behind a deletion.
            await bench.command("Lacuna: Suggest Now");
            const ghost = await bench.awaitGhost();
            await bench.press("Tab");
            await bench.awaitNoGhost();
            await bench.save("killed.py", raised(`u${ghost}`));
            assert.deepEqual(await bench.messages(), []);
        },
    },
    {
        name: "a server that is not there is told once, with a way out, and taken up when it is",
        async run(bench, picture) {
            bench.configure({ "lacuna.server.path": "/nowhere/lacuna" });
            const message = await toldOnLoading(bench, "/nowhere/lacuna");
            assert.match(message, /lacuna\.server\.path/);
            await bench.page.screenshot({ path: picture });
            assert.equal((await bench.messages()).length, 1);
            bench.configure({});
            await bench.load();
            assert.deepEqual(await bench.messages(), []);
        },
    },
    {
        name: "a model that cannot be loaded is told at once, in the server's words",
        async run(bench) {
            bench.configure({ "lacuna.model.path": "/nowhere/model" });
            const message = await toldOnLoading(bench, "/nowhere/model");
            assert.match(message, /does not exist/);
            assert.equal((await bench.messages()).length, 1);
            bench.write("modelless.py", account);
            await bench.open("modelless.py", ...atRaise);
            assert.match(await bench.why("not-running"), /nowhere.model.*does not exist/);
            bench.configure({});
        },
    },
    {
        name: "an older server, which knows nothing of reasons and pauses: ghost text all the same, and it is told",
        async run(bench) {
            const older = join(process.env.LACUNA_ROOT, "tests/older_server.py");
            bench.configure({ "lacuna.server.path": program(bench, "older", `exec python3 ${older} ${process.env.LACUNA_BIN} "$@"`) });
            await bench.load();
            bench.write("older.py", account);
            await bench.open("older.py", ...atRaise);
            const ghost = await bench.suggestion("u");
            await bench.press("Tab");
            await bench.awaitNoGhost();
            await bench.save("older.py", raised(`u${ghost}`));
            assert.match(await bench.why("older-server"), /older than this extension/);
            await bench.clearMessages();
            bench.configure({});
        },
    },
    {
        name: "settings reach the server",
        async run(bench) {
            bench.configure({ "lacuna.show.disabled_languages": ["python"] });
            await bench.load();
            bench.write("off.py", account);
            await bench.open("off.py", ...atRaise);
            await bench.type("u");
            await bench.why("language-off");
            assert.equal(await bench.ghost(), undefined);
            bench.configure({});
        },
    },
    {
        name: "a folder's settings change what is shown in it and nothing else; what they may not is told once",
        async run(bench) {
            const { settings, victim, ran } = hostile(bench, "theirs");
            const harmless = { "lacuna.show.disabled_languages": ["javascript"] };
            bench.write(".vscode/settings.json", JSON.stringify({ ...settings, ...harmless }));
            const toml = [
                `[model]\npath = "/nowhere/model"`,
                `[telemetry]\ndir = "${victim}"`,
                `[http]\nlisten = "0.0.0.0:0"\ntoken_file = "${victim}/token"`,
                `[latency]\nthreads = 1`,
                `[trust]\nfolders = ["/*"]`,
                `[experiment.e.variant.control]\n[experiment.e.variant.b.settings]\n"model.path" = "/nowhere/model"`,
            ];
            bench.write("lacuna.toml", `${toml.join("\n")}\n`);
            bench.write(".lacunaignore", "hidden.py\n");
            const before = bench.log().length;
            try {
                await bench.load();
                bench.write("theirs.py", account);
                await bench.open("theirs.py", ...atRaise);
                const ghost = await bench.suggestion("u");
                await bench.press("Tab");
                await bench.awaitNoGhost();
                await bench.save("theirs.py", raised(`u${ghost}`));
                // What they may.
                bench.write("hidden.py", account);
                await bench.open("hidden.py", ...atRaise);
                await bench.why("ignored-path");
                bench.write("theirs.js", "const total = \n");
                await bench.open("theirs.js", 1, 15);
                await bench.why("language-off");
                // What they may not.
                const log = bench.log().slice(before);
                assert.equal(log.match(/\[warning\] lacuna: .* is not trusted/g)?.length, 1, log);
                for (const name of ["model.path", "telemetry.dir", "http.listen", "experiment.e"]) {
                    assert.match(log, new RegExp(name.replace(".", "\\.")), name);
                }
                assert.equal(existsSync(ran), false, "their program ran");
                assert.deepEqual(readdirSync(victim), []);
                assert.doesNotMatch(log, /nowhere.model.*does not exist/);
            } finally {
                for (const name of [".vscode", "lacuna.toml", ".lacunaignore"]) {
                    rmSync(join(bench.workspace, name), { recursive: true, force: true });
                }
                await bench.load();
            }
        },
    },
    {
        name: "nor do a workspace file's, or those of a folder inside it",
        async run(bench) {
            const { settings, victim, ran } = hostile(bench, "workspace");
            const harmless = { "lacuna.show.disabled_languages": ["javascript"] };
            // Settings for one language are another place to write them.
            const nested = { ...settings, "[python]": settings, "[javascript]": settings };
            bench.write("outer/inner/.vscode/settings.json", JSON.stringify(nested));
            bench.write("outer/.vscode/settings.json", JSON.stringify(nested));
            bench.write("outer/inner/lacuna.toml", `[telemetry]\ndir = "${victim}"\n[model]\npath = "/nowhere/model"\n`);
            bench.write("outer/inner/a.py", account);
            bench.write("outer/b.js", "const total = \n");
            const folders = [{ path: "outer" }, { path: "outer/inner" }];
            bench.write("theirs.code-workspace", JSON.stringify({ folders, settings: { ...nested, ...harmless } }));
            const before = bench.log().length;
            try {
                await bench.load(`workspace=${bench.workspace}/theirs.code-workspace`);
                await bench.open("outer/inner/a.py", ...atRaise);
                assert.ok((await bench.suggestion("u")).length > 0);
                await bench.press("Escape");
                await bench.command("File: Revert File");
                // What they may.
                await bench.open("outer/b.js", 1, 15);
                await bench.why("language-off");
                // What they may not.
                assert.equal(existsSync(ran), false, "their program ran");
                assert.deepEqual(readdirSync(victim), []);
                assert.doesNotMatch(bench.log().slice(before), /nowhere.model.*does not exist/);
            } finally {
                for (const name of ["outer", "theirs.code-workspace"]) {
                    rmSync(join(bench.workspace, name), { recursive: true, force: true });
                }
                await bench.load();
            }
        },
    },
    {
        name: "a workspace of two folders: both are completed",
        async run(bench) {
            bench.write("one/a.py", account);
            bench.write("two/b.py", account);
            bench.write("both.code-workspace", JSON.stringify({ folders: [{ path: "one" }, { path: "two" }] }));
            await bench.load(`workspace=${bench.workspace}/both.code-workspace`);
            for (const name of ["one/a.py", "two/b.py"]) {
                await bench.open(name, ...atRaise);
                assert.ok((await bench.suggestion("u")).length > 0);
                await bench.press("Escape");
                await bench.command("File: Revert File");
            }
        },
    },
    {
        name: "an extension host that is killed in the middle of a request takes the server with it",
        async run(bench) {
            bench.write("host.py", account);
            await bench.load();
            await bench.open("host.py", ...atRaise);
            await bench.suggestion("u");
            const pid = bench.serverPid();
            const host = Number(/^PPid:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]);
            // Stopped, the server finds request and end at the same time when it goes on.
            process.kill(pid, "SIGSTOP");
            await bench.type("9");
            process.kill(host, "SIGKILL");
            process.kill(pid, "SIGCONT");
            await until("end of the server", () => bench.serverPid() !== pid);
            await bench.load();
            await bench.open("host.py", ...atRaise);
            await bench.suggestion("u");
        },
    },
];
