//! Writes the claims about an adopted set, each with its control, as far as its Quadlets tell what to claim.

use super::place::{OF_HOST, Port, is_folder};
use super::quadlet::Quadlet;
use crate::base::unit::{Bytes, Ratio};

/// One claim: its entry in the register, its scenario and its control's.
struct Question {
    section: u8,
    claim: String,
    bound: String,
    needs: &'static str,
    when: String,
    then: Vec<String>,
    control: Control,
}

struct Control {
    subject: &'static str,
    when: String,
    then: String,
    probe: &'static str,
}

const UP: &str = "the workload is up";
const EMPTY: &str = "the workload has been started with an entrypoint that does not exist";
const NO_PROGRAM: &str = "the same image with an entrypoint that does not exist";
/// More than any Quadlet's start may take, in seconds; and what systemd allows one that says nothing.
const LONGEST: u64 = 400;
const USUAL: u64 = 90;

/// Returns the register and the features about `main`, of which `pod` is the pod if it is in one.
pub fn files(main: &Quadlet, pod: Option<&Quadlet>, root: bool) -> Vec<(String, String)> {
    let questions = questions(main, pod, root);
    let ports = ports(main, pod);
    let mut register = "# What is claimed, and what each claim is judged by. The scenarios of each carry its tag; \"control\" names the \
                        wrong subject\n# that the same check must reject. Bounds are those that the Quadlets state: tighten them \
                        after the first run.\n"
        .to_owned();
    let mut features = [String::new(), String::new()];
    for (number, one) in questions.iter().enumerate() {
        let number = 1 + questions[..number].iter().filter(|other| other.section == one.section).count();
        let id = format!("A{}-{number}", one.section);
        register += &one.entry(&id);
        features[usize::from(one.section - 6)] += &one.scenarios(&id);
    }
    let next = 1 + questions.iter().filter(|one| one.section == 6).count();
    let http = ports.first().map_or(8080, |port| port.number);
    let (entry, scenario) = http_example(next, http);
    let name = main.name();
    let mut files = vec![
        ("features/claims.toml".to_owned(), register + &entry),
        (
            "features/a6_service.feature".to_owned(),
            format!("@shared\nFeature: A.6 {name} starts and answers\n{}{scenario}", features[0]),
        ),
    ];
    if !features[1].is_empty() {
        let text = format!("@shared\nFeature: A.7 {name} keeps its limits\n{}", features[1]);
        files.push(("features/a7_resources.feature".to_owned(), text));
    }
    files
}

/// Returns the TCP ports of this host on which `main` answers.
pub fn ports(main: &Quadlet, pod: Option<&Quadlet>) -> Vec<Port> {
    let values = [Some(main), pod].into_iter().flatten().flat_map(|one| one.values("PublishPort"));
    let mut ports: Vec<Port> =
        values.filter_map(|value| Port::read(&value)).filter(|port| port.tcp && port.number > 0).collect();
    ports.dedup_by_key(|port| port.number);
    ports
}

