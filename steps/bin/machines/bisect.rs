//! `assay bisect`: finds between which two platforms, or days of an archive, the verdict of a claim changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Parser as _;
use jiff::civil::Date;
use serde_json::{Value as Json, json};

use super::super::print_line;
use crate::e2e::options::{Options, Verbosity};
use crate::e2e::{self, PlannedRun};
use assay::base::commands;
use assay::base::exit_status::{Exit, ExitStatus, infrastructure, usage};
use assay::base::progress::Progress;
use assay::base::settings::Settings;
use assay::claims::register::ClaimId;
use assay::claims::suite::ClaimSuite;
use assay::evidence::bundle::EvidenceBundle;
use assay::evidence::{ClaimResult, new_or_empty, new_run_id};
use assay::run::{Interrupted, Signals};
use assay::targets::Platform;
use assay::verdict::Verdict;

/// The packages whose versions a run records, as `run.json` names them.
const PACKAGES: [&str; 4] = ["podman", "crun", "wasmedge", "systemd"];
const FEATURES: &str = "crun_features";

#[derive(Debug, clap::Args)]
pub struct Bisect {
    /// The claim, such as A5-5
    claim: ClaimId,
    /// What machines run, the oldest first: names or files, as for `assay run`. With --from and --to, one platform, whose
    /// packages are those of a day
    #[arg(long, value_name = "NAME|FILE", required = true)]
    platform: Vec<String>,
    /// The first day to look at
    #[arg(long, value_name = "DATE", requires = "to")]
    from: Option<Date>,
    /// The last day to look at
    #[arg(long, value_name = "DATE", requires = "from")]
    to: Option<Date>,
    /// An archive that has the packages of each day; {date} stands for the day, as 20260131
    #[arg(long, value_name = "URL", default_value = "https://snapshot.debian.org/archive/debian/{date}T000000Z")]
    archive: String,
    /// local, nspawn, vm, vm:amd64 or vm:arm64 [default: local; env: ASSAY_TARGET]
    #[arg(long)]
    target: Option<String>,
    /// The folder of a workload of your own: one of its claims [default: the annex]
    #[arg(long, value_name = "DIR")]
    suite: Option<PathBuf>,
    /// The folder for the evidence of all runs; new or empty [default: target/assay/<id>]
    #[arg(long, value_name = "DIR")]
    evidence: Option<PathBuf>,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    verbosity: Verbosity,
}

/// Options of a run, parsed as those that a user types.
#[derive(clap::Parser)]
struct Typed {
    #[command(flatten)]
    options: Options,
}

/// A run at one of the places.
#[derive(Clone, Debug)]
struct Judged {
    verdict: Verdict,
    place: String,
    bundle: PathBuf,
    machine: Json,
}

pub fn bisect(arguments: &Bisect) -> Result<ExitStatus, Exit> {
    arguments.verbosity.apply();
    e2e::in_runtime(async |settings| Box::pin(arguments.search(settings)).await)
}

impl Bisect {
    async fn search(&self, settings: Settings) -> Result<ExitStatus, Exit> {
        let folder = self.evidence.clone().unwrap_or_else(|| settings.runs.join(new_run_id()));
        // What is wrong with any of them is reported before the first one runs.
        let platforms = self.platforms(&settings, &folder).map_err(usage)?;
        self.options(&settings, &self.platform[0], None)?;
        let suite = ClaimSuite::read(self.suite.as_ref().unwrap_or(&settings.root)).map_err(usage)?;
        let known = suite
            .register
            .get(self.claim)
            .with_context(|| format!("{} is not a claim: `{}` lists them", self.claim, commands::assay("coverage")));
        known.map_err(usage)?;
        new_or_empty(&folder).map_err(usage)?;
        let (progress, mut signals) = (Progress::to_stderr(), Signals::listen().map_err(infrastructure)?);
        let mut runs = 0;
        let found = search(platforms.len(), async |index| {
            runs += 1;
            let judged = self.judge(&platforms[index], &folder, &settings, &progress, &mut signals).await?;
            progress.note(match &judged {
                Some(Judged { verdict, place, .. }) => format!("{}: {verdict} on {place}", self.claim),
                None => format!("{}: cannot be judged on {}", self.claim, platforms[index].name),
            });
            Ok::<_, Exit>(judged)
        });
        let found = found.await?;
        let names: Vec<&str> = platforms.iter().map(|platform| platform.name.as_str()).collect();
        print_line(&match self.json {
            true => json!({ "claim": self.claim.to_string(), "runs": runs, "found": found.json(&names) }).to_string(),
            false => format!("{}: {}; {runs} runs", self.claim, found.sentence(&names)),
        });
        Ok(found.status())
    }

