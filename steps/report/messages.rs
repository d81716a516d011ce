//! Writes `messages.ndjson`: Cucumber Messages for any consumer, such as Cucumber's own HTML formatter.
//!
//! Cucumber has no word for declared deviations, controls, or claims that are measured without being judged. These are
//! reported with the nearest status that is not a pass, and with a message.

mod documents;
mod results;

use std::collections::BTreeMap;

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::times;
use crate::evidence::bundle::EvidenceBundle;
use documents::{Document, Pickle};
use results::{StepResult, Subject};

/// The version of the messages' schema.
const PROTOCOL: &str = "34.2.1";

/// Makes the messages, one per line: the features first, then every attempt at each of their scenarios.
pub fn messages(bundle: &EvidenceBundle) -> anyhow::Result<Vec<u8>> {
    let mut ids = Ids(0);
    let mut stream = Stream { lines: Vec::new(), run: ids.next(), started: times::started(bundle) };
    stream.say("meta", meta(&bundle.run))?;
    let claims = |path: &str| bundle.verdicts.claims.iter().position(|claim| claim.feature == path);
    let mut documents: Vec<Document> = bundle.features.iter().map(|file| Document::of(file, &mut ids)).collect();
    documents.sort_by_key(|document| claims(&document.path));
    for document in &documents {
        stream.say("source", document.source.clone())?;
        stream.say("gherkinDocument", document.tree.clone())?;
        for pickle in &document.pickles {
            stream.say("pickle", pickle.message.clone())?;
        }
    }
    stream.say("testRunStarted", json!({ "id": stream.run, "timestamp": timestamp(stream.started) }))?;
    let mut subjects = Subject::by_place(bundle)?;
    for (document, pickle) in documents.iter().flat_map(|document| document.pickles.iter().map(move |p| (document, p)))
    {
        let subject = subjects.remove(&(document.path.as_str(), pickle.line));
        stream.scenario(pickle, subject.unwrap_or_else(|| Subject::untouched(bundle, pickle)), &mut ids)?;
    }
    stray(&subjects)?;
    stream.say("testRunFinished", finished(bundle, &stream.run))?;
    Ok(stream.lines)
}

/// Fails if a scenario that was run cannot be shown; otherwise the messages would look complete.
fn stray(subjects: &BTreeMap<(&str, usize), Subject>) -> anyhow::Result<()> {
    let Some(((feature, line), _)) = subjects.first_key_value() else { return Ok(()) };
    anyhow::bail!(
        "no scenario stands at {feature}:{line} in this run's folder, though one was run from there: Cucumber Messages \
         need features/ as they were; a run of this version keeps them"
    )
}

fn meta(run: &Json) -> Json {
    let text = |pointer: &str| run.pointer(pointer).and_then(Json::as_str);
    let product = |name: Option<&str>, version: Option<&str>| {
        let mut product = json!({ "name": name.unwrap_or("unknown") });
        if let (Some(version), Some(object)) = (version, product.as_object_mut()) {
            object.insert("version".to_owned(), version.into());
        }
        product
    };
    let rustc = text("/rustc").map(|rustc| rustc.strip_prefix("rustc ").unwrap_or(rustc));
    json!({
        "protocolVersion": PROTOCOL,
        "implementation": product(Some("assay"), text("/assay")),
        "runtime": product(Some("rustc"), rustc),
        "os": product(text("/host/distribution"), text("/host/kernel")),
        "cpu": product(text("/host/architecture"), None),
    })
}

fn finished(bundle: &EvidenceBundle, run: &str) -> Json {
    let verdicts = &bundle.verdicts;
    let mut wrong = verdicts.problems.clone();
    if !verdicts.complete {
        wrong.insert(0, "the run did not finish".to_owned());
    }
    let mut finished = json!({
        "testRunStartedId": run,
        "success": verdicts.exit == 0 && verdicts.complete,
        "timestamp": timestamp(times::ended(bundle)),
    });
    if let (false, Some(object)) = (wrong.is_empty(), finished.as_object_mut()) {
        object.insert("message".to_owned(), wrong.join("; ").into());
    }
    finished
}

struct Ids(u64);

impl Ids {
    fn next(&mut self) -> String {
        self.0 += 1;
        self.0.to_string()
    }
}

/// The messages written so far.
struct Stream {
    lines: Vec<u8>,
    run: String,
    /// When the run began: the time of everything without its own time.
    started: Timestamp,
}

impl Stream {
    fn say(&mut self, name: &str, message: Json) -> anyhow::Result<()> {
        let envelope = serde_json::Map::from_iter([(name.to_owned(), message)]);
        serde_json::to_writer(&mut self.lines, &envelope).context("a message cannot be written as JSON")?;
        self.lines.push(b'\n');
        Ok(())
    }