fn questions(main: &Quadlet, pod: Option<&Quadlet>, root: bool) -> Vec<Question> {
    let unit = main.unit();
    let job = main.is_job();
    let run = if job {
        "the workload has run as its Quadlet specifies"
    } else {
        "the workload has run for 10 s as its Quadlet specifies"
    };
    let empty = |then: &str, probe| Control { subject: NO_PROGRAM, when: EMPTY.into(), then: then.into(), probe };
    let ask = |claim: &str, bound: &str, when: &str, then: &[&str], control: Control| Question {
        section: 6,
        claim: claim.to_owned(),
        bound: bound.to_owned(),
        needs: "",
        when: when.to_owned(),
        then: then.iter().map(|then| (*then).to_owned()).collect(),
        control,
    };
    let mut all = Vec::new();
    let (who, user, bound) = match root {
        true => ("a service", None, "generated"),
        false => ("a user service, no root needed", Some("its user is not root"), "generated, uid ≠ 0"),
    };
    let loaded = "systemd reports its unit as \"loaded\"";
    let unknown = "a Quadlet with an unknown key";
    let control =
        Control { subject: unknown, when: format!("{unknown} is installed"), then: loaded.into(), probe: "unit.load" };
    let then: Vec<&str> = [loaded].into_iter().chain(user).collect();
    all.push(ask(&format!("its Quadlet becomes {who}"), bound, run, &then, control));
    if job {
        let result = "its result is \"success\"";
        all.push(ask(
            "it ends successfully",
            "result success, exit code 0",
            run,
            &[result, "its exit code is 0"],
            empty(result, "unit.result"),
        ));
    } else {
        let time = unit.last("Service", "TimeoutStartSec").and_then(seconds).filter(|time| *time > 0);
        let time = time.map_or(USUAL, |time| time.min(LONGEST));
        let ready = format!("it is ready within {time} s");
        all.push(ask(
            &ready,
            &format!("{time} s from the start of its unit"),
            UP,
            &[&ready],
            empty(&ready, "ready.time"),
        ));
        let up = "it is still running";
        all.push(ask(
            "it stays up for 10 s",
            "active, 0 restarts",
            run,
            &[up, "it was restarted 0 times"],
            empty(up, "unit.state"),
        ));
        for Port { number, .. } in ports(main, pod) {
            let connects = |port: u16| format!("a client connects to port {port}");
            let control = Control {
                subject: "a port that nothing listens on",
                when: UP.into(),
                then: connects(1),
                probe: "net.connect",
            };
            all.push(ask(&connects(number), "connected", UP, &[&connects(number)], control));
        }
        if let Some((name, at)) = kept_volume(main) {
            let kept = format!("what was in its volume at \"{at}\" is there after a restart");
            let control = Control {
                subject: "the same workload without this volume",
                when: format!("{UP} without its volume \"{name}\""),
                then: kept.clone(),
                probe: "volume.kept",
            };
            all.push(ask(&kept, "the same content", UP, &[&kept], control));
        }
    }
    let memory = unit.last("Service", "MemoryMax").and_then(size).filter(|size| *size >= 16 << 20).map(Bytes);
    let limited = |when: String, then: String, bound: &str, needs, control: Control| Question {
        section: 7,
        needs,
        ..ask(&then.replace("systemd limits it", "it is limited"), bound, &when, &[&then], control)
    };
    let with = |limit: &str| format!("the workload has run for 10 s with a limit of {limit}");
    if let Some(memory) = memory {
        let then = format!("systemd limits it to {memory} of memory");
        let when = with(&format!("{} of memory", Bytes((memory.0 / 16) & !0xfffff)));
        let control = Control {
            subject: "the same workload with a sixteenth of the memory",
            when,
            then: then.clone(),
            probe: "limit.memory",
        };
        all.push(limited(run.into(), then, "equal", "memory-limit", control));
    }
    let quota = unit.last("Service", "CPUQuota").and_then(|value| value.strip_suffix('%')?.trim().parse::<f64>().ok());
    if let Some(share) = quota.filter(|quota| *quota >= 1.0).map(|quota| Ratio(quota / 100.0)) {
        let then = format!("systemd limits it to {share} of a CPU");
        let when = with(&format!("{} of a CPU", Ratio(if share.0 < 1.0 { 1.0 } else { share.0 * 2.0 })));
        let control = Control {
            subject: "the same workload with a higher CPU limit",
            when,
            then: then.clone(),
            probe: "limit.cpu",
        };
        all.push(limited(run.into(), then, "equal", "cpu-limit", control));
    }
    all
}

