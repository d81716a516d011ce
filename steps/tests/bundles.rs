//! What a run leaves, as its recipient uses it: verified, reported again, signed; and without a secret in it.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::{Project, fake, files, prints};

/// Runs claims that need no machine, and returns the sealed bundle.
fn run(project: &Project, more: &[&str]) -> PathBuf {
    let arguments = [&["--tags", "@A8-4", "--evidence", "run"], more].concat();
    prints(&mut project.run(&arguments), 0, &["1 hold, 0 fail"]);
    project.path("run")
}

fn key(project: &Project, name: &str) -> (String, String) {
    let (key, allowed) = (project.path(name), project.path(&format!("{name}.allowed")));
    let mut make = std::process::Command::new("ssh-keygen");
    assert!(make.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status().unwrap().success());
    let public = fs::read_to_string(key.with_extension("pub")).unwrap();
    fs::write(&allowed, format!("{name}@example.org {public}")).unwrap();
    (key.display().to_string(), allowed.display().to_string())
}

#[test]
fn a_run_is_verified_and_what_was_changed_is_named() {
    let project = Project::new();
    let folder = run(&project, &[]);
    let agrees = ["as SHA256SUMS has them", "comes of the", "features/", "this image and this commit", "not signed"];
    prints(&mut project.assay(&["verify", "run"]), 0, &agrees);
    prints(&mut project.assay(&["report", "run"]), 0, &["as they were, to the byte"]);
    // The recipient of the bundle has nothing else: neither the project nor a home.
    let mut stranger = project.assay(&["verify", "run"]);
    stranger.env("ASSAY_ROOT", "/nowhere").env_remove("ASSAY_CACHE").env_remove("HOME");
    prints(&mut stranger, 0, &["everything agrees"]);
    let falsified = fs::read_to_string(folder.join("verdicts.json")).unwrap().replace("\"holds\"", "\"fails\"");
    fs::write(folder.join("verdicts.json"), &falsified).unwrap();
    let differs = ["✘ verdicts.json: changed since it was sealed", "A8-4: stored as \"fails\", but", "failed\n"];
    prints(&mut project.assay(&["verify", "run"]), 1, &differs);
    let json = prints(&mut project.assay(&["verify", "run", "--json"]), 1, &[]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["verified"], &json["findings"][0]["file"]), (&false.into(), &"verdicts.json".into()));
    let refused = "is not what was sealed, so nothing is written there: verdicts.json: changed";
    prints(&mut project.assay(&["report", "run"]), 1, &[refused]);
    assert_eq!(fs::read_to_string(folder.join("verdicts.json")).unwrap(), falsified);
    prints(&mut project.assay(&["report", "run", "--out", "elsewhere"]), 0, &["reports made"]);
    assert!(project.path("elsewhere/junit.xml").exists());
}

#[test]
fn reports_that_are_gone_are_made_again_to_the_byte() {
    let project = Project::new();
    let folder = run(&project, &[]);
    let reports = ["report.html", "junit.xml", "messages.ndjson"].map(|name| folder.join(name));
    let before = reports.clone().map(|path| fs::read(path).unwrap());
    reports.iter().for_each(|path| fs::remove_file(path).unwrap());
    prints(&mut project.assay(&["verify", "run"]), 1, &["✘ report.html: is missing"]);
    prints(&mut project.assay(&["report", "run"]), 0, &["made again, the folder sealed again"]);
    assert!(before == reports.map(|path| fs::read(path).unwrap()));
    prints(&mut project.assay(&["verify", "run"]), 0, &["everything agrees"]);
}

#[test]
fn a_run_is_signed_by_choice_and_the_signature_is_never_lost_unsaid() {
    let project = Project::new();
    let (alice, allows_alice) = key(&project, "alice");
    let (bob, allows_bob) = key(&project, "bob");
    let folder = run(&project, &["--sign", &alice]);
    let by = |allowed: &str| project.assay(&["verify", "run", "--allowed-signers", allowed]);
    prints(&mut by(&allows_alice), 0, &["✔ signed by alice@example.org: Good \"assay\" signature"]);
    prints(&mut by(&allows_bob), 1, &["✘ attestation.json.sig: attestation.json.sig is by no signer in"]);
    prints(&mut project.assay(&["verify", "run"]), 0, &["signed by a key of no allowed signer"]);
    fs::write(folder.join("junit.xml"), "").unwrap();
    prints(&mut project.assay(&["report", "run"]), 1, &["is signed", "--sign KEY", "--out FOLDER"]);
    prints(&mut project.assay(&["report", "run", "--sign", &bob]), 0, &["sealed again"]);
    prints(&mut by(&allows_bob), 0, &["✔ signed by bob@example.org"]);
}

#[test]
fn a_run_that_was_killed_is_reported_all_the_same() {
    let project = Project::new();
    project.change("fixtures/selfcheck/run.json", "\"ended\": \"2026", "\"ended\": null, \"was\": \"2026");
    prints(&mut project.assay(&["report", "fixtures/selfcheck"]), 0, &["did not finish", "not sealed"]);
    assert!(project.path("fixtures/selfcheck/junit.xml").exists());
    assert!(!project.path("fixtures/selfcheck/SHA256SUMS").exists());
    let killed = "SHA256SUMS: missing: the run was killed before it was sealed, or the file was removed";
    prints(&mut project.assay(&["verify", "fixtures/selfcheck"]), 1, &[killed]);
}

