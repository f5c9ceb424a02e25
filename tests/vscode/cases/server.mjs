// The server dies, hangs, is missing, or gets other settings.

import assert from "node:assert/strict";
import { account, atRaise, raised } from "../samples.mjs";
import { until } from "../workbench.mjs";

export const cases = [
    {
        name: "a server killed in the middle of a request comes back; no message, nothing lost",
        async run(bench) {
            bench.write("killed.py", account);
            await bench.open("killed.py", ...atRaise);
            await bench.type("u");
            await bench.awaitGhost();
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
            await bench.page.goto(`${bench.origin}/?folder=${bench.workspace}`);
            const message = await until("a message", async () => (await bench.messages()).find((text) => text.includes("/nowhere/lacuna")));
            assert.match(message, /lacuna\.server\.path/);
            await bench.page.screenshot({ path: picture });
            assert.equal((await bench.messages()).length, 1);
            bench.configure({});
            await bench.load();
            assert.deepEqual(await bench.messages(), []);
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
        name: "a workspace of two folders: both are completed",
        async run(bench) {
            bench.write("one/a.py", account);
            bench.write("two/b.py", account);
            bench.write("both.code-workspace", JSON.stringify({ folders: [{ path: "one" }, { path: "two" }] }));
            await bench.load(`workspace=${bench.workspace}/both.code-workspace`);
            for (const name of ["one/a.py", "two/b.py"]) {
                await bench.open(name, ...atRaise);
                await bench.type("u");
                assert.ok((await bench.awaitGhost()).length > 0);
                await bench.press("Escape");
                await bench.command("File: Revert File");
            }
        },
    },
];
