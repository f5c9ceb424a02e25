// vscode-languageserver-protocol in Node as a client. A line a case, and `N passed, N failed`; test_node.py runs it.
//
// Usage: node client.mjs PATH-OF-LACUNA HOME

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import process from "node:process";
import {
    CancellationTokenSource,
    DidChangeTextDocumentNotification,
    DidCloseTextDocumentNotification,
    DidOpenTextDocumentNotification,
    DidSaveTextDocumentNotification,
    ExecuteCommandRequest,
    ExitNotification,
    InitializedNotification,
    InitializeRequest,
    InlineCompletionRequest,
    InlineCompletionTriggerKind,
    LSPErrorCodes,
    ShutdownRequest,
    StreamMessageReader,
    StreamMessageWriter,
    createProtocolConnection,
} from "vscode-languageserver-protocol/node";

const [lacuna, home] = process.argv.slice(2);
const uri = "file:///project/account.py";
const account = readFileSync(new URL("../samples/account.py", import.meta.url), "utf8");
const position = { line: 9, character: 21 };

/** A server of its own for each case. */
async function connect() {
    const env = { PATH: process.env.PATH, HOME: home, XDG_DATA_HOME: `${home}/data`, XDG_CONFIG_HOME: `${home}/config` };
    const child = spawn(lacuna, ["lsp"], { cwd: home, env, stdio: ["pipe", "pipe", "inherit"] });
    const ended = new Promise((resolve) => child.once("exit", (code, signal) => resolve(code ?? signal)));
    const connection = createProtocolConnection(new StreamMessageReader(child.stdout), new StreamMessageWriter(child.stdin));
    const faults = [];
    connection.onError(([error]) => faults.push(String(error)));
    connection.onUnhandledNotification((message) => faults.push(`unexpected ${message.method}`));
    connection.listen();
    const announced = await connection.sendRequest(InitializeRequest.type, {
        processId: process.pid,
        rootUri: null,
        capabilities: { textDocument: { inlineCompletion: { dynamicRegistration: true } }, general: { positionEncodings: ["utf-16"] } },
        workspaceFolders: null,
        initializationOptions: { lacuna: { latency: { deadline_ms: 0 }, show: { min_confidence: 0 } } },
    });
    await connection.sendNotification(InitializedNotification.type, {});
    await connection.sendNotification(DidOpenTextDocumentNotification.type, {
        textDocument: { uri, languageId: "python", version: 1, text: account },
    });
    return { connection, announced, child, ended, faults };
}

async function goodbye({ connection, ended, faults }) {
    await connection.sendRequest(ShutdownRequest.type);
    await connection.sendNotification(ExitNotification.type);
    assert.equal(await ended, 0);
    assert.deepEqual(faults, []);
    connection.dispose();
}

const ask = (connection, at = position, triggerKind = InlineCompletionTriggerKind.Automatic, token = undefined) =>
    connection.sendRequest(InlineCompletionRequest.type, { textDocument: { uri }, position: at, context: { triggerKind } }, token);

const cases = {
    async "an item has text, range and a command that the server announced"() {
        const server = await connect();
        const { items } = await ask(server.connection);
        assert.equal(items.length, 1);
        assert.match(items[0].insertText, /^ValueError\(/);
        assert.deepEqual(items[0].range, { start: { line: 9, character: 18 }, end: position });
        assert.ok(server.announced.capabilities.executeCommandProvider.commands.includes(items[0].command.command));
        assert.equal(await server.connection.sendRequest(ExecuteCommandRequest.type, items[0].command), null);
        await goodbye(server);
    },
    async "each superseded request is cancelled by its token and rejected as such"() {
        const server = await connect();
        const pending = [];
        let source;
        for (let i = 0; i < 20; i++) {
            source?.cancel();
            source = new CancellationTokenSource();
            const at = { line: 9, character: 21 + i };
            await server.connection.sendNotification(DidChangeTextDocumentNotification.type, {
                textDocument: { uri, version: i + 2 },
                contentChanges: [{ range: { start: at, end: at }, text: "ueError(amount)     "[i] }],
            });
            const reply = ask(server.connection, { line: 9, character: 22 + i }, InlineCompletionTriggerKind.Automatic, source.token);
            // It may be rejected before all are looked at below, which Node would take for an error that nobody handles.
            reply.catch(() => {});
            pending.push(reply);
        }
        const results = await Promise.allSettled(pending);
        for (const { status, reason } of results.slice(0, -1)) {
            assert.ok(status === "fulfilled" || reason.code === LSPErrorCodes.RequestCancelled, String(reason));
        }
        assert.equal(results.at(-1).status, "fulfilled");
        await goodbye(server);
    },
    async "asked by the user there are several"() {
        const server = await connect();
        const text = "import os\n\ndef read(path):\n    \n";
        await server.connection.sendNotification(DidChangeTextDocumentNotification.type, {
            textDocument: { uri, version: 2 },
            contentChanges: [{ text }],
        });
        const { items } = await ask(server.connection, { line: 3, character: 4 }, InlineCompletionTriggerKind.Invoked);
        assert.ok(items.length > 1);
        assert.equal(new Set(items.map((item) => item.insertText)).size, items.length);
        await goodbye(server);
    },
    async "saving and closing are taken in silence; what is closed is an error"() {
        const server = await connect();
        await server.connection.sendNotification(DidSaveTextDocumentNotification.type, { textDocument: { uri } });
        await server.connection.sendNotification(DidCloseTextDocumentNotification.type, { textDocument: { uri } });
        await assert.rejects(ask(server.connection), { code: -32602 });
        await goodbye(server);
    },
    async "a server that is killed in the middle of a request rejects it at once"() {
        const { connection, child, ended } = await connect();
        // Stopped, it cannot answer what is asked next.
        child.kill("SIGSTOP");
        const closed = new Promise((resolve) => connection.onClose(resolve));
        const rejected = assert.rejects(Promise.race([ask(connection), closed.then(() => Promise.reject(new Error("closed")))]));
        child.kill("SIGKILL");
        await rejected;
        assert.equal(await ended, "SIGKILL");
        connection.dispose();
    },
};

let [passed, failed] = [0, 0];
for (const [name, run] of Object.entries(cases)) {
    const start = Date.now();
    try {
        await run();
        passed += 1;
        console.log(`ok    ${name} (${Date.now() - start} ms)`);
    } catch (error) {
        failed += 1;
        console.log(`FAIL  ${name} (${Date.now() - start} ms)\n${error.stack}`);
    }
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);
