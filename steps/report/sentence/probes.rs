//! Says in plain words what the value of a probe means.

/// What is said of a probe; `{}` stands for the value, `(s)` for a plural. A name that ends with a dot is the beginning of
/// names.
const SAYS: &[(&str, &str)] = &[
    ("ami.newer", "{} newer image(s) of its kind exist"),
    ("ami.owner", "the image's owner is {}"),
    ("build.compiler", "the compiler is {}"),
    ("build.modules", "the build made {} module(s)"),
    ("build.sha256", "the build made the module {}"),
    ("build.status", "the compiler exited with code {}"),
    ("cold.start", "its pull and first start took {}"),
    ("cost.address", "its address cost {}"),
    ("cost.billed", "AWS bills {}"),
    ("cost.cpu", "AWS bills {} of CPU time"),
    ("cost.disk", "its disk cost {}"),
    ("cost.instance", "its instance cost {}"),
    ("cost.surplus", "surplus CPU credits cost {}"),
    ("cost.total", "the run cost {}"),
    ("cpu.running", "used {} of CPU time while it ran"),
    ("cpu.share", "used {} of a CPU"),
    ("cpu.throttled", "was throttled for {}"),
    ("cpu.time", "used {} of CPU time"),
    ("crun.features", "crun's features are {}"),
    ("ecr.uri", "its address is {}"),
    ("guest.clock", "its clock moved by {}"),
    ("guest.threads", "starting a thread gave {}"),
    ("image.annotation.", "the annotation is {}"),
    ("image.base", "the base image is {}"),
    ("image.digest", "the image's digest is {}"),
    ("image.entrypoint", "the entrypoint is {}"),
    ("image.file", "the image holds the file {}"),
    ("image.files", "the image has {} file(s)"),
    ("image.layers", "the image has {} layer(s)"),
    ("image.platform", "the image's platform is {}"),
    ("image.size", "the image has {}"),
    ("image.transfer", "a pull transfers {}"),
    ("io.read", "read {} from disk"),
    ("io.written", "wrote {} to disk"),
    ("left.cloud", "left in the cloud: {}"),
    ("left.images", "the images that are left: {}"),
    ("left.quadlets", "Quadlets that are left: {}"),
    ("left.units", "units that are left: {}"),
    ("limit.cpu", "systemd limits it to {} of a CPU"),
    ("limit.lost.", "its limit is not enforced: {}"),
    ("limit.cpu.unset", "systemd limits its CPU to {}"),
    ("limit.memory.unset", "systemd limits its memory to {}"),
    ("limit.memory", "systemd limits it to {} of memory"),
    ("log.completion", "it ended with {}"),
    ("log.duration", "it took {} from its first log line to its last"),
    ("log.greeting", "it greeted with {}"),
    ("log.readings", "its log has {} reading(s)"),
    ("log.spacing", "its readings are {} apart"),
    ("log.temperatures", "the temperatures in its log are {}"),
    ("log.text", "its log says {}"),
    ("machine.ami", "the machine has booted from {}"),
    ("machine.architecture", "the machine's architecture is {}"),
    ("machine.cpus", "the machine has {} CPU(s)"),
    ("machine.memory", "the machine has {} of memory"),
    ("memory.anon", "had {} of memory of its own"),
    ("memory.available", "{} of the machine's memory stayed available"),
    ("memory.events.max", "reached its memory limit {} time(s)"),
    ("memory.events.oom_kill", "was killed for lack of memory {} time(s)"),
    ("memory.events.", "its memory limit had {} event(s)"),
    ("memory.file", "had {} of files in memory"),
    ("memory.guest", "the guest used {} of memory"),
    ("memory.guest.peak", "the guest peaked at {}"),
    ("memory.headroom", "{} was left under its memory limit"),
    ("memory.helpers", "Podman's helpers used {} of memory"),
    ("memory.helpers.peak", "Podman's helpers peaked at {}"),
    ("memory.kernel", "the kernel used {} of memory for it"),
    ("memory.peak", "peaked at {}"),
    ("memory.running", "used {} of memory while running"),
    ("memory.swap.peak", "used {} of swap"),
    ("memory.unit.peak", "its unit peaked at {}"),
    ("module.export.", "the export is a {}"),
    ("module.imports", "the module imports from {}"),
    ("module.sha256", "the module's digest is {}"),
    ("module.size", "the module has {}"),
    ("podman.version", "Podman's version is {}"),
    ("pull.auth-file", "the file of logins was {}"),
    ("pull.digest", "the pulled digest is {}"),
    ("pull.environment", "the pull's environment was {}"),
    ("pull.inspected", "podman inspect shows {}"),
    ("pull.result", "the pull was {}"),
    ("pull.served", "one pull took {} from the registry"),
    ("pull.time", "the pull took {}"),
    ("pull.token", "the registry's token was for {}"),
    ("push.digest", "the pushed digest is {}"),
    ("push.result", "the push was {}"),
    ("ratio.cold.start", "a conventional container's pull and first start took {} as long"),
    ("ratio.cpu.time", "a conventional container used {} as much CPU time"),
    ("ratio.image.size.mosquitto", "mosquitto's image is {} as large"),
    ("ratio.image.size.python", "Python's image is {} as large"),
    ("ratio.memory.peak", "a conventional container peaked at {} as much memory"),
    ("ratio.start.time", "a conventional container took {} as long to start"),
    ("repository.pull", "a pull from the repository was {}"),
    ("repository.state", "the repository is {}"),
    ("run.error", "podman run said {}"),
    ("run.status", "podman run exited with code {}"),
    ("run.time", "the run took {}"),
    ("sandbox.directory", "its look for a directory of the host was {}"),
    ("sandbox.environment", "its look for a variable of the host was {}"),
    ("sandbox.file", "its look for a file of the host was {}"),
    ("sandbox.socket", "its look for a socket of the host was {}"),
    ("sampler.cpu.share", "watching took {} of a CPU"),
    ("sampler.cpu.time", "watching took {} of CPU time"),
    ("sampler.memory", "watching took {} of memory"),
    ("session.cpu.time", "the session of the watcher took {} of CPU time"),
    ("session.memory", "the session of the watcher took {} of memory"),
    ("setup.", "this step of the set-up took {}"),
    ("start.create", "its container was created after {}"),
    ("start.init", "its container was ready after {}"),
    ("start.output", "it printed its first line after {}"),
    ("start.start", "its container started after {}"),
    ("start.time", "started in {}"),
    ("unit.load", "systemd reports its unit as {}"),
    ("unit.restarts", "was restarted {} time(s)"),
    ("unit.result", "its result is {}"),
    ("unit.signal", "was ended by signal {}"),
    ("unit.start.status", "systemctl start exited with code {}"),
    ("unit.state", "its unit is {}"),
    ("unit.status", "exited with code {}"),
    ("unit.uid", "it runs as user {}"),
];

