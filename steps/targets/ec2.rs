//! Creates EC2 instances and everything they need, and removes all of it at the end of the run.

pub mod gc;
mod instance;
mod launch;
mod preflight;
pub mod resources;
mod setup;
pub mod teardown;

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::Credentials;
use jiff::Timestamp;

pub use preflight::AwsPreflight;

use instance::Instance;
use teardown::{Pauses, teardown};

use super::machine::{Machine, MachineDir, evidence_file, log_in};
use super::{Context, keys};
use crate::base::instance_spec::InstanceSpec;
use crate::base::lock::lock;
use crate::base::settings::Settings;
use crate::base::{commands, programs};
use crate::exec::cleanup::Resource;
use crate::exec::command::Command;
use crate::exec::shell::{CommandObserver, Login, Shell};
use crate::targets::cloud::{Ami, AwsFuture, Cloud, PublicRegistry, Used, aws_name};
use crate::targets::ecr::Ecr;
use crate::targets::machine_info::{Accelerator, MachineInfo};

/// How long after an order's time limit its resources expire; anyone may remove them then.
const GRACE: Duration = Duration::from_secs(15 * 60);
/// How often to try the SSH server of a new instance.
const PAUSE: Duration = Duration::from_secs(2);
const CHECK: &str = "https://checkip.amazonaws.com";

/// How long to wait for EC2.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For one answer from EC2; the SDK retries where it may.
    pub answer: Duration,
    /// From the order to a running instance.
    pub running: Duration,
    /// From there to a successful SSH login.
    pub login: Duration,
}

impl Default for Patience {
    /// Long enough for a slow day at AWS, and for a stand-in on an emulated CPU.
    fn default() -> Patience {
        Patience {
            answer: Duration::from_secs(30),
            running: Duration::from_secs(5 * 60),
            login: Duration::from_secs(8 * 60),
        }
    }
}

/// Loads the SDK's configuration from its default chain: region, profile, credentials, endpoint. A region replaces the
/// default one. A stand-in's endpoint accepts any credentials, and must never receive those of an account.
pub async fn configuration(patience: Patience, region: Option<&str>, fake_aws: Option<&str>) -> SdkConfig {
    let time = TimeoutConfig::builder().operation_attempt_timeout(patience.answer).build();
    // Throttling lasts for seconds, not for milliseconds.
    let retry = RetryConfig::standard().with_max_attempts(6);
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).timeout_config(time).retry_config(retry);
    if let Some(region) = region {
        loader = loader.region(Region::new(region.to_owned()));
    }
    if let Some(endpoint) = fake_aws {
        let any = Credentials::new("stand-in", "stand-in", None, None, "stand-in");
        loader = loader.endpoint_url(endpoint).credentials_provider(any);
    }
    loader.load().await
}

