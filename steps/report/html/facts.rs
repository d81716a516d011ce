//! Shows the environment of the run: times, host, machine and versions, from `run.json`.

use std::collections::BTreeMap;

use maud::{Markup, html};
use serde::Deserialize as _;
use serde_json::Value as Json;

use super::parts::ByteBudget;
use super::section;
use super::words::{plain, took};
use crate::base::unit::Unit;
use crate::base::work_summary::WorkSummary;

/// How much of a fact is shown, in characters.
const FACT: usize = 400;

const RUN: [&str; 8] = ["run", "target", "platform", "started", "ended", "command_line", "assay", "rustc"];

/// The keys that get a group of their own, and the groups' names.
const GROUPS: [(&str, &str); 5] = [
    ("git", "The project"),
    ("image", "The workload's image"),
    ("host", "The host"),
    ("cloud", "The cloud"),
    ("machine", "The device"),
];

pub(super) fn facts(run: &Json, budget: &mut ByteBudget) -> Markup {
    let known = |key: &str| RUN.contains(&key) || GROUPS.iter().any(|(name, _)| *name == key);
    let others = run.as_object().into_iter().flatten();
    let others = others.filter(|(key, _)| !known(key) && !["schema", "time", "kinds"].contains(&key.as_str()));
    let content = html! {
        @if is(run, "/stand_in", true) { p.warning { strong { "This was not AWS." } (FAKE_AWS) } }
        @if is(run, "/kinds/nspawn/native", true) && is(run, "/machine/native", false) { p.warning { (TWO_KINDS) } }
        @else if is(run, "/machine/native", false) { p.warning { strong { "The device's CPU was emulated" } (EMULATED) } }
        div.groups {
            div.group {
                h3 { "The run" }
                dl {
                    @for key in RUN { @if let Some(value) = run.get(key) { (budget.admit("facts", fact(key, value))) } }
                    @if let Some(seconds) = duration(run) { dt { "took" } dd { (took(seconds)) } }
                    @for (key, value) in others { (budget.admit("facts", fact(key, value))) }
                }
            }
            (budget.admit("facts", time(run)))
            @for (key, title) in GROUPS {
                @if let Some(facts) = run.get(key).and_then(Json::as_object) {
                    div.group {
                        h3 { (title) }
                        dl { @for (key, value) in facts { (budget.admit("facts", fact(key, value))) } }
                    }
                }
            }
        }
        (budget.omissions())
    };
    section("facts", "Environment", &content)
}

pub(super) fn is(run: &Json, fact: &str, value: bool) -> bool {
    run.pointer(fact).and_then(Json::as_bool) == Some(value)
}

const FAKE_AWS: &str = " A stand-in replaced it and its instance: this says nothing about AWS. What only AWS can judge \
    was measured and recorded here, and not judged.";

const TWO_KINDS: &str = "The virtual machines' CPU was emulated, and that of system containers (nspawn) was native: what \
    is about time and CPU was measured on these, when the emulated ones had ended. Each claim below says on which it was run.";

const EMULATED: &str = " (by QEMU's translator), some fifty times slower than a real one. So times and CPU use say \
    nothing about a real device: the claims about them were measured and recorded here, and not judged. What does not \
    depend on speed was judged: sizes, memory, limits, exit codes, what was printed.";

fn duration(run: &Json) -> Option<f64> {
    let time = |key: &str| run.get(key)?.as_str()?.parse::<jiff::Timestamp>().ok();
    Some(time("ended")?.duration_since(time("started")?).as_secs_f64()).filter(|seconds| *seconds >= 0.0)
}

fn fact(name: &str, value: &Json) -> Markup {
    html! { dt { (plain(&name.replace('_', " "), 60)) } dd { (plain(&shown(name, value), FACT)) } }
}