    fn platforms(&self, settings: &Settings, folder: &Path) -> anyhow::Result<Vec<Platform>> {
        let named = |name: &String| Platform::named(&settings.root, name);
        let platforms: Vec<Platform> = self.platform.iter().map(named).collect::<anyhow::Result<_>>()?;
        let (Some(from), Some(to)) = (self.from, self.to) else {
            anyhow::ensure!(platforms.len() > 1, "there is nothing between: name two platforms, or --from and --to");
            return Ok(platforms);
        };
        let [platform] = &platforms[..] else { anyhow::bail!("with --from and --to, name one platform") };
        anyhow::ensure!(from < to, "--from {from} is not before --to {to}");
        anyhow::ensure!(self.archive.contains("{date}"), "--archive {}: {{date}} must stand for the day", self.archive);
        let days = from.series(jiff::Span::new().days(1)).take_while(|day| *day <= to);
        let of_day = |day: Date| {
            let day = day.strftime("%Y%m%d").to_string();
            let path = folder.join(format!("{}-{day}.toml", platform.name));
            platform.from_archive(self.archive.replace("{date}", &day), format!("{}-{day}", platform.name), path)
        };
        Ok(days.map(of_day).collect())
    }

    fn options(&self, settings: &Settings, platform: &str, evidence: Option<&Path>) -> Result<Options, Exit> {
        let mut typed = vec!["assay".to_owned(), format!("--tags=@{}", self.claim), format!("--platform={platform}")];
        typed.extend(self.target.iter().map(|target| format!("--target={target}")));
        let paths = [("suite", self.suite.as_deref()), ("evidence", evidence)];
        typed.extend(paths.iter().filter_map(|(name, path)| Some(format!("--{name}={}", (*path)?.display()))));
        let Typed { options } = Typed::try_parse_from(typed).map_err(|error| usage(anyhow::Error::new(error)))?;
        options.places(settings).map_err(usage)?;
        Ok(options)
    }

    /// Runs the claim's scenarios on a platform. Returns `None` if they could not be judged there.
    async fn judge(
        &self,
        platform: &Platform,
        folder: &Path,
        settings: &Settings,
        progress: &Progress,
        signals: &mut Signals,
    ) -> Result<Option<Judged>, Exit> {
        let evidence = folder.join(&platform.name);
        if self.from.is_some() {
            platform.write().map_err(infrastructure)?;
        }
        let options = self.options(settings, &platform.path.display().to_string(), Some(&evidence))?;
        let places = options.places(settings).map_err(usage)?;
        let [place] = &places[..] else { return Err(usage(anyhow::anyhow!("name one target"))) };
        let own = progress.at_place(place);
        let ran = async {
            match Box::pin(PlannedRun::prepare(options, &place.target, place.settings(settings), &own)).await? {
                Some(planned) => Box::pin(planned.run(&own, signals)).await,
                None => Ok(ExitStatus::Success),
            }
        };
        match ran.await {
            Err(exit) if exit.status == ExitStatus::Usage => return Err(exit),
            Err(exit) => own.error(format!("assay: {:#}", exit.error)),
            Ok(_) => {}
        }
        if signals.received {
            return Err(infrastructure(Interrupted));
        }
        let Ok(bundle) = EvidenceBundle::open(&evidence) else { return Ok(None) };
        let claim = bundle.verdicts.claims.iter().find(|claim| claim.id == self.claim);
        let Some(ClaimResult { verdict, .. }) = claim else { return Ok(None) };
        let (verdict, place, machine) = (*verdict, place.to_string(), bundle.run["machine"].clone());
        Ok((verdict != Verdict::Inconclusive).then_some(Judged { verdict, place, bundle: evidence, machine }))
    }
}

