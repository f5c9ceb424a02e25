#!/usr/bin/env python3
"""Download the training sources named in sources.toml into a folder.

    fetch.py FOLDER [--only pypi,npm,crates,debian,local-python] [--jobs N] [--pin] [--sample N]

Layout written: FOLDER/<split>/<ecosystem>/<package>/... with the package's files unpacked. A finished package has the
marker FOLDER/.done/<ecosystem>/<package>.json ({name, version, licence, split}); packages with a marker are skipped, so an
interrupted run is simply started again. Only the ordinary package clients are used (pip, npm, cargo, apt-get); nothing
of what is downloaded is ever executed here: pip is asked for wheels only, because a source archive runs its own set-up code.

FOLDER/plan.json tells the miner which names are forbidden and which packages are visited more often.

--sample N takes one package of N of each ecosystem (and every validation package): for a trial of the whole way at a small scale.

--pin writes the versions and licences that were found back into sources.toml (used when the list changes).
A package whose licence is not on the permissive list is deleted again and reported. Standard library only.
"""

import argparse
import concurrent.futures
import functools
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
MAX_FILE = 4 << 20  # larger members are data or bundles, never training text
MAX_TEXT = 256 << 10  # of the kinds below that are no code
MAX_FILES = 60_000  # per package
KEEP = {
    ".py", ".pyi", ".js", ".mjs", ".cjs", ".jsx", ".ts", ".tsx", ".mts", ".cts", ".rs", ".java", ".go",
    ".c", ".h", ".cc", ".cpp", ".cxx", ".hpp", ".hh", ".cs",
}
# What people edit beside code.
TEXT = {".md", ".markdown", ".yaml", ".yml", ".toml", ".json", ".sh", ".bash", ".sql", ".html", ".htm", ".css", ".scss"}
METADATA = {"METADATA", "PKG-INFO", "package.json", "Cargo.toml", "Cargo.toml.orig"}
PERMISSIVE = (
    "mit", "bsd", "apache", "isc", "psf", "python-2.0", "python software foundation", "zlib", "unlicense", "cc0", "0bsd",
    "hpnd", "historical permission", "public domain", "bsl-1.0", "blueoak", "unicode",
)
RESTRICTED = ("gpl", "mpl", "mozilla", "epl", "eclipse", "cddl", "sspl", "busl", "business source", "proprietary", "elastic", "commons clause", "agpl", "artistic")


def is_permissive(licence: str) -> bool:
    """Evaluates an SPDX-like expression: one side of an `OR` is enough, every side of an `AND` must be permissive."""

    def plain(name):
        named = any(re.search(rf"(?<![a-z]){re.escape(p)}", name) for p in PERMISSIVE)
        return named and not any(r in name for r in RESTRICTED)

    def expression(text):
        sides = re.split(r"\s+or\s+|/", text)
        return any(all(plain(name) for name in re.split(r"\s+and\s+", side)) for side in sides)

    text = re.sub(r"\((?![^()]*\b(?:and|or)\b)[^()]*\)", " ", licence.lower())
    while (inner := re.search(r"\(([^()]*)\)", text)) is not None:
        text = text[: inner.start()] + ("mit" if expression(inner.group(1)) else "gpl") + text[inner.end() :]
    return expression(text)


def run(command, cwd=None):
    done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900)
    if done.returncode != 0:
        tail = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise RuntimeError(f"{command[0]}: {' | '.join(tail)}")
    return done.stdout


def wanted(name: str, size: int) -> bool:
    path = pathlib.PurePosixPath(name)
    suffix = path.suffix.lower()
    if suffix in TEXT and path.name not in METADATA:
        return size <= MAX_TEXT
    return size <= MAX_FILE and (suffix in KEEP or path.name in METADATA)


def target(root: pathlib.Path, name: str):
    """Where a member goes, or None if its name is absolute, climbs out of the folder or is oddly long."""
    parts = pathlib.PurePosixPath(name.replace("\\", "/")).parts
    if not parts or parts[0] == "/" or ".." in parts or len(name) > 400 or any(":" in p or "\0" in p for p in parts):
        return None
    return root.joinpath(*parts)