/// Returns the name and the place of the volume of a container that keeps data: a named one before a folder.
fn kept_volume(main: &Quadlet) -> Option<(String, String)> {
    let unit = main.unit();
    let volumes = unit.values("Container", "Volume").into_iter().filter_map(|value| {
        let mut parts = value.split(':');
        let (source, at) = (parts.next()?, parts.next()?);
        let read_only = parts.next().is_some_and(|options| options.split(',').any(|option| option == "ro"));
        let name = source.strip_suffix(".volume").unwrap_or(source);
        let keeps =
            !(read_only || ["/etc", "/run", "/dev", "/proc", "/sys"].iter().any(|begin| source.starts_with(begin)));
        let named = !name.starts_with(OF_HOST);
        (keeps && (named || is_folder(source, at))).then(|| (name.to_owned(), at.to_owned()))
    });
    volumes.min_by_key(|(name, _)| name.starts_with(OF_HOST))
}

/// Reads a time as systemd does, in whole seconds; `None` for one without end.
fn seconds(text: &str) -> Option<u64> {
    let mut total = 0.0;
    for word in text.split_whitespace() {
        let digits = word.trim_end_matches(|c: char| c.is_alphabetic());
        let factor = match &word[digits.len()..] {
            "" | "s" | "sec" | "second" | "seconds" => 1.0,
            "m" | "min" | "minute" | "minutes" => 60.0,
            "h" | "hr" | "hour" | "hours" => 3600.0,
            "ms" | "msec" => 0.001,
            _ => return None,
        };
        total += digits.parse::<f64>().ok()? * factor;
    }
    Some(total as u64)
}

/// Reads a size as systemd does: `512M` has 1024 × 1024 × 512 bytes.
fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_alphabetic());
    let power = ["", "K", "M", "G", "T"].iter().position(|unit| *unit == &text[digits.len()..])?;
    digits.parse::<f64>().ok().map(|number| (number * 1024_f64.powi(power as i32)) as u64)
}

impl Question {
    fn entry(&self, id: &str) -> String {
        let text = |text: &str| toml::Value::from(text).to_string();
        let needs = if self.needs.is_empty() { String::new() } else { format!("needs = [\"{}\"]\n", self.needs) };
        let (claim, bound, control) = (text(&self.claim), text(&self.bound), text(self.control.subject));
        format!("\n[[claim]]\nid = \"{id}\"\nclaim = {claim}\nbound = {bound}\ncontrol = {control}\n{needs}")
    }

    fn scenarios(&self, id: &str) -> String {
        let Control { subject, when, then, probe } = &self.control;
        let (title, rejected) = (capital(&self.claim), capital(subject));
        let thens = self.then.join("\n    And ");
        format!(
            "\n  @{id}\n  Scenario: {title}\n    When {}\n    Then {thens}\n\n  @{id} @control\n  Scenario: {rejected} is rejected\n    \
             When {when}\n    Then {then}\n    But this check fails on \"{probe}\"\n",
            self.when
        )
    }
}

fn capital(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or(String::new(), |first| first.to_uppercase().chain(rest).collect())
}

/// Returns a claim about HTTP, as comments: only its author knows whether, and what, it answers.
fn http_example(number: usize, port: u16) -> (String, String) {
    let get = format!("GET http://localhost:{port}/ answers 200");
    let entry = format!(
        "\n# If it speaks HTTP, remove the # here and in a6_service.feature, and add what it answers: with \"Welcome\"\n# [[claim]]\n\
         # id = \"A6-{number}\"\n# claim = \"{get}\"\n# bound = \"200\"\n# control = \"a port that nothing listens on\"\n"
    );
    let scenario = format!(
        "\n  # @A6-{number}\n  # Scenario: {get}\n  #   When {UP}\n  #   Then {get}\n\n  # @A6-{number} @control\n  # Scenario: A port \
         that nothing listens on is rejected\n  #   When {UP}\n  #   Then GET http://localhost:1/ answers 200\n  #   But this check \
         fails on \"http.status\"\n"
    );
    (entry, scenario)
}
