"""Exports in the hands of others: DuckDB, ClickHouse and Postgres run the documentation's SQL on them, and the report agrees."""

import json

import duckdb
import pytest
from databases import ClickHouse, DuckDb, Postgres, shared_statements


@pytest.fixture
def team(lacuna):
    """A simulated team's rows as Parquet, and the report on them."""
    path = lacuna.home / "rows.parquet"
    lacuna.run("telemetry", "demo", "--rows", path)
    return path, lacuna.json("telemetry", "report", path, "--json", "--utc")


@pytest.fixture(params=[DuckDb, ClickHouse, Postgres])
def database(request, lacuna, team):
    """The rows in a database, as the documentation says they get there."""
    rows = lacuna.home / "rows.csv"
    lacuna.run("telemetry", "merge", team[0], "-o", rows)
    with request.param(team[0], rows) as database:
        yield database


def test_the_documented_sql_gives_the_reports_figures(team, database):
    _, report = team
    sql = shared_statements()
    database.run(sql["read_suggestions"])
    for name, told in report["all"]["metrics"].items():
        assert float(database.rows(sql[name])[0][0]) == pytest.approx(told, rel=1e-9), name
    assert len(report["all"]["metrics"]) == 11
    own = database.statements()
    assert float(database.rows(own["latency_p50_ms"])[0][0]) == pytest.approx(report["all"]["latency_ms"]["p50"], rel=0.011)
    counts = dict(database.rows("SELECT kind, count(*) FROM events GROUP BY kind"))
    assert (counts["suggestion"], counts["request"]) == (report["all"]["suggestions"], report["all"]["requests"])


def test_variants_and_units_can_be_told_in_sql(team, database):
    _, report = team
    database.run(shared_statements()["read_suggestions"])
    rows = database.rows(database.statements()["units"].replace("NAME", "order"))
    for variant in report["experiments"][0]["variants"]:
        mine = [r for r in rows if r[0] == variant["name"]]
        assert sum(r[2] for r in mine) == variant["totals"]["accepted"]
        assert sum(r[3] for r in mine) == variant["totals"]["read"]
        # Units without anything read have no row here.
        assert 0 < len({r[1] for r in mine}) <= variant["units"]


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
