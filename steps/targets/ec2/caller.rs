//! Finds the public address of this host.

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::Context as _;

use crate::base::commands;
use crate::base::programs;
use crate::base::settings::Settings;
use crate::exec::command::Command;
use crate::exec::shell::{CommandObserver, Shell};

const CHECK: &str = "https://checkip.amazonaws.com";

/// Returns the only address to admit: the one that is set, or the one that AWS sees.
pub(super) async fn address(settings: &Settings, observer: Arc<dyn CommandObserver>) -> anyhow::Result<Ipv4Addr> {
    if let Some(set) = &settings.caller {
        return set.parse().with_context(|| format!("ASSAY_EC2_CALLER: \"{set}\" is not an IPv4 address"));
    }
    if settings.fake_aws.ssh.is_some() {
        return Ok(Ipv4Addr::LOCALHOST);
    }
    let curl = Command::new(programs::need("curl", &commands::setup("ec2"))?).args(["-fsS", "--max-time", "12", CHECK]);
    let answer = Shell::local(observer).read(&curl).await;
    let answer = answer
        .context("this host's address, which alone is to be let in, is not known, for ASSAY_EC2_CALLER is not set")?;
    answer.trim().parse().with_context(|| format!("{CHECK} says \"{}\": set ASSAY_EC2_CALLER", answer.trim()))
}
