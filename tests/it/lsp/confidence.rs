//! What is shown unasked only where it is likely to be right, and to who asks always.

use lacuna_complete::{Calibration, Signs, Stand};
use lacuna_context::Language;
use lacuna_engine::{Model, Precision};
use lacuna_tests::{Client, Home, ModelDir, TinyModel, workspace};
use serde_json::{Value, json};

const URI: &str = "file:///project/a.py";

/// A tiny model that says that each of its lines is right with this log-odds.
fn as_sure_as(odds: f64) -> ModelDir {
    let mut model = TinyModel::default();
    model.config["confidence"] = json!({"version": 1, "bias": odds, "weights": {}, "levels": {"low": 0.7, "normal": 0.5, "high": 0.3}});
    model.write()
}

/// What is shown, and what is said of it.
fn asked(model: &ModelDir, show: &Value, triggers: &[u8]) -> Vec<(usize, Value)> {
    let mut client = Client::start_with(["--model", model.arg()], &[]);
    client.initialize(json!({"initializationOptions": {"latency": {"deadline_ms": 0, "background": false}, "show": show}}));
    client.open(URI, "python", "x = f(\n");
    let ask = |trigger: &u8| {
        let params = json!({
            "textDocument": {"uri": URI}, "position": {"line": 0, "character": 6}, "context": {"triggerKind": trigger},
        });
        let items = client.result("textDocument/inlineCompletion", params)["items"]
            .as_array()
            .expect("items")
            .len();
        (
            items,
            client.result("lacuna/status", json!({"textDocument": {"uri": URI}}))["last"].clone(),
        )
    };
    triggers.iter().map(ask).collect()
}

#[test]
fn what_nobody_asked_for_is_shown_where_it_is_likely_to_be_right() {
    const AUTOMATIC: u8 = 2;
    const BY_HAND: u8 = 1;
    let (unsure, sure) = (as_sure_as(-2.0), as_sure_as(2.0));
    for (model, show, probability, is_shown) in [
        (&unsure, json!({}), 0.119, false),
        (&sure, json!({}), 0.881, true),
        (&unsure, json!({"min_confidence": 0.1}), 0.119, true),
        (&unsure, json!({"min_confidence": 0.0}), 0.119, true),
        (&sure, json!({"min_confidence": 0.9}), 0.881, false),
    ] {
        // What was asked for by hand stays when its user types on, or the editor asks again.
        let told = asked(model, &show, &[AUTOMATIC, AUTOMATIC, BY_HAND, AUTOMATIC]);
        for ((items, last), by_hand) in told.iter().zip([false, false, true, true]) {
            assert_eq!(*items > 0, is_shown || by_hand, "{show}: {last}");
            assert_eq!(last["probability"], probability, "{last}");
            assert_eq!(
                last["reason"],
                if is_shown || by_hand { Value::Null } else { json!("low-confidence") }
            );
        }
    }
}

#[test]
fn a_model_that_does_not_say_shows_everything() {
    let model = TinyModel::default().write();
    for (items, last) in asked(&model, &json!({}), &[2, 1]) {
        assert!(items > 0 && last["probability"].is_null(), "{last}");
    }
    let (items, last) = asked(&model, &json!({"min_confidence": 1.0}), &[2]).remove(0);
    assert_eq!((items, &last["reason"]), (0, &json!("low-confidence")));
}

#[test]
fn weights_that_cannot_be_meant_are_refused_by_name() {
    let home = Home::new();
    for (confidence, told) in [
        (
            json!({"version": 9, "bias": 0, "weights": {}, "levels": {"low": 1, "normal": 1, "high": 1}}),
            "confidence has version 9",
        ),
        (
            json!({"version": 1, "bias": 0, "weights": {"luck": 1}, "levels": {"low": 1, "normal": 1, "high": 1}}),
            "\"luck\"",
        ),
        (json!({}), "not of the form"),
        (json!([1, 2]), "an object"),
    ] {
        let mut model = TinyModel::default();
        model.config["confidence"] = confidence;
        let model = model.write();
        let output = home.lacuna(["model", "verify", model.arg()]).expect_code(1);
        assert!(output.stdout.contains(told), "{}", output.stdout);
    }
}