fn shown(name: &str, value: &Json) -> String {
    match value {
        Json::String(text) if matches!(name, "started" | "ended") => {
            text.parse::<jiff::Timestamp>().map_or(text.clone(), |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
        }
        // The value has the format of /proc/meminfo.
        Json::String(text) if name == "memory" => {
            match text.strip_suffix(" kB").and_then(|kib| kib.parse::<f64>().ok()) {
                Some(kib) => Unit::Bytes.format(kib * 1024.0),
                None => text.clone(),
            }
        }
        Json::String(text) => text.clone(),
        Json::Null => "not known".to_owned(),
        Json::Bool(true) if name == "changed" => "yes: the project had changes beyond this commit".to_owned(),
        Json::Bool(yes) => (if *yes { "yes" } else { "no" }).to_owned(),
        Json::Number(number) if name == "memory" => {
            number.as_f64().map_or(number.to_string(), |bytes| Unit::Bytes.format(bytes))
        }
        Json::Number(number) => number.to_string(),
        Json::Array(parts) => {
            let separator = if parts.iter().any(Json::is_object) { "; " } else { " " };
            parts.iter().map(|part| shown("", part)).collect::<Vec<_>>().join(separator)
        }
        Json::Object(features) if name == "offers" => {
            let lack = |value: &Json| Some(value.get("kind")?.as_str()?.replace('-', " "));
            let one = |(name, value): (&String, &Json)| match lack(value) {
                Some(lack) => format!("no {name} ({lack})"),
                None => name.clone(),
            };
            features.iter().map(one).collect::<Vec<_>>().join("; ")
        }
        // Each machine's kind, by its name.
        Json::Object(machines) if name == "machines" => {
            let mut kinds: BTreeMap<String, u32> = BTreeMap::new();
            machines.values().for_each(|kind| *kinds.entry(shown("", kind)).or_default() += 1);
            kinds.iter().map(|(kind, count)| format!("{count} × {kind}")).collect::<Vec<_>>().join(", ")
        }
        Json::Object(parts) => {
            let part = |(name, value): (&String, &Json)| format!("{} {}", name.replace('_', " "), shown(name, value));
            parts.iter().map(part).collect::<Vec<_>>().join(", ")
        }
    }
}

/// Shows what took the run's time: the longest chain of dependent work.
fn time(run: &Json) -> Markup {
    let Some(time) = run.get("time").and_then(|time| WorkSummary::deserialize(time).ok()) else { return html! {} };
    html! {
        div.group {
            h3 { "Time" }
            dl {
                dt { "scenarios" } dd { (took(time.wall)) }
                dt { "critical path" } dd { (took(time.critical)) }
                @for step in time.path.iter().filter(|step| step.took >= 0.05) {
                    dt { "↳ " (plain(&step.name, 60)) } dd { (took(step.took)) }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::words;
    use super::*;
    use serde_json::json;

    #[test]
    fn facts_are_shown_in_words_and_so_are_those_that_this_version_does_not_know() {
        let run = json!({
            "run": "r", "target": "ec2", "started": "2026-11-24T15:22:34Z", "ended": null, "stand_in": true,
            "command_line": ["assay", "run"],
            "git": { "commit": "3c9d", "changed": true },
            "host": { "memory": "24684096 kB", "offers": { "fuse": true, "kvm": { "kind": "pvm" } } },
            "cloud": { "stand_in": { "endpoint": "http://e", "ssh": null }, "images": [{ "id": "ami-1" }, { "id": "ami-2" }] },
            "machine": { "native": false, "memory": 431_398_912, "crun_features": ["+A", "+B"] },
            "time": { "wall": 163.7, "critical": 157.2, "work": [], "path": [
                { "name": "machine: nano", "took": 35.0 }, { "name": "too short", "took": 0.01 }] },
            "machines": { "nano": "vm", "nano-nspawn": "nspawn", "short-nspawn": "nspawn" },
            "later": { "a_b": 1.5, "c": { "d": true } },
            "new<b>": "<script>",
        });
        let page = facts(&run, &mut ByteBudget::of(10_000)).into_string();
        assert!(page.contains("<dt>new&lt;b&gt;</dt>") && page.contains("&lt;script&gt;"), "{page}");
        insta::assert_snapshot!("facts", words(&page));
    }

    #[test]
    fn nothing_is_said_about_a_native_cpu_and_aws_itself() {
        let run = json!({ "target": "ec2", "stand_in": false, "machine": { "native": true } });
        assert!(!facts(&run, &mut ByteBudget::of(10_000)).into_string().contains("class=\"warning\""));
        assert!(facts(&json!([1]), &mut ByteBudget::of(10_000)).into_string().contains("Environment"));
    }
}
