"""Exports in the hands of others: DuckDB runs the documentation's SQL on them, and the report agrees."""

import json
import re

import duckdb
import pytest
from conftest import ROOT


@pytest.fixture
def team(lacuna):
    """A simulated team's rows as Parquet, and the report on them."""
    path = lacuna.home / "rows.parquet"
    lacuna.run("telemetry", "demo", "--rows", path)
    return path, lacuna.json("telemetry", "report", path, "--json", "--utc")


def statements():
    """The named SQL statements of docs/telemetry.md."""
    text = (ROOT / "docs" / "telemetry.md").read_text()
    block = re.search(r"<!-- sql:begin -->\n```sql\n(.*?)```\n<!-- sql:end -->", text, re.S).group(1)
    found = {}
    for part in block.split(";\n"):
        if name := re.search(r"^-- (\w+)", part, re.M):
            found[name.group(1)] = re.sub(r"^--.*$", "", part, flags=re.M).strip()
    return found


def test_the_documented_sql_gives_the_reports_figures(team):
    path, report = team
    sql = statements()
    database = duckdb.connect()
    run = lambda name: database.execute(sql[name].replace("'rows.parquet'", f"'{path}'"))  # noqa: E731
    run("read_suggestions")
    checked = 0
    for name, told in report["all"]["metrics"].items():
        assert run(name).fetchone()[0] == pytest.approx(told, rel=1e-9), name
        checked += 1
    assert checked == 11
    assert run("latency_p50_ms").fetchone()[0] == pytest.approx(report["all"]["latency_ms"]["p50"], rel=0.011)
    counts = database.execute(f"SELECT kind, count(*) FROM '{path}' GROUP BY kind").fetchall()
    assert dict(counts)["suggestion"] == report["all"]["suggestions"]


def test_variants_and_units_can_be_told_in_sql(team):
    path, report = team
    text = (ROOT / "docs" / "telemetry.md").read_text()
    sql = re.search(r"```sql\n(SELECT regexp_extract.*?);\n```", text, re.S).group(1)
    database = duckdb.connect()
    database.execute(statements()["read_suggestions"].replace("'rows.parquet'", f"'{path}'"))
    rows = database.execute(sql.replace("NAME", "order")).fetchall()
    for variant in report["experiments"][0]["variants"]:
        mine = [r for r in rows if r[0] == variant["name"]]
        assert sum(r[2] for r in mine) == variant["totals"]["accepted"]
        assert len({r[1] for r in mine}) <= variant["units"]


def test_every_format_and_a_rewritten_file_report_the_same(lacuna, team):
    path, report = team
    database = duckdb.connect()
    for name in ("rows.jsonl", "rows.csv"):
        lacuna.run("telemetry", "merge", path, "-o", lacuna.home / name)
        assert database.execute(f"SELECT count(*) FROM '{lacuna.home / name}'").fetchone() == database.execute(f"SELECT count(*) FROM '{path}'").fetchone()
    rewritten = lacuna.home / "rewritten.parquet"
    database.execute(f"COPY (SELECT * FROM '{path}' ORDER BY random()) TO '{rewritten}' (FORMAT parquet, COMPRESSION snappy)")
    for name in ("rows.jsonl", "rows.csv", "rewritten.parquet"):
        again = lacuna.json("telemetry", "report", lacuna.home / name, "--json", "--utc")
        for key in ("metrics", "latency_ms"):
            assert again["all"][key] == pytest.approx(report["all"][key], rel=1e-9), (name, key)
        assert {k: v for k, v in again["all"].items() if isinstance(v, int)} == {k: v for k, v in report["all"].items() if isinstance(v, int)}
        assert again["groups"].keys() == report["groups"].keys()


def test_exports_of_several_installations_are_merged(lacuna):
    paths = []
    for seed in (1, 2):
        # Two teams of a dozen: installations of the same names, other rows.
        path = lacuna.home / f"{seed}.jsonl"
        lacuna.run("telemetry", "demo", "--seed", seed, "--rows", path)
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            row["installation"] += f"-{seed}"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        paths.append(path)
    merged = lacuna.home / "team.parquet"
    lacuna.run("telemetry", "merge", *paths, "-o", merged)
    report = lacuna.json("telemetry", "report", merged, "--json")
    single = [lacuna.json("telemetry", "report", path, "--json")["all"] for path in paths]
    assert report["all"]["installations"] == 24
    for key in ("requests", "suggestions", "read", "accepted", "accepted_chars", "active_ms"):
        assert report["all"][key] == sum(s[key] for s in single), key
