//! Writes `messages.ndjson`: Cucumber Messages for any consumer, such as Cucumber's own HTML formatter.
//!
//! Cucumber has no word for declared deviations, controls, or claims that are measured without being judged. These are
//! reported with the nearest status that is not a pass, and with a message.

pub mod documents;
mod results;

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::{sentence, times};
use crate::evidence::ClaimResult;
use crate::evidence::bundle::EvidenceBundle;
pub use documents::Document;
use documents::{Pickle, step_id};
use results::Subject;

/// The version of the messages' schema.
const PROTOCOL: &str = "34.2.1";

/// Makes the messages, one per line: the features first, then every attempt at each of their scenarios.
pub fn messages(bundle: &EvidenceBundle) -> anyhow::Result<Vec<u8>> {
    let (run, started) = (&bundle.verdicts.run, times::started(bundle));
    let mut messages = vec![json!({ "meta": meta(&bundle.run) })];
    let claims = |path: &str| {
        let stands = |claim: &ClaimResult| claim.scenarios.iter().any(|scenario| scenario.at.file == path);
        bundle.verdicts.claims.iter().position(stands)
    };
    let mut documents: Vec<Document> = bundle.features.iter().map(Document).collect();
    documents.sort_by_key(|document| claims(&document.0.path));
    let mut pickles = Vec::new();
    for document in &documents {
        messages.push(json!({ "source": document.source() }));
        messages.push(json!({ "gherkinDocument": document.tree() }));
        let own = document.pickles();
        messages.extend(own.iter().map(|pickle| json!({ "pickle": pickle.message })));
        pickles.extend(own);
    }
    messages.push(json!({ "testRunStarted": { "id": run, "timestamp": timestamp(started) } }));
    let mut subjects = Subject::by_place(bundle)?;
    for pickle in &pickles {
        let subject = subjects.remove(&(pickle.path, pickle.line));
        messages.extend(scenario(pickle, subject.unwrap_or_else(|| Subject::untouched(bundle, pickle)), run, started));
    }
    if let Some(((feature, line), _)) = subjects.first_key_value() {
        anyhow::bail!(
            "no scenario stands at {feature}:{line} in this run's folder, though one was run from there: Cucumber \
             Messages need features/ as they were; a run of this version keeps them"
        );
    }
    messages.push(json!({ "testRunFinished": finished(bundle) }));
    Ok(messages
        .into_iter()
        .map(|message| format!("{}\n", super::pruned(message, Json::is_null)))
        .collect::<String>()
        .into())
}

fn meta(run: &Json) -> Json {
    let text = |pointer: &str| run.pointer(pointer).and_then(Json::as_str);
    let product =
        |name: Option<&str>, version: Option<&str>| json!({ "name": name.unwrap_or("unknown"), "version": version });
    let rustc = text("/rustc").map(|rustc| rustc.strip_prefix("rustc ").unwrap_or(rustc));
    json!({
        "protocolVersion": PROTOCOL,
        "implementation": product(Some("assay"), text("/assay")),
        "runtime": product(Some("rustc"), rustc),
        "os": product(text("/host/distribution"), text("/host/kernel")),
        "cpu": product(text("/host/architecture"), None),
    })
}

fn finished(bundle: &EvidenceBundle) -> Json {
    let verdicts = &bundle.verdicts;
    let killed = (!verdicts.complete).then(|| "the run did not finish".to_owned());
    let problems: Vec<String> = killed.into_iter().chain(verdicts.problems.iter().map(sentence::problem)).collect();
    json!({
        "testRunStartedId": verdicts.run,
        "success": verdicts.exit == 0 && verdicts.complete,
        "timestamp": timestamp(times::ended(bundle)),
        "message": (!problems.is_empty()).then(|| problems.join("; ")),
    })
}