def unpack(archive: pathlib.Path, root: pathlib.Path):
    """Write the source files of a zip or tar archive below root; links, devices and large members are skipped."""
    count = 0

    def put(name, size, reader):
        nonlocal count
        path = target(root, name)
        if path is None or not wanted(name, size) or count >= MAX_FILES:
            return
        count += 1
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(reader())

    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as z:
            for info in z.infolist():
                if not info.is_dir():
                    put(info.filename, info.file_size, lambda i=info: z.read(i))
    else:
        with tarfile.open(archive) as t:
            for member in t:
                if member.isfile():
                    put(member.name, member.size, lambda m=member: t.extractfile(m).read())
    return count


def python_licence(root: pathlib.Path):
    for path in sorted(root.glob("*.dist-info/METADATA")) + sorted(root.glob("*/PKG-INFO")):
        text = path.read_text(errors="replace").split("\n\n", 1)[0]
        version = re.search(r"^Version: (.+)$", text, re.M)
        expression = re.search(r"^License-Expression: (.+)$", text, re.M)
        licence = expression or re.search(r"^License: (.{1,120})$", text, re.M)
        classifiers = re.findall(r"^Classifier: License :: (?:OSI Approved :: )?(.+)$", text, re.M)
        found = licence.group(1).strip() if licence else ""
        if not expression and classifiers and (not found or not is_permissive(found)):
            found = " AND ".join(classifiers)
        return (version.group(1).strip() if version else "?"), found
    return "?", ""


def fetch_pypi(entry, root):
    name = entry["name"] + (f"=={entry['version']}" if entry.get("version") else "")
    with tempfile.TemporaryDirectory() as scratch:
        base = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--disable-pip-version-check", "-d", scratch]
        run(base + ["--only-binary=:all:", name])
        for archive in pathlib.Path(scratch).iterdir():
            unpack(archive, root)
    return python_licence(root)


def fetch_npm(entry, root):
    name = entry["name"] + (f"@{entry['version']}" if entry.get("version") else "")
    with tempfile.TemporaryDirectory() as scratch:
        run(["npm", "pack", "--silent", "--ignore-scripts", name], cwd=scratch)
        for archive in pathlib.Path(scratch).glob("*.tgz"):
            unpack(archive, root)
    for path in sorted(root.glob("*/package.json")):
        meta = json.loads(path.read_text(errors="replace"))
        licence = meta.get("license") or meta.get("licenses") or ""
        if isinstance(licence, list):
            licence = " OR ".join(x.get("type", "") if isinstance(x, dict) else str(x) for x in licence)
        if isinstance(licence, dict):
            licence = licence.get("type", "")
        return meta.get("version", "?"), licence
    return "?", ""


def apt_options(folder: pathlib.Path):
    """Options with which apt-get knows source packages, also where only binary ones are set up: lists of its own, below folder."""
    apt = folder.resolve() / ".apt"
    (apt / "lists").mkdir(parents=True, exist_ok=True)
    (apt / "parts").mkdir(exist_ok=True)
    system = pathlib.Path("/etc/apt")
    for old in (apt / "parts").iterdir():
        old.unlink()
    for path in [*sorted((system / "sources.list.d").glob("*.sources")), *sorted((system / "sources.list.d").glob("*.list")), system / "sources.list"]:
        if path.is_file():
            text = re.sub(r"(?m)^(Types:\s*)deb\s*$", r"\1deb-src", path.read_text())
            text = re.sub(r"(?m)^deb\s", "deb-src ", text)
            (apt / "parts" / path.name).write_text(text)
    options = [
        "-o", "Dir::Etc::sourcelist=/dev/null", "-o", f"Dir::Etc::sourceparts={apt / 'parts'}", "-o", f"Dir::State::lists={apt / 'lists'}",
        "-o", "APT::Sandbox::User=root",
    ]
    if not any((apt / "lists").glob("*Sources*")):
        run(["apt-get", "-qq", *options, "update"])
    return options


