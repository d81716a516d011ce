//! What ssh_config says about the route to a machine.

use super::*;
use crate::lost::{asks, echo};
use crate::sshd::fingerprint;

#[tokio::test]
async fn an_alias_leads_to_its_host_port_and_key() {
    let home = UserHome::new();
    let sshd = Sshd::start(&[home.key("farm_key")], "");
    home.append(
        "config",
        &format!(
            "Host other\n  Port 1\nHost farm*\n  HostName 127.0.0.1\n  Port {}\n  User no-such-user\n  IdentityFile {}\n  \
             HostKeyAlias the-farm\n",
            sshd.port,
            home.path("farm_key").display()
        ),
    );
    let error = refusal(&home.alias("farm1")).await;
    assert_says(&error, &[&format!("by `ssh {}@farm1 true`, once", me()), "which no known_hosts file has"]);
    home.append("known_hosts", &sshd.known_line("ed25519").replace(&format!("[127.0.0.1]:{}", sshd.port), "the-farm"));
    let shell = enter(&home.alias("farm1")).await;
    assert_eq!(prints(&shell, "id -un").await.trim(), me());
    assert_eq!(shell.machine(), format!("{}@farm1", me()));
    // Without a user, the configuration's counts.
    let unnamed = SshDestination { user: None, ..home.alias("farm1") };
    assert_says(&refusal(&unnamed).await, &["does not let user no-such-user in"]);
    let config = fs::read_to_string(home.path("config")).unwrap().replace("no-such-user", &me());
    fs::write(home.path("config"), config).unwrap();
    assert_eq!(enter(&unnamed).await.machine(), "farm1");
}

#[tokio::test]
async fn a_machine_behind_another_is_entered_through_it_and_both_must_be_known() {
    let home = UserHome::new();
    let key = home.key("id_ed25519");
    let (gate, farm) = (Sshd::start(std::slice::from_ref(&key), "LogLevel VERBOSE"), Sshd::start(&[key], ""));
    home.append("config", &behind(&gate, &farm));
    let error = refusal(&home.alias("farm")).await;
    let shown = fingerprint(&gate.host_key("ed25519"));
    assert_says(
        &error,
        &[&format!("127.0.0.1:{} shows the key ssh-ed25519 {shown}", gate.port), "by an `ssh` to that host, once"],
    );
    assert!(!error.contains("--host-key"), "the option is the machine's: {error}");
    home.knows(&gate);
    let error = refusal(&home.alias("farm")).await;
    let shown = fingerprint(&farm.host_key("ed25519"));
    assert_says(&error, &[&format!("127.0.0.1:{} shows the key ssh-ed25519 {shown}", farm.port), "@farm true`, once"]);
    home.knows(&farm);
    let shell = enter(&home.alias("farm")).await;
    let connection = prints(&shell, "echo $SSH_CONNECTION").await;
    assert!(connection.trim().ends_with(&farm.port.to_string()), "{connection}");
    assert!(gate.log().contains("Accepted publickey"), "{}", gate.log());
    gate.end_sessions();
    assert_eq!(prints(&shell, "echo again").await, "again\n");
}

#[tokio::test]
async fn a_way_over_two_hosts_is_gone_host_by_host_and_a_port_leads_all_the_way_back() {
    let home = UserHome::new();
    let key = home.key("id_ed25519");
    let [first, second, farm] = [(); 3].map(|()| Sshd::start(std::slice::from_ref(&key), "LogLevel VERBOSE"));
    let host = |name: &str, sshd: &Sshd| format!("Host {name}\n  HostName 127.0.0.1\n  Port {}\n", sshd.port);
    let hosts = [host("first", &first), host("second", &second), host("farm", &farm)].concat();
    home.append("config", &(hosts + "  ProxyJump first,second\n"));
    for sshd in [&first, &second, &farm] {
        home.knows(sshd);
    }
    let shell = enter(&home.alias("farm")).await;
    let port = shell.forward_back(echo()).await.unwrap();
    assert_eq!(asks(&shell, port).await, "hello\n");
    for sshd in [&first, &second, &farm] {
        assert_eq!(sshd.log().matches("Accepted publickey").count(), 1, "{}", sshd.log());
    }
    second.end_sessions();
    assert_eq!(asks(&shell, port).await, "hello\n");
}