/// Makes the messages of a scenario: every attempt at it, with every step. What has no time of its own takes that of
/// what was before it, at first the start of the run.
fn scenario(pickle: &Pickle, subject: Subject, run: &str, started: Timestamp) -> Vec<Json> {
    let place = pickle.place();
    let case = format!("case {place}");
    let test_step = |line: &usize| format!("{case}, step {line}");
    let steps =
        pickle.steps.iter().map(|line| json!({ "id": test_step(line), "pickleStepId": step_id(&place, *line) }));
    let mut messages = vec![json!({ "testCase": {
        "id": case, "pickleId": format!("pickle {place}"), "testRunStartedId": run,
        "testSteps": steps.collect::<Vec<_>>(),
    } })];
    let attempts = subject.attempts(&pickle.steps);
    for (number, results) in attempts.iter().enumerate() {
        let mut now = results.iter().find_map(|result| result.at).unwrap_or(started);
        let id = format!("attempt {number} at {place}");
        messages.push(json!({ "testCaseStarted": {
            "id": id, "testCaseId": case, "attempt": number, "timestamp": timestamp(now),
        } }));
        for (line, result) in pickle.steps.iter().zip(results) {
            let (step, began) = (test_step(line), result.at.unwrap_or(now));
            now = began.checked_add(result.took).unwrap_or(began);
            messages.push(json!({ "testStepStarted": {
                "testCaseStartedId": id, "testStepId": step, "timestamp": timestamp(began),
            } }));
            messages.extend(result.attachment.as_ref().map(|body| {
                json!({ "attachment": {
                "testCaseStartedId": id, "testStepId": step, "body": body, "contentEncoding": "IDENTITY",
                "mediaType": "text/plain",
            } })
            }));
            let took = json!({ "seconds": result.took.as_secs(), "nanos": result.took.subsec_nanos() });
            messages.push(json!({ "testStepFinished": {
                "testCaseStartedId": id, "testStepId": step, "timestamp": timestamp(now),
                "testStepResult": { "status": result.status, "duration": took, "message": result.message },
            } }));
        }
        messages.push(json!({ "testCaseFinished": {
            "testCaseStartedId": id, "timestamp": timestamp(now), "willBeRetried": number + 1 < attempts.len(),
        } }));
    }
    messages
}

