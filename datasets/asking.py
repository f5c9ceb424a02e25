"""What show_places.py and line_tails.py share: files that nobody here wrote, drawn by a seed, and a language server that is asked about them.

Files come from the packages that are installed on this machine: those of the Python that runs (standard library included), of Node, of
cargo's registry, and the system's C headers. Languages take turns, then packages, then files, so that no large package outweighs the rest.

What is asked for is what an editor asks for as its user types: an *automatic* request (no key was pressed for it), one suggestion, by a
server that lives as long as the run. Three settings differ from the defaults: no deadline, nothing in the background and no telemetry,
because what is measured is what is shown, not how fast this machine is.
"""

import json
import math
import pathlib
import random
import subprocess
import sysconfig

# Languages that the embedded model was trained for, and others.
TRAINED = {
    ".py": "python", ".js": "javascript", ".mjs": "javascript", ".cjs": "javascript", ".jsx": "javascriptreact", ".ts": "typescript",
    ".tsx": "typescriptreact", ".rs": "rust", ".go": "go", ".java": "java", ".c": "c", ".h": "c", ".cc": "cpp", ".cpp": "cpp", ".hpp": "cpp",
}
OTHERS = {
    ".css": "css", ".html": "html", ".yml": "yaml", ".yaml": "yaml", ".toml": "toml", ".md": "markdown", ".sh": "shellscript", ".sql": "sql",
    ".json": "json", ".lua": "lua", ".rb": "ruby", ".xml": "xml", ".tcl": "tcl", ".pl": "perl", ".pm": "perl", ".txt": "plaintext",
}
MIN_BYTES, MAX_BYTES = 500, 60_000
WIDEST = 200  # characters of a line: wider ones are data, or were not written by hand
COMMENT = ("#", "//", "/*", "*", "--", "<!--")


def folders():
    """Where packages are installed."""
    paths = sysconfig.get_paths()
    home = pathlib.Path.home()
    all_folders = [pathlib.Path(paths["purelib"]), pathlib.Path(paths["stdlib"])]
    all_folders += [pathlib.Path(p) for p in ("/usr/lib/node_modules", "/usr/local/lib/node_modules", "/usr/include")]
    all_folders += sorted((home / ".cargo/registry/src").glob("*"))
    return [folder for folder in all_folders if folder.is_dir()]


class Files:
    """Files by language and package. The same folders give the same files in the same order."""

    def __init__(self, roots, languages):
        self.languages = languages
        self.by_language = {}
        for root in roots:
            for path in sorted(root.rglob("*")):
                if path.suffix not in languages or "site-packages" in path.relative_to(root).parts:
                    continue
                if path.is_file() and not path.is_symlink() and MIN_BYTES <= path.stat().st_size <= MAX_BYTES:
                    package = f"{root}/{path.relative_to(root).parts[0]}"
                    self.by_language.setdefault(languages[path.suffix], {}).setdefault(package, []).append(path)

    def draw(self, generator):
        """A file: its name, language id and lines."""
        language = generator.choice(sorted(self.by_language))
        packages = self.by_language[language]
        path = generator.choice(packages[generator.choice(sorted(packages))])
        text = path.read_bytes().decode("utf-8", errors="replace")
        return path, language, text.replace("\r\n", "\n").split("\n")

    def __str__(self):
        counts = {language: sum(map(len, packages.values())) for language, packages in sorted(self.by_language.items())}
        return ", ".join(f"{language} {n}" for language, n in counts.items())


def lines_of_code(lines):
    """Numbers of the lines that are neither blank nor a comment nor wide."""
    return [i for i, line in enumerate(lines) if line.strip() and len(line) <= WIDEST and not line.strip().startswith(COMMENT)]


