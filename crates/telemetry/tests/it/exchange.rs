//! Exports: every format gives back what went in, merging counts rows once, and hostile files are
//! refused with a reason.

use lacuna_telemetry::exchange::{Format, Merged, RowWriter, otlp_logs, read_file};
use lacuna_telemetry::report::Experiment;
use lacuna_telemetry::simulate::{Team, TeamRows, simulate_team};
use lacuna_telemetry::{Event, Int, Names, Text};

fn team() -> (TeamRows, Experiment) {
    let mut team =
        simulate_team(&Team { developers: 2, days: 2, days_before: 0, ..Team::default() });
    for (i, event) in team.events.iter_mut().enumerate() {
        event.ints.set(Int::Row, Some(i as i64 + 1));
    }
    let experiment = Experiment {
        name: team.experiment.to_owned(),
        definition: team.definition.clone(),
        started: team.started,
        stopped: None,
    };
    (team, experiment)
}

fn write(
    path: &std::path::Path,
    format: Format,
    events: &[Event],
    names: &Names,
    experiments: &[Experiment],
) {
    let mut writer =
        RowWriter::new(std::fs::File::create(path).unwrap(), format, experiments).unwrap();
    events.iter().for_each(|e| writer.add(e, names).unwrap());
    writer.finish().unwrap();
}

/// A row with its texts, to compare rows that are numbered by different names.
fn told(event: &Event, names: &Names) -> (String, Vec<String>, Vec<Option<i64>>) {
    let texts = Text::ALL.iter().map(|c| names.text(event.text(*c)).to_owned()).collect();
    (
        names.text(event.installation).to_owned(),
        texts,
        Int::ALL.iter().map(|c| event.int(*c)).collect(),
    )
}

#[test]
fn every_format_gives_back_what_went_in() {
    let (team, experiment) = team();
    assert!(team.events.len() > 100);
    let folder = tempfile::tempdir().unwrap();
    for (format, extension) in
        [(Format::Parquet, "parquet"), (Format::Jsonl, "jsonl"), (Format::Csv, "csv")]
    {
        let path = folder.path().join(format!("rows.{extension}"));
        assert_eq!(Format::of(&path), Some(format));
        write(&path, format, &team.events, &team.names, std::slice::from_ref(&experiment));
        let (mut names, mut read) = (Names::default(), Vec::new());
        let experiments = read_file(&path, &mut names, |event| read.push(event)).unwrap();
        assert_eq!(read.len(), team.events.len(), "{extension}");
        for (a, b) in team.events.iter().zip(&read) {
            assert_eq!(told(a, &team.names), told(b, &names), "{extension}");
        }
        let expected = if format == Format::Parquet { vec![experiment.clone()] } else { vec![] };
        assert_eq!(experiments, expected);
    }
}

#[test]
fn an_empty_export_is_an_export() {
    let folder = tempfile::tempdir().unwrap();
    for extension in ["parquet", "jsonl", "csv"] {
        let path = folder.path().join(format!("rows.{extension}"));
        write(&path, Format::of(&path).unwrap(), &[], &Names::default(), &[]);
        assert_eq!(read_file(&path, &mut Names::default(), |_| panic!("a row")).unwrap(), []);
    }
}

#[test]
fn rows_that_are_in_several_files_count_once_and_the_last_word_holds() {
    let (mut team, _) = team();
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("a.parquet"), folder.path().join("b.jsonl"));
    let half = team.events.len() / 2;
    write(&first, Format::Parquet, &team.events[..half + 10], &team.names, &[]);
    team.events[half].ints.set(Int::Kept600, Some(123));
    write(&second, Format::Jsonl, &team.events[half..], &team.names, &[]);
    let mut merged = Merged::default();
    merged.add_file(&first).unwrap();
    merged.add_file(&second).unwrap();
    assert_eq!((merged.events.len(), merged.repeated), (team.events.len(), 10));
    assert_eq!(merged.events[half].int(Int::Kept600), Some(123));
}

