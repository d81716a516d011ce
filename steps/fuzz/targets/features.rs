//! Feature text: parsed, expanded and planned.
#![no_main]

use std::sync::LazyLock;

use assay::claims::feature_file::{FeatureFile, GherkinErrors};
use assay::claims::plan::{Capabilities, Plan};
use assay::claims::register::Register;
use libfuzzer_sys::fuzz_target;

const CLAIM: &str = "[[claim]]\nid = \"A6-4\"\nclaim = \"x\"\nbound = \"y\"\ncontrol = \"z\"\n";
static REGISTER: LazyLock<Register> = LazyLock::new(|| Register::parse(CLAIM).expect("a claim"));

fuzz_target!(
    init: assay_fuzz::seed(&["features", "fixtures/own/mosquitto/features"], "feature"),
    |text: &str| {
        match FeatureFile::parse("x.feature".to_owned(), text) {
            Ok(file) => {
                let scenarios = file.scenarios().len();
                let files = [file];
                if let Ok(plan) = Plan::make(&files, &REGISTER, &Capabilities::default(), |_| true, None) {
                    assert_eq!(plan.scenarios.len(), scenarios, "each scenario is planned once");
                }
            }
            Err(error) => {
                let GherkinErrors(errors) = error.downcast_ref().expect("errors with lines");
                let lines = 1..=text.split('\n').count() + 1;
                assert!(!errors.is_empty() && errors.iter().all(|error| lines.contains(&error.line)), "{errors:?}");
                assert!(error.to_string().len() <= 1_000 * (text.len() + 1), "the errors are far longer than the text");
            }
        }
    }
);