#[test]
fn a_packed_file_learns_how_sure_it_is_and_its_weights_stay() {
    let home = Home::new();
    let model = TinyModel::default().write();
    let packed = home.work().join("a.lacuna.safetensors");
    let file = packed.to_str().expect("UTF-8");
    home.lacuna(["model", "pack", model.arg(), "-o", file]).expect_code(0);
    let tensors = || {
        let bytes = std::fs::read(&packed).expect("the packed file");
        let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
        let header: Value = serde_json::from_slice(&bytes[8..8 + length]).expect("JSON");
        let config: Value =
            serde_json::from_str(header["__metadata__"]["config"].as_str().expect("a config"))
                .expect("JSON");
        let mut places = header.clone();
        places["__metadata__"].take();
        (config, places, bytes[8 + length..].to_vec())
    };
    let (before, places, data) = tensors();
    assert!(before["confidence"].is_null());
    let weights = json!({"version": 1, "bias": -1.5, "weights": {"mean": 2.0}, "levels": {"low": 0.7, "normal": 0.5, "high": 0.3}});
    let written = home.write("confidence.json", weights.to_string());
    let with = ["--confidence", written.to_str().expect("UTF-8"), "--languages", "python"];
    home.lacuna(["model", "pack", file, "-o", file].iter().chain(&with)).expect_code(0);
    let (after, places_after, data_after) = tensors();
    assert_eq!((&after["confidence"], &after["code_languages"]), (&weights, &json!(["python"])));
    assert!(places == places_after && data == data_after);
    home.lacuna(["model", "verify", file]).expect_code(0);

    home.write("confidence.json", "{\"version\": 1}");
    let refused = home.lacuna(["model", "pack", file, "-o", file].iter().chain(&with));
    assert!(
        refused.code == Some(2)
            && refused.stderr.contains("confidence.json: confidence is not of the form"),
        "{}",
        refused.stderr
    );
    assert_eq!(tensors().0, after);
}

/// What speaks for a line never makes it less likely, and at the end of a finished line little is
/// likely.
#[test]
fn the_embedded_model_is_surer_of_what_is_likelier() {
    let file = workspace().join("datasets/embedded/model.lacuna.safetensors");
    let model = Model::load(&file, Precision::Int4).expect("the embedded model");
    let calibration =
        Calibration::from_json(model.spec().confidence.as_deref().expect("it says how sure it is"))
            .expect("weights");
    let levels = calibration.levels();
    assert!(
        0.0 < levels.high
            && levels.high < levels.normal
            && levels.normal < levels.low
            && levels.low < 1.0,
        "{levels:?}"
    );
    let p = |signs: &Signs| calibration.probability(signs);
    let typical = Signs {
        mean: -0.7,
        least: -2.5,
        first: -1.0,
        score: -6.0,
        end: -0.3,
        over_ended: Some(0.5),
        over_followed: Some(0.5),
        n_tokens: 6,
        n_chars: 18,
        words: 3,
        known_words: 3,
        foretold: 0.5,
        order: 0.2,
        stand: Stand::Word,
        n_left: 12,
        is_rest_empty: true,
        language: Some(Language::Python),
        ..Signs::default()
    };
    for step in 0..20 {
        let x = step as f32 / 10.0;
        let base =
            Signs { score: -8.0 + x, mean: -1.2 + x / 4.0, least: -4.0 + x, ..typical.clone() };
        for (what, better) in [
            ("score", Signs { score: base.score + 0.5, ..base.clone() }),
            ("mean", Signs { mean: base.mean + 0.1, ..base.clone() }),
            ("least", Signs { least: base.least + 0.5, ..base.clone() }),
            ("over what had ended", Signs { over_ended: Some(1.0), ..base.clone() }),
            ("over what was followed", Signs { over_followed: Some(1.0), ..base.clone() }),
            ("foretold for longer", Signs { order: 0.4, ..base.clone() }),
        ] {
            assert!(p(&better) >= p(&base), "{what} at {x}: {} < {}", p(&better), p(&base));
        }
    }
    let sure = Signs {
        score: -0.2,
        mean: -0.05,
        least: -0.1,
        over_ended: Some(6.0),
        over_followed: Some(6.0),
        order: 0.8,
        foretold: 1.0,
        ..typical.clone()
    };
    assert!(p(&sure) > levels.low, "{}", p(&sure));
    let finished = Signs { ends_here: Some(0.5), ..typical };
    assert!(p(&finished) < levels.high, "{}", p(&finished));
}