def fetch_debian(entry, root, options=()):
    name = entry["name"] + (f"={entry['version']}" if entry.get("version") else "")
    with tempfile.TemporaryDirectory() as scratch:
        os.chmod(scratch, 0o755)
        run(["apt-get", "-qq", *options, "source", "--download-only", "--tar-only", name], cwd=scratch)
        version = entry.get("version", "")
        for archive in sorted(pathlib.Path(scratch).iterdir()):
            if archive.name.endswith(".dsc"):
                found = re.search(r"^Version: (.+)$", archive.read_text(errors="replace"), re.M)
                version = found.group(1).strip() if found else version
            elif ".orig" in archive.name and ".tar." in archive.name and not archive.name.endswith(".asc"):
                unpack(archive, root)
    # The licence of a Debian source package is stated by hand in sources.toml: its copyright file lists many.
    return version, entry.get("licence", "")


def fetch_local_python(entry, root):
    """The standard library of the running interpreter's release, from the interpreter itself."""
    import sysconfig

    library = pathlib.Path(sysconfig.get_path("stdlib"))
    for path in library.rglob("*.py"):
        relative = path.relative_to(library)
        if "site-packages" in relative.parts or path.stat().st_size > MAX_FILE:
            continue
        to = root / relative
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, to)
    return sys.version.split()[0], "PSF-2.0"


def crate_name(entry, index):
    version = f"={entry['version']}" if entry.get("version") else "*"
    return f'd{index} = {{ package = "{entry["name"]}", version = "{version}", default-features = false }}'


def fetch_crates(entries, folder, finish):
    """All crates through one `cargo vendor` of a scratch manifest. Only named crates are kept unless `tree` is set."""
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        (scratch / "src").mkdir()
        (scratch / "src/lib.rs").write_text("")
        lines = [crate_name(e, i) for i, e in enumerate(entries)]
        (scratch / "Cargo.toml").write_text(
            '[package]\nname = "scratch"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\n' + "\n".join(lines) + "\n[workspace]\n"
        )
        run(["cargo", "vendor", "-q", "--versioned-dirs", "vendor"], cwd=scratch)
        by_name = {}
        for entry in entries:
            by_name.setdefault(entry["name"], []).append(entry)
        for path in sorted((scratch / "vendor").iterdir()):
            try:
                package = tomllib.loads((path / "Cargo.toml").read_text(errors="replace"))["package"]
            except (KeyError, tomllib.TOMLDecodeError, OSError):
                continue
            listed = by_name.get(package["name"], [])
            match = next((e for e in listed if e.get("version") in (None, package["version"])), None)
            if match is None:
                continue
            root = folder / match["split"] / "crates" / package["name"]
            if root.exists():
                shutil.rmtree(root)
            for source in path.rglob("*"):
                relative = str(source.relative_to(path))
                if source.is_file() and not source.is_symlink() and wanted(relative, source.stat().st_size):
                    to = root / relative
                    to.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source, to)
            finish(match, root, package["version"], str(package.get("license", "")))