    fn scenario(&mut self, pickle: &Pickle, subject: Subject, ids: &mut Ids) -> anyhow::Result<()> {
        let case = ids.next();
        let steps: Vec<(String, &str)> = pickle.steps.iter().map(|step| (ids.next(), step.id.as_str())).collect();
        let shown = |(id, pickle): &(String, &str)| json!({ "id": id, "pickleStepId": pickle });
        let shown: Vec<Json> = steps.iter().map(shown).collect();
        let (id, run) = (&pickle.id, self.run.clone());
        self.say("testCase", json!({ "id": case, "pickleId": id, "testRunStartedId": run, "testSteps": shown }))?;
        let attempts = subject.attempts(&pickle.steps);
        let last = attempts.len().saturating_sub(1);
        for (number, results) in attempts.iter().enumerate() {
            let mut now = results.iter().find_map(|result| result.at).unwrap_or(self.started);
            let id = ids.next();
            self.say(
                "testCaseStarted",
                json!({ "id": id, "testCaseId": case, "attempt": number, "timestamp": timestamp(now) }),
            )?;
            for ((step, _), result) in steps.iter().zip(results) {
                now = self.step(&id, step, result, now)?;
            }
            let again = number < last;
            let ended = json!({ "testCaseStartedId": id, "timestamp": timestamp(now), "willBeRetried": again });
            self.say("testCaseFinished", ended)?;
        }
        Ok(())
    }

    /// Writes a step with its result; returns when the step was over.
    fn step(&mut self, case: &str, step: &str, result: &StepResult, now: Timestamp) -> anyhow::Result<Timestamp> {
        let began = result.at.unwrap_or(now);
        let over = began.checked_add(result.took).unwrap_or(began);
        let of = |more: Json| {
            let mut message = json!({ "testCaseStartedId": case, "testStepId": step });
            if let (Some(message), Json::Object(more)) = (message.as_object_mut(), more) {
                message.extend(more);
            }
            message
        };
        self.say("testStepStarted", of(json!({ "timestamp": timestamp(began) })))?;
        if let Some(body) = &result.attachment {
            let text = json!({ "body": body, "contentEncoding": "IDENTITY", "mediaType": "text/plain" });
            self.say("attachment", of(text))?;
        }
        let took = json!({ "seconds": result.took.as_secs(), "nanos": result.took.subsec_nanos() });
        let mut told = json!({ "status": result.status, "duration": took });
        if let (Some(message), Some(told)) = (&result.message, told.as_object_mut()) {
            told.insert("message".to_owned(), message.as_str().into());
        }
        self.say("testStepFinished", of(json!({ "timestamp": timestamp(over), "testStepResult": told })))?;
        Ok(over)
    }
}

