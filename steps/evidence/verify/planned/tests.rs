use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;

use jiff::ToSpan as _;
use serde_json::json;
use tempfile::TempDir;

use super::super::tests::{SealedRun, claim};
use super::super::verify;
use super::*;
use crate::base::digest::sha256;
use crate::evidence::bundle::EvidenceBundle;

/// A recorded run with a plan by which it was judged.
fn planned(change: impl FnOnce(&mut SealedPlan)) -> SealedRun {
    let run = SealedRun::sealed();
    let mut plan = SealedPlan::of(&EvidenceBundle::open(run.path()).unwrap()).unwrap();
    change(&mut plan);
    let text = serde_json::to_string(&plan).unwrap();
    run.change("run.json", |json| json["plan"] = json!({ "sha256": sha256(text.as_bytes()) }));
    fs::write(run.path().join(PLAN), text).unwrap();
    run.seal(None);
    run
}

#[test]
fn a_run_that_was_judged_as_planned_agrees_and_says_so() {
    let verification = verify(planned(|_| ()).path(), &Trust::default()).unwrap();
    assert_eq!(verification.findings, []);
    assert!(verification.sealed);
    let sentence = "every sample is later than plan.json of 20";
    assert!(verification.agrees.iter().any(|printed| printed.starts_with(sentence)), "{:#?}", verification.agrees);
    let unsealed = SealedRun::sealed();
    let verification = verify(unsealed.path(), &Trust::default()).unwrap();
    assert!(verification.verified && !verification.sealed);
    let shown = verification.render(unsealed.path());
    assert!(shown.contains("– not sealed before it was measured: it has no plan.json\n"), "{shown}");
}

#[test]
fn a_plan_that_was_written_after_the_first_sample_is_refused() {
    planned(|plan| plan.at += 1.second()).names(PLAN, "it was written after the first sample: at 20");
}

#[test]
fn a_bound_that_was_changed_in_words_or_in_a_rule_is_refused() {
    let run = planned(|plan| plan.claims[1].bound = "< 80 KB".to_owned());
    run.names(PLAN, "A2-2: its bound was planned as \"< 80 KB\", and is \"< 100 KB\"");
    let run = planned(|_| ());
    // The verdict is the same by the other rule, and the words of the step stay.
    run.change("verdicts.json", |json| {
        let attempt = &mut claim(json, "A2-2")["scenarios"][0]["attempts"][0];
        attempt["checks"][0]["bound"] = 120_000.0.into();
    });
    let again = EvidenceBundle::open(run.path()).unwrap();
    let on = again.verdicts.on;
    let claims: Vec<_> = again.verdicts.claims.iter().map(|claim| claim.again(&again.samples, on)).collect();
    run.change("verdicts.json", |json| json["claims"] = serde_json::to_value(claims).unwrap());
    run.seal(None);
    let problem = "planned was module.size < 100 kB, and judged module.size < 120 kB";
    run.names(PLAN, problem);
    let others: Vec<_> = run.findings().into_iter().filter(|found| !found.problem.contains(problem)).collect();
    assert_eq!(others, [], "only the plan shows it");
}

#[test]
fn a_scenario_that_was_dropped_with_its_text_is_refused() {
    let run = planned(|_| ());
    run.change("verdicts.json", |json| json["claims"].as_array_mut().unwrap().retain(|claim| claim["id"] != "A2-2"));
    for (file, from, to) in [("claims.toml", "id = \"A2-2\"", "id = \"A3-1\""), ("a2_build.feature", "@A2-2", "@A3-1")]
    {
        let path = run.path().join("features").join(file);
        let text = fs::read_to_string(&path).unwrap();
        let at = text.find(from).unwrap();
        let end = text[at..].find("\n\n").map_or(text.len(), |end| at + end);
        let changed = if file.ends_with("toml") {
            format!("{}{}", &text[..at - "[[claim]]\n".len()], &text[end..])
        } else {
            text.replace(from, to)
        };
        fs::write(path, changed).unwrap();
    }
    run.seal(None);
    run.names(PLAN, "A2-2: it was planned, and is not in verdicts.json");
    run.names(PLAN, "features/claims.toml is not the file that was planned with");
}

#[test]
fn a_plan_that_was_replaced_taken_away_or_is_of_another_run_is_refused() {
    let run = planned(|_| ());
    let plan = fs::read_to_string(run.path().join(PLAN)).unwrap();
    fs::write(run.path().join(PLAN), plan.replace("< 100 KB", "< 90 KB")).unwrap();
    run.seal(None);
    run.names(PLAN, "it is not the plan that was sealed: its SHA-256 is");
    fs::remove_file(run.path().join(PLAN)).unwrap();
    run.seal(None);
    run.names(PLAN, "cannot read");
    planned(|plan| plan.run = "other".to_owned()).names(PLAN, "it is the plan of another run, other");
}

#[test]
fn more_attempts_than_planned_and_what_did_not_run_are_refused() {
    let run = planned(|plan| plan.limits = json!({ "retries": 0 }));
    run.change("verdicts.json", |json| {
        let attempts = claim(json, "A2-2")["scenarios"][0]["attempts"].as_array_mut().unwrap();
        attempts.push(attempts[0].clone());
    });
    run.names(PLAN, "A2-2: its scenario at features/a2_build.feature:");
    let run = planned(|_| ());
    run.change("verdicts.json", |json| claim(json, "A2-2")["controls"] = json!([]));
    run.names(PLAN, "was planned, and is not in verdicts.json");
}