def sampled(entries, n):
    """One of n packages of each ecosystem, evenly spread, and all that are for validation or marked as the only source of a language."""
    if n < 1:
        sys.exit("--sample: 1 or more")
    counts, kept = {}, []
    for entry in entries:
        number = counts[entry["ecosystem"]] = counts.get(entry["ecosystem"], -1) + 1
        if number % n == 0 or entry["split"] == "validation" or entry.get("rare"):
            kept.append(entry)
    return kept


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--sources", type=pathlib.Path, default=HERE / "sources.toml")
    parser.add_argument("--only", default="")
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--pin", action="store_true")
    parser.add_argument("--sample", type=int, default=1, metavar="N")
    args = parser.parse_args()
    sources = tomllib.loads(args.sources.read_text())
    forbidden = set(sources["forbidden"])
    only = {x for x in args.only.split(",") if x}
    entries = []
    for entry in sources["package"]:
        if entry["name"].split("/")[-1].lower() in forbidden:
            sys.exit(f"{entry['name']}: this package is part of a benchmark and must not be trained on; remove it from {args.sources}")
        if not only or entry["ecosystem"] in only:
            entries.append({"split": "train", **entry})
    entries = sampled(entries, args.sample)
    done_dir = args.folder / ".done"
    found, failed = {}, []

    def marker(entry):
        return done_dir / entry["ecosystem"] / (entry["name"].replace("/", "__") + ".json")

    def finish(entry, root, version, licence):
        stated = licence or entry.get("licence", "")
        if not is_permissive(stated):
            shutil.rmtree(root, ignore_errors=True)
            failed.append(f"{entry['ecosystem']} {entry['name']} {version}: licence {stated!r} is not on the permissive list")
            return
        record = {"name": entry["name"], "ecosystem": entry["ecosystem"], "version": version, "licence": stated, "split": entry["split"]}
        marker(entry).parent.mkdir(parents=True, exist_ok=True)
        marker(entry).write_text(json.dumps(record))
        found[entry["ecosystem"], entry["name"]] = record

    options = apt_options(args.folder) if any(e["ecosystem"] == "debian" for e in entries) else []
    debian = functools.partial(fetch_debian, options=options)
    clients = {"pypi": fetch_pypi, "npm": fetch_npm, "debian": debian, "local-python": fetch_local_python}

    def one(entry):
        root = args.folder / entry["split"] / entry["ecosystem"] / entry["name"].replace("/", "__")
        partial = root.with_name(root.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            version, licence = clients[entry["ecosystem"]](entry, partial)
            shutil.rmtree(root, ignore_errors=True)
            partial.rename(root)
            finish(entry, root, version, licence)
        except Exception as error:  # one bad package must not end the run; it is reported below
            shutil.rmtree(partial, ignore_errors=True)
            failed.append(f"{entry['ecosystem']} {entry['name']}: {error}")

    pending = []
    for entry in entries:
        if marker(entry).exists():
            found[entry["ecosystem"], entry["name"]] = json.loads(marker(entry).read_text())
        else:
            pending.append(entry)
    crates = [e for e in pending if e["ecosystem"] == "crates"]
    others = [e for e in pending if e["ecosystem"] != "crates"]
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        jobs = [pool.submit(one, e) for e in others]
        if crates:
            try:
                fetch_crates(crates, args.folder, finish)
            except RuntimeError as error:
                failed.append(f"crates: {error}")
        for i, job in enumerate(concurrent.futures.as_completed(jobs), 1):
            job.result()
            if i % 20 == 0 or i == len(jobs):
                print(f"{i}/{len(jobs)} packages", file=sys.stderr)
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    if args.pin:
        pin(args.sources, sources, found, {(e["ecosystem"], e["name"]) for e in entries})
    emphasis = {f"{e['ecosystem']}/{e['name']}": e["emphasis"] for e in sources["package"] if "emphasis" in e}
    (args.folder / "plan.json").write_text(json.dumps({"forbidden": sorted(forbidden), "emphasis": emphasis}, indent=1))
    print(f"{len(found)} packages present, {len(failed)} failed", file=sys.stderr)
    sys.exit(1 if failed and not args.pin else 0)


def pin(path, sources, found, considered):
    """Rewrite sources.toml with versions and licences; packages that could not be had are dropped from the list."""
    head = path.read_text().split("[[package]]")[0].rstrip()
    packages = []
    for entry in sources["package"]:
        key = entry["ecosystem"], entry["name"]
        if key in considered:
            if key not in found:
                continue
            entry = {**entry, **found[key], "split": entry.get("split", "train")}
        packages.append(entry)
    order = ["local-python", "pypi", "npm", "crates", "debian"]
    packages.sort(key=lambda e: (order.index(e["ecosystem"]), e["name"].lower()))
    lines = [head, ""]
    for e in packages:
        lines.append("[[package]]")
        for field in ("ecosystem", "name", "version", "licence", "split"):
            if e.get(field):
                lines.append(f"{field} = {json.dumps(e[field], ensure_ascii=False)}")
        if e.get("emphasis", 1) != 1:
            lines.append(f"emphasis = {e['emphasis']}")
        if e.get("rare"):
            lines.append("rare = true")
        lines.append("")
    temporary = path.with_suffix(".new")
    temporary.write_text("\n".join(lines))
    temporary.rename(path)


if __name__ == "__main__":
    main()