fn timestamp(at: Timestamp) -> Json {
    const SECOND: i128 = 1_000_000_000;
    let nanos = at.as_nanosecond();
    json!({ "seconds": nanos.div_euclid(SECOND) as i64, "nanos": nanos.rem_euclid(SECOND) as i64 })
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;
    use crate::verdict::Verdict;
    use crate::verdict::claim_verdict::{ControlResult, ControlVerdict};

    fn read(bundle: &EvidenceBundle) -> Vec<Json> {
        let text = String::from_utf8(messages(bundle).unwrap()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Returns the status and message of each step of each attempt at the scenario with this name, in order.
    fn told(stream: &[Json], name: &str) -> Vec<(String, String)> {
        let all = |kind: &'static str| stream.iter().filter_map(move |message| message.get(kind));
        let pickle = all("pickle").find(|pickle| pickle["name"] == name).unwrap();
        let case = all("testCase").find(|case| case["pickleId"] == pickle["id"]).unwrap();
        let begun: Vec<_> = all("testCaseStarted").filter(|begun| begun["testCaseId"] == case["id"]).collect();
        let mine = |step: &&Json| begun.iter().any(|begun| begun["id"] == step["testCaseStartedId"]);
        let result = |step: &Json| {
            let result = &step["testStepResult"];
            (result["status"].as_str().unwrap().to_owned(), result["message"].as_str().unwrap_or_default().to_owned())
        };
        all("testStepFinished").filter(mine).map(result).collect()
    }

    fn statuses(bundle: &EvidenceBundle, name: &str) -> String {
        let told = told(&read(bundle), name);
        told.into_iter().map(|(status, message)| format!("{status} {message}")).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn only_what_holds_has_passed() {
        let bundle = example::bundle();
        let said = |name| statuses(&bundle, name);
        assert_eq!(said("It holds"), "PASSED |PASSED |PASSED ");
        assert_eq!(said("It fails"), format!("PASSED |PASSED |FAILED size is {}", example::HOSTILE));
        assert_eq!(said("It cannot be judged"), "PASSED |PASSED |UNKNOWN no route to host");
        let skipped = "SKIPPED needs an AWS account";
        assert_eq!(said("It is not run"), [skipped; 3].join("|"));
        let recorded = "SKIPPED recorded, not judged: size is 12 bytes";
        assert_eq!(said("It is recorded"), format!("PASSED |PASSED |PASSED |{recorded}"));
        let mut within = bundle.clone();
        let claim = within.verdicts.claims.iter_mut().find(|claim| claim.scenario == "It is recorded").unwrap();
        claim.attempts = vec![example::attempt("It is recorded", &[(Verdict::Holds, "size is 7 bytes")], None)];
        let recorded = "SKIPPED recorded, not judged: size is 7 bytes";
        assert!(statuses(&within, "It is recorded").ends_with(recorded), "not judged is not passed");
        let deviation = said("It is known to fail");
        assert!(deviation.contains("|PENDING known deviation: size is 12 bytes; declared by us"), "{deviation}");
    }

    #[test]
    fn a_control_passes_where_it_is_refused_and_only_there() {
        let bundle = example::bundle();
        assert_eq!(statuses(&bundle, "A large one"), "PASSED |PASSED |PASSED ");
        let refused = |message: &Json| message["attachment"]["body"] == "refused, as it must be: size is 12 bytes";
        assert!(read(&bundle).iter().any(refused));
        let mut other = bundle.clone();
        let attempt = example::attempt("A large one", &[(Verdict::Fails, "weight is 12 kg")], None);
        let control = &mut other.verdicts.claims[0].controls[0];
        *control = ControlResult::weigh(&control.scenario, &control.feature, control.line, vec![attempt]);
        let said = statuses(&other, "A large one");
        assert!(said.starts_with("PASSED |PASSED |UNKNOWN the check fails, but not on"), "{said}");
        assert!(read(&other).iter().any(|message| message["attachment"]["body"] == "fails: weight is 12 kg"));
        assert_eq!(statuses(&bundle, "Not selected"), "SKIPPED |SKIPPED |UNKNOWN not run");
        let declared = statuses(&bundle, "A wrong one passes");
        assert!(
            declared.contains(
                "|PENDING known deviation: the wrong subject passes: passes: size is 7 bytes; declared by us"
            ),
            "{declared}"
        );
        let mut undeclared = bundle.clone();
        let claim = undeclared.verdicts.claims.iter_mut().find(|claim| claim.verdict == Verdict::KnownDeviation);
        let claim = claim.unwrap();
        claim.deviations.clear();
        *claim = claim.clone().concluded(undeclared.verdicts.on);
        assert_eq!(claim.controls[0].verdict, ControlVerdict::DoesNotDiscriminate);
        let said = statuses(&undeclared, "A wrong one passes");
        assert!(said.ends_with("|FAILED the wrong subject passes: passes: size is 7 bytes"), "{said}");
    }

    #[test]
    fn what_holds_only_when_tried_again_is_unknown_and_every_attempt_is_there() {
        let stream = read(&example::bundle());
        let said: Vec<_> = told(&stream, "It is flaky");
        assert_eq!(said.len(), 8);
        assert_eq!(said[3], ("UNKNOWN".to_owned(), "size: no sample of it was taken".to_owned()));
        assert!(said[7].0 == "UNKNOWN" && said[7].1.starts_with("flaky: it held only at attempt 2"), "{:?}", said[7]);
        let retried = stream.iter().filter(|message| message["testCaseFinished"]["willBeRetried"] == true);
        assert_eq!(retried.count(), 1);
        let second = stream.iter().filter(|message| message["testCaseStarted"]["attempt"] == 1);
        assert_eq!(second.count(), 1);
    }

    #[test]
    fn a_run_succeeds_only_where_its_exit_status_is_0_and_it_came_to_its_end() {
        let end = |bundle: &EvidenceBundle| read(bundle).pop().unwrap()["testRunFinished"].clone();
        let mut bundle = example::bundle();
        assert_eq!(end(&bundle)["success"], false);
        assert!(end(&bundle)["message"].as_str().unwrap().contains("A9-9 expired"));
        bundle.verdicts.exit = 0;
        assert_eq!(end(&bundle)["success"], true);
        bundle.verdicts.complete = false;
        assert_eq!(end(&bundle)["success"], false);
        let killed = example::killed();
        assert_eq!(statuses(&killed, "It fails"), "SKIPPED |SKIPPED |UNKNOWN the run ended before it");
        assert_eq!(end(&killed)["message"], "the run did not finish");
    }

    #[test]
    fn features_that_are_not_those_of_the_run_are_refused() {
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
    fn the_same_run_gives_the_same_bytes_and_every_step_has_an_identity_of_its_own() {
        let bundle = example::bundle();
        assert_eq!(messages(&bundle).unwrap(), messages(&bundle).unwrap());
        let mut ids = std::collections::BTreeSet::new();
        let cases = read(&bundle).into_iter().filter_map(|message| message.get("testCase").cloned());
        for step in cases.flat_map(|case| case["testSteps"].as_array().unwrap().clone()) {
            assert!(ids.insert(step["id"].to_string()), "{step}");
        }
    }
}