class Server:
    """A language server over pipes; one request at a time."""

    def __init__(self, binary, settings):
        command = [binary, "lsp", "--no-attach"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.id = 0
        options = {"latency": {"deadline_ms": 0, "background": False}, "telemetry": {"enabled": False}}
        for key, value in settings:
            section, name = key.split(".", 1)
            options.setdefault(section, {})[name] = value
        capabilities = {"general": {"positionEncodings": ["utf-16"]}}
        self.request("initialize", {"processId": None, "rootUri": None, "capabilities": capabilities, "initializationOptions": options})
        self.notify("initialized", {})

    def send(self, message):
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.process.stdin.flush()

    def receive(self):
        length = 0
        while (line := self.process.stdout.readline().strip()) != b"":
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        if length == 0:
            raise SystemExit("the server has ended")
        return json.loads(self.process.stdout.read(length))

    def notify(self, method, params):
        self.send({"method": method, "params": params})

    def request(self, method, params):
        self.id += 1
        self.send({"id": self.id, "method": method, "params": params})
        while True:
            message = self.receive()
            if "method" in message and "id" in message:
                self.send({"id": message["id"], "result": None})
            elif message.get("id") == self.id and "method" not in message:
                if "error" in message:
                    raise SystemExit(f"{method}: {message['error']}")
                return message["result"]

    def suggestion(self, path, language, lines, line, column):
        """What is offered at a place of a text, or nothing. `column` is in characters."""
        uri = f"file:///measured/{self.id}/{path.parent.name}/{path.name}"
        document = {"uri": uri, "languageId": language, "version": 1, "text": "\n".join(lines)}
        self.notify("textDocument/didOpen", {"textDocument": document})
        units = len(lines[line][:column].encode("utf-16-le")) // 2
        automatic = {"triggerKind": 2}
        params = {"textDocument": {"uri": uri}, "position": {"line": line, "character": units}, "context": automatic}
        result = self.request("textDocument/inlineCompletion", params)
        self.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
        items = result.get("items", []) if isinstance(result, dict) else result or []
        if not items:
            return ""
        # What replaces text left of the cursor restates it.
        start = items[0]["range"]["start"]["character"] if items[0].get("range") else units
        return items[0]["insertText"].encode("utf-16-le")[2 * (units - start):].decode("utf-16-le")


def share(n, of):
    """A share with its 95 % interval (Wilson), in words."""
    if of == 0:
        return "0 of 0"
    z, p = 1.96, n / of
    middle, half = p + z * z / (2 * of), z * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    low, high = (max(0.0, (middle + sign * half) / (1 + z * z / of)) for sign in (-1, 1))
    return f"{n} of {of} = {100 * p:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


class Shown:
    """Suggestions to look at: all are noted, some are printed."""

    def __init__(self):
        self.all = []

    def note(self, path, lines, i, column, text, note):
        self.all.append((path, lines[max(0, i - 5):i], lines[i][:column], text, lines[i][column:], lines[i + 1:i + 4], note))

    def print(self, n, seed):
        for path, above, left, text, right, below, note in random.Random(seed).sample(self.all, min(n, len(self.all))):
            print(f"\n=== {path} ({note})")
            print("\n".join(above + [f"{left}⟦{text}⟧{right}"] + below))


def add_arguments(parser):
    parser.add_argument("binary", help="the `lacuna` that is asked")
    parser.add_argument("--files", type=pathlib.Path, nargs="+", default=folders(), metavar="DIR", help="folders of packages [default: what is installed]")
    parser.add_argument("--n", type=int, default=200, help="places of each kind [default: %(default)s]")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--languages", nargs="*", default=[], metavar="ID", help="only these [default: all]")
    parser.add_argument("--set", type=setting, nargs="*", default=[], metavar="KEY=JSON", help="a setting of the server, such as model.beam=1")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print so many of the suggestions, drawn by the seed, with what stands around")


def setting(text):
    key, value = text.split("=", 1)
    return key, json.loads(value)


def only(languages, wanted):
    return {ending: language for ending, language in languages.items() if not wanted or language in wanted}