/// What a search found.
#[derive(Debug)]
enum Found<T> {
    /// The answer is another one; those between the two could not be judged.
    Change { before: (usize, T), after: (usize, T) },
    /// Both ends have the same answer.
    Same(T),
    /// An end could not be judged.
    Unknown(usize),
}

/// Finds two neighbours with different answers, both ends first, with the fewest questions. Those without an answer are
/// passed over.
async fn search<T: PartialEq, E>(
    count: usize,
    mut ask: impl AsyncFnMut(usize) -> Result<Option<T>, E>,
) -> Result<Found<T>, E> {
    let Some(first) = ask(0).await? else { return Ok(Found::Unknown(0)) };
    let Some(last) = ask(count - 1).await? else { return Ok(Found::Unknown(count - 1)) };
    if first == last {
        return Ok(Found::Same(first));
    }
    let (mut before, mut after, mut without) = ((0, first), (count - 1, last), Vec::new());
    loop {
        let middle = usize::midpoint(before.0, after.0);
        let between = (before.0 + 1..after.0).filter(|index| !without.contains(index));
        let Some(next) = between.min_by_key(|index| index.abs_diff(middle)) else {
            return Ok(Found::Change { before, after });
        };
        match ask(next).await? {
            None => without.push(next),
            Some(answer) if answer == before.1 => before = (next, answer),
            Some(answer) => after = (next, answer),
        }
    }
}

impl PartialEq for Judged {
    fn eq(&self, other: &Judged) -> bool {
        self.verdict == other.verdict
    }
}

impl Found<Judged> {
    fn status(&self) -> ExitStatus {
        match self {
            Found::Change { .. } => ExitStatus::Success,
            Found::Same(_) => ExitStatus::Failed,
            Found::Unknown(_) => ExitStatus::Inconclusive,
        }
    }

    fn sentence(&self, names: &[&str]) -> String {
        match self {
            Found::Same(Judged { verdict, .. }) => {
                format!("nothing changed: {verdict} on {} and on {}", names[0], names[names.len() - 1])
            }
            Found::Unknown(index) => format!("could not be judged on {}: choose another end", names[*index]),
            Found::Change { before: (low, before), after: (high, after) } => {
                let changed = changes(&before.machine, &after.machine);
                let changed: Vec<String> =
                    changed.iter().map(|(name, [before, after])| format!("{name} {before} → {after}")).collect();
                let changed =
                    if changed.is_empty() { "no recorded version differs".into() } else { changed.join(", ") };
                let passed = match high - low - 1 {
                    0 => String::new(),
                    passed => format!(" ({passed} between them could not be judged)"),
                };
                format!(
                    "{} on {}, {} on {}{passed}: {changed}; evidence: {} and {}",
                    before.verdict,
                    names[*low],
                    after.verdict,
                    names[*high],
                    before.bundle.display(),
                    after.bundle.display()
                )
            }
        }
    }

    fn json(&self, names: &[&str]) -> Json {
        let end = |(index, judged): &(usize, Judged)| json!({ "platform": names[*index], "place": judged.place, "verdict": judged.verdict, "evidence": judged.bundle });
        match self {
            Found::Change { before, after } => json!({
                "before": end(before), "after": end(after), "changed": changes(&before.1.machine, &after.1.machine)
            }),
            Found::Same(judged) => json!({ "verdict": judged.verdict }),
            Found::Unknown(index) => json!({ "not_judged": names[*index] }),
        }
    }
}

