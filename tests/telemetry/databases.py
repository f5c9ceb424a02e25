"""Three databases behind one face, filled and asked by the SQL of docs/telemetry.md alone."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import duckdb
import psycopg
from chdb.session import Session
from conftest import ROOT


def sections(kind):
    """The text between `<!-- kind:NAME -->` marks, by name; the fences around the SQL left out."""
    text = (ROOT / "docs" / "telemetry.md").read_text()
    found = re.findall(rf"<!-- {kind}:(\w+) -->\n```sql\n(.*?)```\n(?=<!-- )", text, re.S)
    assert found, kind
    return dict(found)


def named(text):
    """Statements by the name in the comment before each."""
    parts = re.split(r"^-- (\w+).*\n", text, flags=re.M)[1:]
    return {name: statement.strip().rstrip(";") for name, statement in zip(parts[::2], parts[1::2])}


def shared_statements():
    return named(sections("sql")["begin"])


class Database:
    """`parquet` and `csv` hold the same rows."""

    name = None

    def __init__(self, parquet, csv):
        self.parquet, self.csv = parquet, csv
        self.load = sections("load")[self.name].replace("rows.parquet", str(parquet))

    def statements(self):
        return named(sections("dialect")[self.name])


class DuckDb(Database):
    name = "duckdb"

    def __enter__(self):
        self.connection = duckdb.connect()
        self.run(self.load)
        return self

    def __exit__(self, *_):
        self.connection.close()

    def run(self, sql):
        self.connection.execute(sql)

    def rows(self, sql):
        return self.connection.execute(sql).fetchall()


class ClickHouse(Database):
    """ClickHouse itself, in this process."""

    name = "clickhouse"

    def __enter__(self):
        self.session = Session()
        self.run(self.load)
        return self

    def __exit__(self, *_):
        self.session.close()

    def run(self, sql):
        self.session.query(sql)

    def rows(self, sql):
        lines = self.session.query(sql, "JSONCompactEachRow").bytes().decode().splitlines()
        # 64-bit numbers come as text.
        number = lambda value: int(value) if isinstance(value, str) and value.isdigit() else value  # noqa: E731
        return [tuple(map(number, json.loads(line))) for line in lines]


class Postgres(Database):
    """A server of its own on a socket in a folder of its own. It will not run as root: then its own user has it."""

    name = "postgres"

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="lacuna-postgres-"))
        self.user = "postgres" if os.geteuid() == 0 else None
        if self.user:
            shutil.chown(self.folder, self.user)
        data = self.folder / "data"
        self.command("initdb", "-D", data, "-U", "lacuna", "-A", "trust", "-E", "UTF8", "--no-sync")
        self.server = self.start("postgres", "-D", data, "-k", self.folder, "-c", "listen_addresses=", "-c", "fsync=off")
        self.connection = self.connect()
        create, copy = [statement.strip() for statement in self.load.split(";\n") if statement.strip()]
        self.run(create)
        with self.connection.cursor().copy(copy) as stream:
            stream.write(self.csv.read_bytes())
        return self

    def __exit__(self, *_):
        self.connection.close()
        self.server.terminate()
        self.server.wait(60)
        self.server.stderr.close()
        shutil.rmtree(self.folder)

    @staticmethod
    def program(name):
        found = shutil.which(name) or next(map(str, sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)), None)
        assert found, f"no {name}: install the package postgresql"
        return found

    def command(self, name, *args):
        done = subprocess.run([self.program(name), *map(str, args)], user=self.user, cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def start(self, name, *args):
        return subprocess.Popen([self.program(name), *map(str, args)], user=self.user, cwd=self.folder, stderr=subprocess.PIPE, text=True)

    def connect(self):
        said = []
        # It says so when it can be talked to.
        while line := self.server.stderr.readline():
            said.append(line)
            if "ready to accept connections" in line:
                return psycopg.connect(host=str(self.folder), user="lacuna", dbname="postgres", autocommit=True)
        raise AssertionError("".join(said))

    def run(self, sql):
        self.connection.execute(sql)

    def rows(self, sql):
        return self.connection.execute(sql).fetchall()
