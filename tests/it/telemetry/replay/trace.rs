//! A keystroke trace: a text and the edits that were made to it. Offsets and counts are in
//! characters.

use serde_json::Value;

pub struct Trace {
    pub name: String,
    pub language: String,
    pub before: String,
    pub events: Vec<Event>,
}

/// An edit; without deletion and insertion the cursor arrives at `at`.
pub struct Event {
    pub at: usize,
    pub del: usize,
    pub ins: String,
}

/// Reads traces, one JSON object a line.
pub fn read(text: &str) -> Vec<Trace> {
    text.lines()
        .map(|line| parse(&serde_json::from_str(line).expect("a JSON object a line")))
        .collect()
}

fn parse(value: &Value) -> Trace {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let number = |value: &Value| value.as_u64().expect("a number") as usize;
    let event =
        |e: &Value| Event { at: number(&e["at"]), del: number(&e["del"]), ins: text(&e["ins"]) };
    Trace {
        name: text(&value["path"]).rsplit('/').next().expect("a name").to_owned(),
        language: text(&value["language"]),
        before: text(&value["before"]),
        events: value["events"].as_array().expect("a list").iter().map(event).collect(),
    }
}