/// Says what this value of a probe means; of one that is not listed, that the probe has it.
pub(super) fn says(probe: &str, value: &str) -> String {
    let is_of = |name: &str| probe == name || (name.ends_with('.') && probe.starts_with(name));
    match SAYS.iter().find(|(name, _)| is_of(name)) {
        Some((_, says)) => says.replace("(s)", if value == "1" { "" } else { "s" }).replacen("{}", value, 1),
        None => format!("{probe} is {value}"),
    }
}

/// Says why a workload that ran has no value of this probe, if that is known.
pub(super) fn absent(probe: &str) -> Option<&'static str> {
    Some(match probe {
        "unit.status" => "it has no exit code: it was still up when its time was over, or a signal ended it",
        "unit.result" => "it has no result: it was still up when its time was over",
        "log.greeting" | "log.completion" => "its log has no such line",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurement::catalogue;

    #[test]
    fn every_probe_that_the_catalogue_names_is_said_in_plain_words() {
        for name in catalogue::names().filter(|name| !name.ends_with(['.', ' '])) {
            assert_eq!(says(name, "V").matches('V').count(), 1, "{name}");
            assert!(!says(name, "V").contains(name), "{name} has no words");
            assert!(absent(name).is_none_or(|why| why.starts_with("it")), "{name}");
        }
        assert_eq!(says("image.annotation.variant", "\"compat\""), "the annotation is \"compat\"");
        assert_eq!(says("disk.free", "3 GB"), "disk.free is 3 GB");
        let readings = ["1", "5"].map(|number| says("log.readings", number));
        assert_eq!(readings, ["its log has 1 reading", "its log has 5 readings"]);
    }
}