#[test]
fn hostile_files_are_refused_with_a_reason() {
    let (team, _) = team();
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good.parquet");
    write(&good, Format::Parquet, &team.events, &team.names, &[]);
    let parquet = std::fs::read(&good).unwrap();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty.parquet", vec![]),
        ("text.parquet", b"no parquet at all".to_vec()),
        ("cut.parquet", parquet[..parquet.len() / 2].to_vec()),
        ("name.txt", b"{}".to_vec()),
        (
            "line.jsonl",
            b"{\"installation\":\"i\",\"kind\":\"request\",\"at\":1}\nnot json\n".to_vec(),
        ),
        ("no-at.jsonl", b"{\"installation\":\"i\",\"kind\":\"request\"}\n".to_vec()),
        ("type.jsonl", b"{\"installation\":\"i\",\"kind\":\"request\",\"at\":\"soon\"}\n".to_vec()),
        (
            "huge.jsonl",
            [b"{\"installation\":\"".as_slice(), &vec![b'x'; 3 << 20], b"\"}\n"].concat(),
        ),
        ("ragged.csv", b"installation,kind,at\ni,request\n".to_vec()),
        ("number.csv", b"installation,kind,at\ni,request,1.5\n".to_vec()),
        ("binary.csv", vec![0xff; 100]),
    ];
    for (name, bytes) in cases {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = read_file(&path, &mut Names::default(), |_| ()).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    assert!(read_file(&folder.path().join("missing.csv"), &mut Names::default(), |_| ()).is_err());
    // Damage inside: an error or other rows, but no panic. The end is where the parts are
    // described.
    let ends = (parquet.len().saturating_sub(1500)..parquet.len()).step_by(3);
    for at in (0..parquet.len()).step_by(parquet.len() / 60 + 1).chain(ends) {
        let mut damaged = parquet.clone();
        damaged[at] ^= [0x55, 0x80, 0x01, 0x7f][at % 4];
        let path = folder.path().join("damaged.parquet");
        std::fs::write(&path, damaged).unwrap();
        let mut n = 0;
        let _ = read_file(&path, &mut Names::default(), |_| n += 1);
        assert!(n <= 2 * team.events.len());
    }
}

#[test]
fn otlp_has_the_shape_of_the_protocol() {
    let (team, _) = team();
    let body = otlp_logs(&team.events[..3], &team.names);
    let resource = &body["resourceLogs"][0];
    assert_eq!(
        resource["resource"]["attributes"][0],
        serde_json::json!({"key": "service.name", "value": {"stringValue": "lacuna"}})
    );
    let record = &resource["scopeLogs"][0]["logRecords"][0];
    let at = team.events[0].int(Int::At).unwrap();
    assert_eq!(record["timeUnixNano"], format!("{at}000000"));
    let attribute = |key: &str| {
        record["attributes"]
            .as_array()
            .unwrap()
            .iter()
            .find(|a| a["key"] == key)
            .map(|a| a["value"].clone())
    };
    assert_eq!(attribute("lacuna.kind").unwrap()["stringValue"], "request");
    assert_eq!(attribute("lacuna.at").unwrap()["intValue"], at.to_string());
    assert_eq!(attribute("lacuna.kept_30s"), None, "columns that do not apply are left out");
}

/// `docs/telemetry.md` names every column with the meaning it has in the source.
#[test]
fn the_documentation_lists_every_column() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/telemetry.md");
    let text = std::fs::read_to_string(page).unwrap();
    let columns = Text::ALL
        .iter()
        .map(|c| (c.name(), "text", c.meaning()))
        .chain(Int::ALL.iter().map(|c| (c.name(), "integer", c.meaning())));
    for (name, kind, meaning) in columns {
        let row = format!("| `{name}` | {kind} | {meaning} |");
        assert!(text.contains(&row), "docs/telemetry.md lacks the line\n{row}");
    }
}
