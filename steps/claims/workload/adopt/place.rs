//! Tells what paths and ports of a host a Quadlet names: what each machine has, what none has, and where `files/` has the rest.

use std::path::Path;

use super::quadlet::Quadlet;

const ELSEWHERE: &str = "take it out of the copy of the Quadlet, or run on a machine that has it (--target ssh://HOST)";
pub const SOCKET: &str = "write Requires=podman.socket and After=podman.socket in [Unit] of the copy";

/// Parts of paths of the host that a test machine does not have: what it is, and what to do.
pub const ABSENT: [(&str, &str, &str); 17] = [
    ("podman.sock", "Podman's socket", SOCKET),
    ("podman/podman", "Podman's socket", SOCKET),
    ("docker.sock", "Podman's socket under Docker's name", SOCKET),
    ("/dev/dri", "a GPU", ELSEWHERE),
    ("/dev/kfd", "a GPU", ELSEWHERE),
    ("nvidia", "a GPU", ELSEWHERE),
    ("amd.com/gpu", "a GPU", ELSEWHERE),
    ("/dbus", "the host's message bus", ELSEWHERE),
    ("%t/bus", "the host's message bus", ELSEWHERE),
    (".X11-unix", "a desktop session", ELSEWHERE),
    ("wayland-", "a desktop session", ELSEWHERE),
    ("pipewire-", "a desktop session", ELSEWHERE),
    ("/pulse/", "a desktop session", ELSEWHERE),
    ("/dev/", "a device of the host", ELSEWHERE),
    (".sock", "a socket of another program of the host", ELSEWHERE),
    ("/var/lib/docker", "Docker's own files", ELSEWHERE),
    ("/var/lib/containers", "Podman's own files", ELSEWHERE),
];

/// What each machine has: these paths, and all below those that end with a slash.
const PRESENT: &str = "/ /bin/ /boot/ /dev/console /dev/full /dev/fuse /dev/log /dev/net/tun /dev/null /dev/ptmx /dev/random \
    /dev/shm /dev/urandom /dev/zero /etc /etc/fstab /etc/group /etc/hostname /etc/hosts /etc/localtime /etc/machine-id \
    /etc/os-release /etc/passwd /etc/resolv.conf /etc/ssl/certs /etc/subgid /etc/subuid /etc/timezone /home /lib/ /proc/ \
    /run /run/log /run/systemd/ /run/udev /run/user /sbin/ /sys/ /tmp /usr/ /var /var/lib /var/log /var/log/journal /var/run \
    /var/tmp";

/// How the source of a volume begins that is a path of the host, not a volume of Podman's.
pub const OF_HOST: [char; 5] = ['/', '.', '%', '~', '$'];

/// Returns whether each machine has this path.
pub fn is_present(path: &str) -> bool {
    let is = |known: &str| {
        let below = known.len() > 1 && known.ends_with('/') && path.starts_with(known);
        below || known.trim_end_matches('/') == path.trim_end_matches('/')
    };
    PRESENT.split(' ').any(is)
}

/// Returns where in `files/` a path of the host is.
pub fn place(one: &Quadlet, value: &str, root: bool) -> Result<String, String> {
    let (home, installed) = if root { ("/root", "/etc") } else { ("/~", "/~/.config") };
    let name = one.name();
    let state = if root { "/var/lib".to_owned() } else { format!("{home}/.local/state") };
    let mut path = String::new();
    let mut rest = value.strip_prefix("~/").map_or(value.to_owned(), |below| format!("%h/{below}"));
    rest = rest.replace("${HOME}", "%h").replace("$HOME", "%h");
    if !rest.starts_with(['/', '%']) {
        rest = format!("{installed}/containers/systemd/{rest}");
    }
    let mut rest = rest.chars();
    while let Some(c) = rest.next() {
        match (c, if c == '%' { rest.next() } else { None }) {
            ('%', Some('h')) => path += home,
            ('%', Some('n')) => path += &format!("{name}.service"),
            ('%', Some('N')) => path += &name,
            ('%', Some('p')) => path += name.split('@').next().unwrap_or_default(),
            ('%', Some('i' | 'I')) => path += &one.instance,
            ('%', Some('S')) => path += &state,
            ('%', Some('C')) => path += &if root { "/var/cache".to_owned() } else { format!("{home}/.cache") },
            ('%', Some('E')) => path += &if root { "/etc".to_owned() } else { format!("{home}/.config") },
            ('%', Some('t')) if root => path += "/run",
            ('%', Some('%') | None) => path.push('%'),
            ('%', Some(other)) => {
                return Err(format!("only the machine knows %{other}: write a path below %h in the copy"));
            }
            ('$', _) => return Err("it is named by a variable: write the path itself in the copy".to_owned()),
            _ => path.push(c),
        }
    }
    if path.starts_with("/home/") || path.starts_with("/run/user/") {
        return Err("it is another user's: write %h for a home, and %t for the runtime folder, in the copy".to_owned());
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        match part {
            ".." => drop(parts.pop()),
            "~" => parts.push("home"),
            _ => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

/// Returns where the suite has a place: what lies beside the Quadlets lies there in the suite, too.
pub fn in_suite(place: &str) -> String {
    let beside = place.split_once("containers/systemd/").map(|(_, name)| format!("quadlets/{name}"));
    beside.unwrap_or_else(|| format!("files/{place}"))
}

/// Returns how many last parts a path and a place have in common.
pub fn common_end(path: &Path, place: &str) -> usize {
    path.iter().rev().zip(place.rsplit('/')).take_while(|(one, other)| *one == *other).count()
}

/// Returns whether a path of the host is that of a folder, by its name and by that of where it is mounted.
pub fn is_folder(place: &str, inside: &str) -> bool {
    let file = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or(path);
        let extension = name.rsplit_once('.').filter(|(begun, _)| !begun.is_empty()).map(|(_, end)| end);
        let ends = |end: &str| {
            end != "d" && end.len() <= 8 && end.chars().all(char::is_alphanumeric) && end.contains(char::is_alphabetic)
        };
        extension.is_some_and(ends) || [".env", "Caddyfile", "Corefile", "passwd", "htpasswd"].contains(&name)
    };
    !(file(place) || inside.starts_with("file.") || file(inside.trim_end_matches('/')))
}

/// A port that a Quadlet publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The host's address, if it is limited to one.
    pub address: String,
    pub number: u16,
    pub tcp: bool,
}

impl Port {
    /// Reads `8080:80`, `127.0.0.1:8080:80/tcp`, `[::1]:8080:80` or `8000-8010:8000-8010`; without a port of the host's, or
    /// with a variable, there is none to connect to.
    pub fn read(value: &str) -> Option<Port> {
        let (ports, protocol) = value.split_once('/').unwrap_or((value, "tcp"));
        let (host, _) = ports.rsplit_once(':')?;
        let (address, port) = host.rsplit_once(':').unwrap_or(("", host));
        let number = port.split('-').next()?.parse().ok()?;
        Some(Port { address: address.to_owned(), number, tcp: protocol == "tcp" })
    }
}