/// Returns the versions that differ between two machines, and what crun was built with in only one of them.
fn changes(before: &Json, after: &Json) -> BTreeMap<&'static str, [String; 2]> {
    let version = |machine: &Json, name: &str| machine[name].as_str().unwrap_or("none").to_owned();
    let pairs = PACKAGES.map(|name| (name, [version(before, name), version(after, name)]));
    let mut all: BTreeMap<_, _> = pairs.into_iter().filter(|(_, [before, after])| before != after).collect();
    let features = |machine: &Json| -> Vec<String> {
        machine[FEATURES].as_array().into_iter().flatten().filter_map(Json::as_str).map(str::to_owned).collect()
    };
    let (before, after) = (features(before), features(after));
    let only = |these: &[String], others: &[String]| {
        let only: Vec<&str> = these.iter().filter(|one| !others.contains(one)).map(String::as_str).collect();
        if only.is_empty() { "none".to_owned() } else { only.join(" ") }
    };
    if before != after {
        all.insert("crun's features", [only(&before, &after), only(&after, &before)]);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches answers, of which `None` cannot be judged; returns what was found, and how often it asked.
    async fn searched(answers: &[Option<char>]) -> (Found<char>, usize) {
        let mut asked = Vec::new();
        let ask = async |index: usize| {
            assert!(!asked.contains(&index), "{index} is asked twice");
            asked.push(index);
            Ok::<_, ()>(answers[index])
        };
        (search(answers.len(), ask).await.unwrap(), asked.len())
    }

    #[tokio::test]
    async fn the_change_is_found_with_the_fewest_questions_wherever_it_is() {
        for at in 1..64 {
            let answers: Vec<_> = (0..64).map(|index| Some(if index < at { 'a' } else { 'b' })).collect();
            let (found, asked) = searched(&answers).await;
            assert!(
                matches!(found, Found::Change { before: (low, 'a'), after: (high, 'b') } if low + 1 == at && high == at)
            );
            assert!(asked <= 8, "{asked} questions for 64");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_judged_is_passed_over_and_never_an_end() {
        let [a, b, none] = [Some('a'), Some('b'), None];
        let (found, _) = searched(&[a, none, none, a, none, b, none, b]).await;
        assert!(matches!(found, Found::Change { before: (3, 'a'), after: (5, 'b') }), "{found:?}");
        assert!(matches!(searched(&[a, b, a]).await, (Found::Same('a'), 2)));
        assert!(matches!(searched(&[none, b]).await, (Found::Unknown(0), 1)));
        assert!(matches!(searched(&[a, none]).await, (Found::Unknown(1), 2)));
    }

    #[test]
    fn the_sentence_names_what_changed_between_the_two() {
        let machine = |crun: &str, features: &[&str]| json!({ "crun": crun, "podman": "5", FEATURES: features });
        let judged = |verdict, name: &str, machine| Judged {
            verdict,
            place: name.to_owned(),
            bundle: PathBuf::from("out").join(name),
            machine,
        };
        let found = Found::Change {
            before: (0, judged(Verdict::Holds, "x", machine("1.21", &["+CAP", "+WASM:wasmedge"]))),
            after: (2, judged(Verdict::Fails, "z", machine("1.28", &["+CAP"]))),
        };
        assert_eq!(
            found.sentence(&["x", "y", "z"]),
            "holds on x, fails on z (1 between them could not be judged): crun 1.21 → 1.28, crun's features \
             +WASM:wasmedge → none; evidence: out/x and out/z"
        );
        assert_eq!(found.status(), ExitStatus::Success);
        assert_eq!(found.json(&["x", "y", "z"])["changed"]["crun"], json!(["1.21", "1.28"]));
    }
}