#[tokio::test]
async fn a_host_in_between_that_forwards_nothing_is_reported_with_the_setting() {
    let home = UserHome::new();
    let key = home.key("id_ed25519");
    let (gate, farm) = (Sshd::start(std::slice::from_ref(&key), "AllowTcpForwarding no"), Sshd::start(&[key], ""));
    home.append("config", &behind(&gate, &farm));
    home.knows(&gate);
    let error = refusal(&home.alias("farm")).await;
    assert_says(
        &error,
        &["administratively prohibited", "set `AllowTcpForwarding yes` in the sshd_config of the host before it"],
    );
}

#[tokio::test]
async fn a_proxy_command_leads_there_and_still_the_host_key_counts() {
    let (home, sshd) = UserHome::with_server("");
    let relay = format!("bash -c 'exec 3<>/dev/tcp/127.0.0.1/{}; cat <&3 & exec cat >&3'", sshd.port);
    home.append("config", &format!("Match host farm exec \"true\"\n  ProxyCommand {relay}\n"));
    assert_says(&refusal(&home.alias("farm")).await, &["which no known_hosts file has", "with `--host-key SHA256:"]);
    home.append("known_hosts", &sshd.known_line("ed25519").replace(&format!("[127.0.0.1]:{}", sshd.port), "farm"));
    let shell = enter(&home.alias("farm")).await;
    assert_eq!(prints(&shell, "echo in").await, "in\n");
    sshd.end_sessions();
    assert_eq!(prints(&shell, "echo again").await, "again\n");
}

#[tokio::test]
async fn what_the_user_configures_for_logins_by_hand_does_no_harm() {
    let (home, sshd) = UserHome::with_server("");
    let made = home.path("made").display().to_string();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    home.append(
        "config",
        &format!(
            "RemoteCommand tmux attach\nRequestTTY force\nPermitLocalCommand yes\nLocalCommand touch {made}\n\
             LocalForward {port} 127.0.0.1:1\nRemoteForward 0 127.0.0.1:1\nExitOnForwardFailure yes\nForwardAgent yes\n\
             ForwardX11 yes\nLogLevel QUIET\nControlMaster auto\nControlPersist yes\nControlPath {}\nEscapeChar ~\n\
             StdinNull yes\n",
            home.path("control").display()
        ),
    );
    let shell = enter(&home.port(sshd.port)).await;
    let output = shell.run(&Command::new("sh").args(["-c", "cat; tty"]).stdin("~.\n")).await;
    assert_eq!(output.unwrap().text(), "~.\nnot a tty\n");
    let back = shell.forward_back(echo()).await.unwrap();
    assert_eq!(asks(&shell, back).await, "hello\n");
    assert!(!home.path("made").exists() && !home.path("control").exists());
}

#[tokio::test]
async fn conditions_and_included_files_are_honoured() {
    let (home, sshd) = UserHome::with_server("");
    home.append(
        "config",
        &format!("Include {}\nMatch host farm exec \"true\"\n  Port {}\n", home.path("more").display(), sshd.port),
    );
    home.append("more", "Host farm\n  HostName 127.0.0.1\nMatch host 127.0.0.1 exec \"false\"\n  Port 1\n");
    // The first names the host; the second applies to the name that it has then.
    home.append("config", &format!("Match host 127.0.0.1 exec \"true\"\n  Port {}\n", sshd.port));
    let shell = enter(&home.alias("farm")).await;
    assert_eq!(prints(&shell, "echo in").await, "in\n");
}

fn behind(gate: &Sshd, farm: &Sshd) -> String {
    format!(
        "Host gate\n  HostName 127.0.0.1\n  Port {}\nHost farm\n  HostName 127.0.0.1\n  Port {}\n  ProxyJump {}@gate\n",
        gate.port,
        farm.port,
        me()
    )
}
