//! The role of the nightly run may do exactly what the code asks AWS for.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use regex::Regex;
use serde_json::Value;

/// Permissions that AWS requires although no call has such a name, with what needs them.
const IMPLIED: [(&str, &str); 7] = [
    ("ec2:CreateTags", "tags that are given as a thing is made"),
    ("ecr-public:BatchCheckLayerAvailability", "a push, by the registry's own protocol"),
    ("ecr-public:CompleteLayerUpload", "a push"),
    ("ecr-public:InitiateLayerUpload", "a push"),
    ("ecr-public:TagResource", "tags that a repository is made with"),
    ("ecr-public:UploadLayerPart", "a push"),
    ("sts:GetServiceBearerToken", "the login to ECR Public"),
];

/// Names that look like a call to AWS but are not.
const NO_CALLS: [&str; 2] = ["create_time", "tag_set"];

/// Returns the actions that the SDK's calls in a text need, for the service that the text is about.
fn actions(service: &str, text: &str) -> BTreeSet<String> {
    let verbs = "accept|allocate|associate|attach|authorize|batch|cancel|complete|copy|create|delete|deregister|describe|\
                 detach|disassociate|get|import|initiate|list|modify|put|reboot|register|release|replace|request|reset|\
                 restore|revoke|run|send|start|stop|tag|terminate|untag|upload";
    let call = Regex::new(&format!(r"\.\s*((?:{verbs})_[a-z0-9_]+)\(\)")).unwrap();
    let waiter = Regex::new(r"\.\s*wait_until_([a-z]+)_[a-z_]+\(\)").unwrap();
    let called = call.captures_iter(text).map(|found| found[1].to_owned()).filter(|name| !NO_CALLS.contains(&&**name));
    let waited = waiter.captures_iter(text).map(|found| format!("describe_{}s", &found[1]));
    called.chain(waited).map(|name| format!("{service}:{}", camel(&name))).collect()
}

/// Turns `run_instances` into AWS's `RunInstances`.
fn camel(name: &str) -> String {
    let words = name.split('_').filter(|word| !word.is_empty());
    words.map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

fn asked_for() -> BTreeSet<String> {
    let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("steps/targets");
    let in_folder = fs::read_dir(targets.join("ec2")).unwrap().map(|entry| ("ec2", entry.unwrap().path()));
    let files = [("ec2", targets.join("ec2.rs")), ("ecr-public", targets.join("ecr.rs"))].into_iter().chain(in_folder);
    files.flat_map(|(service, file)| actions(service, &fs::read_to_string(file).unwrap())).collect()
}

fn policy() -> Vec<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("ci/aws/policy.json");
    let policy: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    policy["Statement"].as_array().unwrap().clone()
}

/// Reads one string or several: IAM accepts either.
fn strings(value: &Value) -> Vec<String> {
    let all = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
    all.iter().map(|one| one.as_str().unwrap().to_owned()).collect()
}

fn allowed() -> BTreeSet<String> {
    policy().iter().flat_map(|statement| strings(&statement["Action"])).collect()
}

/// No permission is a pattern, for no call has such a name.
#[test]
fn the_role_may_do_all_that_the_code_asks_for_and_nothing_else() {
    let (allowed, asked_for) = (allowed(), asked_for());
    let implied = BTreeSet::from(IMPLIED.map(|(action, _)| action.to_owned()));
    let missing: Vec<_> = asked_for.difference(&allowed).collect();
    let idle: Vec<_> =
        allowed.iter().filter(|action| !asked_for.contains(*action) && !implied.contains(*action)).collect();
    assert_eq!(
        (missing, idle),
        (vec![], vec![]),
        "policy.json lacks the first (or NO_CALLS does), and needs not the others"
    );
}

#[test]
fn the_role_can_only_remove_what_carries_our_tag_or_name() {
    let removes = ["ec2:Cancel", "ec2:Delete", "ec2:Release", "ec2:Terminate", "ecr-public:Delete"];
    let mut seen = 0;
    for statement in policy() {
        let removing =
            strings(&statement["Action"]).iter().any(|action| removes.iter().any(|verb| action.starts_with(verb)));
        if removing {
            seen += 1;
            let tagged = statement["Condition"]["Null"]["aws:ResourceTag/assay:run"] == "false";
            let named =
                strings(&statement["Resource"]).iter().all(|resource| resource.ends_with(":repository/assay-*"));
            assert!(tagged || named, "{} removes what is not ours", statement["Sid"]);
        }
    }
    assert!(seen >= 2, "EC2 and ECR Public are both removed from");
}