fn timestamp(at: Timestamp) -> Json {
    const SECOND: i128 = 1_000_000_000;
    let nanos = at.as_nanosecond();
    json!({ "seconds": nanos.div_euclid(SECOND) as i64, "nanos": nanos.rem_euclid(SECOND) as i64 })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::example;
    use super::*;
    use crate::verdict::Verdict;
    use crate::verdict::claim_verdict::ControlResult;

    fn read(bundle: &EvidenceBundle) -> Vec<Json> {
        let text = String::from_utf8(messages(bundle).unwrap()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Returns each scenario with the result of each of its steps, as a formatter would find them.
    fn shown(bundle: &EvidenceBundle) -> String {
        let stream = read(bundle);
        let all = |kind: &'static str| stream.iter().filter_map(move |message| message.get(kind));
        let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
        let mut shown = String::new();
        for case in all("testCase") {
            let pickle = all("pickle").find(|pickle| pickle["id"] == case["pickleId"]).unwrap();
            shown += &format!("{}\n", text(&pickle["name"]));
            for started in all("testCaseStarted").filter(|started| started["testCaseId"] == case["id"]) {
                let mine = |message: &&Json| message["testCaseStartedId"] == started["id"];
                for step in all("testStepFinished").filter(mine) {
                    let result = &step["testStepResult"];
                    let of_step = |message: &&Json| message["testStepId"] == step["testStepId"];
                    let attached = all("attachment").filter(mine).find(of_step);
                    let attached = attached.map(|attached| format!(" [{}]", text(&attached["body"])));
                    let (status, message) = (text(&result["status"]), text(&result["message"]));
                    let line = format!("  {status} {message}{}", attached.unwrap_or_default());
                    shown += &format!("{}\n", line.replace(char::is_control, " ").trim_end());
                }
                let finished = all("testCaseFinished").find(mine).unwrap();
                shown += if finished["willBeRetried"] == true { "  is tried again:\n" } else { "" };
            }
        }
        shown
    }

    #[test]
    fn only_what_holds_has_passed_and_a_control_only_where_it_is_rejected() {
        insta::assert_snapshot!("messages", shown(&example::bundle()));
    }

    #[test]
    fn what_holds_without_being_judged_and_controls_without_the_expected_failure_have_not_passed() {
        type Change = fn(&mut [ClaimResult]);
        let recorded: Change = |claims| {
            claims[4].scenarios[0].attempts =
                vec![example::attempt("It is recorded", &[example::seen(Verdict::Holds, 7.0)], None)];
        };
        let other_reason: Change = |claims| {
            let mut attempt = example::attempt("A large one", &[example::seen(Verdict::Fails, 12.0)], None);
            attempt.fails_on = Some("weight".to_owned());
            let control = &mut claims[0].controls[0];
            *control = ControlResult::judge(&control.at, None, vec![attempt]);
        };
        let undeclared: Change = |claims| {
            claims[5].deviations.clear();
            claims[5] = claims[5].clone().concluded("2026-11-24".parse().unwrap());
        };
        for (change, name, expected) in [
            (
                recorded,
                "It is recorded",
                "  SKIPPED recorded, not judged: size is 7 bytes; the bound is 10 bytes [holds: size is 7 bytes; the bound is 10 bytes]",
            ),
            (
                other_reason,
                "A large one",
                "  UNKNOWN the check fails, but not on weight: size is 12 bytes; the bound is 10 bytes",
            ),
            (undeclared, "A wrong one passes", "  FAILED the check accepts it: size is 7 bytes; the bound is 10 bytes"),
        ] {
            let mut bundle = example::bundle();
            change(&mut bundle.verdicts.claims);
            let shown = shown(&bundle);
            let (_, mine) = shown.split_once(&format!("{name}\n")).unwrap();
            assert_eq!(mine.lines().take_while(|line| line.starts_with(' ')).last().unwrap(), expected);
        }
    }

    #[test]
    fn a_run_succeeds_only_if_its_exit_status_is_0_and_it_finished() {
        let end = |bundle: &EvidenceBundle| read(bundle).pop().unwrap()["testRunFinished"].clone();
        let mut bundle = example::bundle();
        assert_eq!(end(&bundle)["success"], false);
        assert!(end(&bundle)["message"].as_str().unwrap().contains("A9-9 expired"));
        bundle.verdicts.exit = 0;
        assert_eq!(end(&bundle)["success"], true);
        bundle.verdicts.complete = false;
        assert_eq!(end(&bundle)["success"], false);
        let killed = example::killed();
        assert!(
            shown(&killed)
                .contains("\nIt fails\n  SKIPPED\n  SKIPPED\n  UNKNOWN its scenario \"It fails\" did not run\n")
        );
        assert_eq!(end(&killed)["message"], "the run did not finish");
    }

    #[test]
    fn features_that_are_not_those_of_the_run_are_rejected() {
        let mut bundle = example::bundle();
        bundle.features.clear();
        let error = messages(&bundle).unwrap_err().to_string();
        assert!(error.starts_with("no scenario stands at features/a2_example.feature:9"), "{error}");
        let mut twice = example::bundle();
        let again = twice.verdicts.claims[0].clone();
        twice.verdicts.claims.push(again);
        assert!(messages(&twice).unwrap_err().to_string().contains("a2_example.feature:9 twice"));
    }

    #[test]
    fn times_are_whole_seconds_and_nanoseconds_that_are_never_negative() {
        let before: Timestamp = "1969-12-31T23:59:59.25Z".parse().unwrap();
        assert_eq!(timestamp(before), json!({ "seconds": -1, "nanos": 250_000_000 }));
        let stream = read(&example::bundle());
        let began = stream.iter().find_map(|message| message.get("testCaseStarted")).unwrap();
        assert_eq!(began["timestamp"], timestamp(example::at(0)));
    }

    #[test]
    fn everything_has_an_id_of_its_own() {
        fn check<'a>(value: &'a Json, ids: &mut BTreeSet<&'a str>) {
            match value {
                Json::Array(items) => items.iter().for_each(|item| check(item, ids)),
                Json::Object(members) => {
                    let id = members.get("id").and_then(Json::as_str);
                    assert!(id.is_none_or(|id| ids.insert(id)), "{value}");
                    members.values().for_each(|member| check(member, ids));
                }
                _ => {}
            }
        }
        let (stream, mut ids) = (read(&example::bundle()), BTreeSet::new());
        stream.iter().for_each(|message| check(message, &mut ids));
        assert!(ids.len() > 100, "{ids:?}");
    }
}