/// A time-stamp server on this host, by `openssl ts`. Returns its address and its certificate.
fn clock(folder: &Path) -> (String, std::path::PathBuf) {
    let certificate = folder.join("clock.pem");
    let key = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=clock"];
    let mut openssl = Command::new("openssl");
    openssl.args(key).args(["-addext", "extendedKeyUsage=critical,timeStamping", "-keyout", "clock.key"]);
    assert!(openssl.args(["-out", "clock.pem"]).current_dir(folder).output().unwrap().status.success());
    let config =
        "[tsa]\ndefault_tsa=own\n[own]\nserial=serial\ndefault_policy=1.2.3\nsigner_digest=sha256\ndigests=sha256\n";
    fs::write(folder.join("clock.conf"), config).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, folder) = (listener.local_addr().unwrap(), folder.to_owned());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(&mut stream);
            let mut length = 0;
            loop {
                let mut line = String::new();
                lines.read_line(&mut line).unwrap();
                match line.trim().split_once(": ") {
                    Some(("Content-Length", bytes)) => length = bytes.parse().unwrap(),
                    Some(_) => {}
                    None if line.trim().is_empty() => break,
                    None => assert!(line.starts_with("POST / HTTP/1.0"), "{line}"),
                }
            }
            let mut body = vec![0; length];
            lines.read_exact(&mut body).unwrap();
            fs::write(folder.join("question"), body).unwrap();
            let mut openssl = Command::new("openssl");
            openssl.args(["ts", "-reply", "-config", "clock.conf", "-queryfile", "question", "-signer", "clock.pem"]);
            let answer = openssl.args(["-inkey", "clock.key"]).current_dir(&folder).output().unwrap().stdout;
            stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Type: application/timestamp-reply\r\n\r\n").unwrap();
            stream.write_all(&answer).unwrap();
        }
    });
    (format!("http://{address}"), certificate)
}

#[cfg(feature = "run")]
#[test]
fn a_time_stamp_is_of_this_plan_by_this_authority_and_before_the_first_sample() {
    let folder = TempDir::new().unwrap();
    let (server, authority) = clock(folder.path());
    let file = folder.path().join("plan");
    fs::write(&file, "a plan").unwrap();
    let answer = folder.path().join("answer");
    let time = timestamp::stamp(&file, &answer, &server).unwrap();
    let now = jiff::Timestamp::now();
    assert!(time <= now && time > now - 10.seconds(), "{time} {now}");
    assert_eq!(timestamp::read(&file, &answer, Some(&authority)).unwrap(), time);
    let other = TempDir::new().unwrap();
    let (_, stranger) = clock(other.path());
    let refused = timestamp::read(&file, &answer, Some(&stranger)).unwrap_err().to_string();
    assert!(refused.contains("openssl ts refuses it"), "{refused}");
    fs::write(&file, "another plan").unwrap();
    assert_eq!(timestamp::read(&file, &answer, None).unwrap_err().to_string(), "it is the time of another file");
    for (server, problem) in [("https://x", "write http://…"), ("http://127.0.0.1:1", "no time stamp from")] {
        let refused = format!("{:#}", timestamp::stamp(&file, &answer, server).unwrap_err());
        assert!(refused.contains(problem), "{refused}");
    }

    // The recorded run is older than any time that it can get now.
    let run = planned(|_| ());
    timestamp::stamp(&run.path().join(PLAN), &run.path().join(TIME), &server).unwrap();
    run.seal(None);
    run.names(TIME, "the first sample was taken before the plan was time-stamped, at 20");
    let trust = Trust { authority: Some(&authority), ..Trust::default() };
    let findings = verify(planned(|_| ()).path(), &trust).unwrap().findings;
    assert!(findings.iter().any(|one| one.problem == "there is none, and a time authority is named"), "{findings:?}");
}

#[test]
fn a_run_whose_earlier_run_was_dropped_or_changed_is_refused() {
    let [folder, elsewhere] = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let mut previous: Option<Link> = None;
    let runs = ["a", "b", "c"].map(|name| {
        let run = planned(|plan| {
            plan.run = name.to_owned();
            plan.previous = previous.clone();
        });
        for file in ["run.json", "verdicts.json"] {
            run.change(file, |json| json["run"] = json!(name));
        }
        run.seal(None);
        let path = folder.path().join(name);
        fs::rename(run.path(), &path).unwrap();
        previous = Some(Link { run: name.to_owned(), sha256: sha256(&fs::read(path.join(PLAN)).unwrap()) });
        path
    });
    let trust = Trust { history: true, ..Trust::default() };
    let findings = || verify(&runs[2], &trust).unwrap().findings.into_iter().map(|one| one.problem).collect::<String>();
    let whole = verify(&runs[2], &trust).unwrap();
    assert_eq!(whole.findings, []);
    let sentence = "every run before it in its folder is there: 2, back to a, of which 0 did not finish".to_owned();
    assert!(whole.agrees.contains(&sentence), "{:#?}", whole.agrees);
    fs::rename(&runs[1], elsewhere.path().join("b")).unwrap();
    assert_eq!(findings(), "c: run b was before it, and is not there");
    fs::rename(elsewhere.path().join("b"), &runs[1]).unwrap();
    let plan = fs::read_to_string(runs[1].join(PLAN)).unwrap();
    fs::write(runs[1].join(PLAN), plan + " ").unwrap();
    assert_eq!(findings(), "c: the plan of run b before it was changed since");
    let alone = verify(SealedRun::sealed().path(), &trust).unwrap().findings;
    assert!(alone.iter().any(|one| one.problem.starts_with("it was not sealed, so it names no run before it")));
}