/// Returns the only address to admit: the one that is set, or the one that AWS sees.
async fn caller(settings: &Settings, observer: Arc<dyn CommandObserver>) -> anyhow::Result<Ipv4Addr> {
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

#[derive(Debug)]
pub struct Ec2 {
    client: Client,
    region: String,
    order: InstanceSpec,
    patience: Patience,
    context: Context,
    images: Vec<Ami>,
    /// At least one.
    places: Vec<launch::LaunchPlace>,
    caller: Ipv4Addr,
    expires: Timestamp,
    resource: Resource,
    used: Mutex<Vec<Used>>,
    orders: AtomicU32,
    ecr: Ecr,
    /// Locked while resources are removed, or made only for a moment.
    ending: tokio::sync::Mutex<()>,
    closed: AtomicBool,
}

impl Ec2 {
    /// Checks that the order can be placed: region, credentials, an image, a zone, this host's own address. Creates
    /// nothing yet, except the entry in the cleanup journal that there may be resources soon.
    pub async fn open(order: InstanceSpec, patience: Patience, context: &Context) -> anyhow::Result<Ec2> {
        let config = configuration(patience, None, None).await;
        let region =
            config.region().context("no region is set: set AWS_REGION, or one in your AWS profile")?.to_string();
        let client = Client::new(&config);
        let images = launch::images(&client, &region).await?;
        let newest = &images[0];
        context.progress.note(format!("ec2: {} in {region}: {} of {}", order.instance_type, newest.id, newest.created));
        let places = launch::places(&client, &order).await?;
        let caller = caller(&context.settings, context.observer.clone()).await?;
        let resource = Resource::Cloud {
            run: context.run.clone(),
            region: region.clone(),
            endpoint: context.settings.fake_aws.endpoint.clone(),
        };
        context.cleanup.register(resource.clone())?;
        Ok(Ec2 {
            expires: Timestamp::now() + order.time_limit + GRACE,
            client,
            region,
            order,
            patience,
            context: context.clone(),
            images,
            places,
            caller,
            resource,
            used: Mutex::default(),
            orders: AtomicU32::new(0),
            ecr: Ecr::open(&config, &context.settings.fake_aws),
            ending: tokio::sync::Mutex::default(),
            closed: AtomicBool::new(false),
        })
    }

    async fn machine(&self, name: &str) -> anyhow::Result<Machine> {
        let started = Instant::now();
        let work = MachineDir::make(&self.context, name)?;
        let (login, host_text) = keys::pair(&work.name, setup::USER, &work.folder)?;
        let launch = self.launch();
        let ami = &self.images[0];
        launch.key_pair(&login.key.public_key().to_openssh()?).await?;
        let group = launch.group(&self.places[0], self.caller).await?;
        let user_data = setup::user_data(&host_text, &login.host_key.to_openssh()?, self.order.time_limit);
        tracing::info!("{}: ordering the instance", work.name);
        let (id, zone) = launch.instance(ami, &self.places, &group, &user_data).await?;
        self.bill(|used| {
            used.push(Used { id: id.clone(), image: String::new(), since: Timestamp::now(), until: None });
        });
        tracing::info!("{}: {id} in {zone} is starting", work.name);
        let console = evidence_file(&self.context.evidence, &work.name, "console.log");
        let up = async {
            let (shell, address) = self.enter(login, &id).await.context("it did not come up")?;
            let setup = setup::set_up(&shell, &self.context.progress).await?;
            let facts = MachineInfo::gather(&shell, Accelerator::of(&shell).await?).await?;
            anyhow::Ok((shell, address, setup, facts))
        };
        let (shell, address, setup, mut facts) = match Box::pin(up).await {
            Ok(up) => up,
            Err(error) => {
                // The console explains the failure; an empty one is not a second error. Terminating it now stops the
                // cost.
                let _ = instance::save_console(&self.client, &id, &console).await;
                let _ = resources::terminate(&self.client, &id).await;
                return Err(error.context(format!("{}: instance {id}", work.name)));
            }
        };
        facts.image = Some(ami.id.clone());
        let instance = Instance {
            client: self.client.clone(),
            id,
            address,
            console,
            work,
            progress: self.context.progress.clone(),
        };
        let name = instance.work.name.clone();
        let machine = Machine { setup, ..Machine::new(&self.context, name, shell, facts, started, instance) };
        tracing::info!("{}: up after {:.1} s", machine.name, machine.boot.as_secs_f64());
        Ok(machine)
    }

    /// Waits until the instance runs and its SSH server, with the host key that was given to it, accepts the login.
    async fn enter(&self, login: Login, id: &str) -> anyhow::Result<(Shell, String)> {
        let (address, image) = launch::running(&self.client, id, self.patience.running).await?;
        self.bill(|used| used.iter_mut().filter(|one| one.id == id).for_each(|one| one.image.clone_from(&image)));
        let address = match &self.context.settings.fake_aws.ssh {
            Some(fake_aws) => fake_aws.clone(),
            None => format!("{}:22", address.context("it has no public address: is its subnet a public one?")?),
        };
        tracing::info!("{}: it runs; waiting for SSH at {address}", login.machine);
        let login = Login { address: address.clone(), ..login };
        let ssh = log_in(&login, self.patience.login, PAUSE).await?;
        Ok((Shell::ssh(ssh, self.context.observer.clone()), address))
    }

    async fn sweep(&self) -> anyhow::Result<()> {
        let known: Vec<String> = self.used().into_iter().map(|one| one.id).collect();
        let pauses = Pauses::of(self.context.settings.fake_aws.endpoint.as_deref());
        teardown(&self.client, &self.context.run, &known, &pauses, &self.context.progress).await?;
        let now = Timestamp::now();
        self.bill(|used| used.iter_mut().for_each(|one| one.until = one.until.or(Some(now))));
        Ok(())
    }

    async fn listed(&self) -> anyhow::Result<Vec<String>> {
        let (left, errors) = resources::list(&self.client).await;
        if let Some(error) = errors.into_iter().next() {
            return Err(error.into());
        }
        let own = left.iter().filter(|resource| resource.run == self.context.run);
        Ok(own.map(|resource| format!("{} {}", resource.kind, resource.id)).collect())
    }

    fn launch(&self) -> launch::Launch<'_> {
        // A second machine, after the first was lost, has a key, a group and an order of its own.
        let name = match self.orders.fetch_add(1, Ordering::Relaxed) {
            0 => aws_name(&self.context.run),
            before => format!("{}-{}", aws_name(&self.context.run), before + 1),
        };
        launch::Launch {
            name,
            client: &self.client,
            order: &self.order,
            run: &self.context.run,
            expires: self.expires.as_second(),
            progress: &self.context.progress,
        }
    }

    fn bill(&self, change: impl FnOnce(&mut Vec<Used>)) {
        change(&mut lock(&self.used));
    }
}

impl Cloud for Ec2 {
    fn region(&self) -> &str {
        &self.region
    }

    fn expires(&self) -> Timestamp {
        self.expires
    }

    fn images(&self) -> &[Ami] {
        &self.images
    }

    fn used(&self) -> Vec<Used> {
        lock(&self.used).clone()
    }

    fn provision<'a>(&'a self, name: &'a str) -> AwsFuture<'a, Machine> {
        Box::pin(self.machine(name))
    }

    fn end(&self) -> AwsFuture<'_, ()> {
        Box::pin(async move {
            let _turn = self.ending.lock().await;
            self.sweep().await
        })
    }

    fn registry(&self) -> &dyn PublicRegistry {
        &self.ecr
    }

    fn left(&self) -> AwsFuture<'_, Vec<String>> {
        Box::pin(async move {
            let _turn = self.ending.lock().await;
            self.listed().await
        })
    }

    fn left_with_a_key_pair(&self) -> AwsFuture<'_, Vec<String>> {
        Box::pin(async move {
            let _turn = self.ending.lock().await;
            let (key, _) = crate::exec::shell::new_key("left behind")?;
            self.launch().key_pair(&key.public_key().to_openssh()?).await?;
            let left = self.listed().await;
            self.sweep().await?;
            left
        })
    }

    fn close(&self) -> AwsFuture<'_, ()> {
        Box::pin(async move {
            if self.closed.load(Ordering::Acquire) {
                return Ok(());
            }
            let repository = aws_name(&self.context.run);
            let (ended, removed) = tokio::join!(self.end(), self.ecr.remove(&repository));
            ended?;
            removed?;
            self.context.cleanup.mark_gone(&self.resource)?;
            self.closed.store(true, Ordering::Release);
            Ok(())
        })
    }
}