#[test]
fn runs_are_compared_and_what_got_worse_ends_it_with_1() {
    let project = Project::new();
    run(&project, &[]);
    let compare = |folders: &[&str]| project.assay(&[&["compare"], folders].concat());
    project.change("features/a8_findings.feature", "72 %", "82 %");
    prints(&mut project.run(&["--tags", "@A8-4", "--evidence", "later"]), 1, &["0 hold, 1 fail"]);
    prints(&mut compare(&["later", "run", "--out", "page"]), 1, &["✘ worse   A8-4  ", "holds in run", "got worse"]);
    assert!(fs::read_to_string(project.path("page/comparison.html")).unwrap().contains("A8-4"));
    let json: Value = serde_json::from_str(&prints(&mut compare(&["run", "later", "--json"]), 1, &[])).unwrap();
    let claims = json["claims"].as_array().unwrap();
    let claim = claims.iter().find(|claim| claim["id"] == "A8-4").unwrap();
    assert_eq!((&claim["verdicts"], &claim["changed_verdict"]), (&serde_json::json!(["holds", "fails"]), &true.into()));
    assert_eq!((json["schema"].as_u64(), claims.len()), (Some(1), 49));
}

#[test]
fn a_folder_full_of_traps_is_reported_without_falling_into_one() {
    let project = Project::new();
    let folder = project.path("fixtures/selfcheck");
    // Neither ended nor sealed: nothing has to read a whole log of 10 GB for its checksum.
    project.change("fixtures/selfcheck/run.json", "\"ended\": \"2026", "\"ended\": null, \"was\": \"2026");
    fs::File::create(folder.join("console.log")).unwrap().set_len(10 << 30).unwrap();
    fs::write(folder.join("spare-1.console.log"), b"\xff<script>alert(1)</script>\x1b[31m").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.join("journal.log")).unwrap();
    project.change("fixtures/selfcheck/verdicts.json", "\"trials/", "\"../../../../../../etc/passwd\", \"trials/");
    project.change("fixtures/selfcheck/verdicts.json", "The module is small", "<img src=x onerror=alert(1)>");
    prints(&mut project.assay(&["report", "fixtures/selfcheck"]), 0, &["not sealed"]);
    for name in ["report.html", "junit.xml", "messages.ndjson", "summary.md", "oscal-assessment-results.json"] {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        assert!(!text.contains("root:") && text.len() < 2_000_000, "{name}: {} bytes", text.len());
        assert!(!text.contains("<img src=x") || name.ends_with("json"), "{name} has markup of the evidence");
    }
    let missing = "✘ ../../../../../../etc/passwd: A";
    prints(&mut project.assay(&["verify", "fixtures/selfcheck"]), 1, &[missing, "evidence of it, and it is not there"]);
}

/// Variables that hold secrets, whatever their values look like.
const VARIABLES: [(&str, &str); 5] = [
    ("AWS_SECRET_ACCESS_KEY", "plantedvariable/one+1"),
    ("GITHUB_TOKEN", "plantedvariable two\"2"),
    ("REGISTRY_PASSWORD", "plantedvariable:three"),
    ("ASSAY_TEST_PRIVATE_KEY", "plantedvariable\nfour"),
    ("EC2_USER_DATA", "plantedvariable&five"),
];

#[test]
fn a_secret_in_the_environment_the_output_or_an_error_reaches_no_file_of_the_bundle() {
    // The unit tests of redaction know every kind. They are assembled here so that no scanner takes them for real ones.
    let key = |kind: &str| format!("-----{kind} OPENSSH PRIVATE KEY-----");
    let planted = [
        format!("key {}QWERTYUIOPASDFGH", "AKIA"),
        format!("{}\nb3BlbnNzaC1rZXktdjEAAAAABG5v\n{}", key("BEGIN"), key("END")),
        "pulling https://me:batterystaple@registry.example/v2/".to_owned(),
        "logging in with --password correcthorse".to_owned(),
    ];
    let secrets = ["QWERTYUIOPASDFGH", "b3BlbnNzaC1rZXktdjE", "batterystaple", "correcthorse", "plantedvariable"];
    for status in [0, 1] {
        let project = Project::new();
        fs::write(project.path("planted"), planted.join("\n\n")).unwrap();
        let path = project.only(&[]);
        let variables: String = VARIABLES.iter().map(|(name, _)| format!("echo \"saw ${name}\"; ")).collect();
        // The control of A5-5 asks the host's runc for its version; this fake prints every secret, on both streams.
        let text = project.path("planted");
        let tell = format!("tell() {{ echo version; {variables} cat {}; }}", text.display());
        fake(&path, "runc", &format!("{tell}\ntell; tell >&2; exit {status}"));
        let all = format!("{}:/usr/bin:/bin", path.display());
        let mut run = project.run(&["--name", "A runtime without WebAssembly support", "--evidence", "run"]);
        run.env("PATH", all).envs(VARIABLES).output().unwrap();

        let mut seen = String::new();
        for file in files(&project.path("run")) {
            let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
            for secret in secrets {
                assert!(!text.contains(secret), "{secret} is in {}", file.display());
            }
            seen += &text;
        }
        // What was printed did reach the bundle; otherwise this test would show nothing.
        assert!(seen.contains("saw [redacted]"), "{seen}");
        assert!(seen.matches("[redacted]").count() > planted.len() + VARIABLES.len(), "each was there: {seen}");
    }
}
