//! Lists and removes tagged EC2 resources by type.

use std::collections::HashMap;
use std::fmt;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::primitives::DateTime;
use aws_sdk_ec2::types::{Filter, InstanceLifecycleType, Tag};
use jiff::Timestamp;
use serde::Serialize;

use super::error::{AwsError, Class, explain};
use crate::targets::tags::{EXPIRES, RUN};

/// The type of a resource, in the order of removal: a resource may be in use by those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A request for a spot instance: it may still start one.
    SpotRequest,
    /// A machine.
    Instance,
    /// A disk.
    Volume,
    /// A network interface.
    NetworkInterface,
    /// An Elastic IP address.
    Address,
    /// The public half of an SSH key.
    KeyPair,
    /// A firewall.
    SecurityGroup,
}

impl Kind {
    /// All types.
    pub const ALL: [Kind; 7] = [
        Kind::SpotRequest,
        Kind::Instance,
        Kind::Volume,
        Kind::NetworkInterface,
        Kind::Address,
        Kind::KeyPair,
        Kind::SecurityGroup,
    ];

    /// Whether AWS charges nothing for it.
    pub fn is_free(self) -> bool {
        matches!(self, Kind::SpotRequest | Kind::NetworkInterface | Kind::KeyPair | Kind::SecurityGroup)
    }

    /// Returns the error codes with which AWS reports that the resource does not exist (any more).
    fn gone(self) -> &'static [&'static str] {
        match self {
            Kind::SpotRequest => &["InvalidSpotInstanceRequestID.NotFound"],
            Kind::Instance => &["InvalidInstanceID.NotFound"],
            Kind::Volume => &["InvalidVolume.NotFound"],
            Kind::NetworkInterface => &["InvalidNetworkInterfaceID.NotFound"],
            Kind::Address => &["InvalidAllocationID.NotFound", "InvalidAddress.NotFound"],
            Kind::KeyPair => &["InvalidKeyPair.NotFound"],
            Kind::SecurityGroup => &["InvalidGroup.NotFound", "InvalidGroupId.NotFound"],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Kind::SpotRequest => "spot request",
            Kind::Instance => "instance",
            Kind::Volume => "volume",
            Kind::NetworkInterface => "network interface",
            Kind::Address => "address",
            Kind::KeyPair => "key-pair",
            Kind::SecurityGroup => "security-group",
        })
    }
}

/// What a resource's price depends on, and its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Detail {
    /// The type of an instance or a volume: `t4g.nano`, `gp3`.
    pub model: Option<String>,
    /// The size of a volume, in GiB.
    pub gib: Option<u32>,
    /// The public IPv4 address of an instance, or the address itself: it is charged by the hour.
    pub public_ipv4: Option<String>,
    /// Whether an instance is a spot instance.
    pub spot: bool,
    /// The name of a key pair or a security group.
    pub name: Option<String>,
}

/// A resource that carries a run's tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AwsResource {
    /// Its type.
    pub kind: Kind,
    /// AWS's id: `i-0123`.
    pub id: String,
    /// The region: `us-east-1`.
    pub region: String,
    /// The run that made it; empty for an instance that was found by its id and has lost its tag.
    pub run: String,
    /// When anyone may remove it; `None` without a valid tag.
    pub expires: Option<Timestamp>,
    /// When it was made, where AWS records that.
    pub created: Option<Timestamp>,
    /// AWS's name for its state: `running`; empty for types without states.
    pub state: String,
    /// What its price depends on.
    pub detail: Detail,
}

impl AwsResource {
    /// Returns an instance of which only the id is known.
    pub(super) fn instance(id: &str) -> AwsResource {
        thing(Kind::Instance, Some(id), &[])
    }

    /// Whether AWS is already removing it.
    pub fn going(&self) -> bool {
        matches!(self.state.as_str(), "shutting-down" | "deleting")
    }
}

impl fmt::Display for AwsResource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.kind, self.id)?;
        let (name, state) = (self.detail.name.as_deref(), Some(self.state.as_str()));
        let said: Vec<&str> = [name, state].into_iter().flatten().filter(|word| !word.is_empty()).collect();
        if said.is_empty() { Ok(()) } else { write!(out, " ({})", said.join(", ")) }
    }
}

/// Which resources to look for.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// Everything that any run made.
    AnyRun,
    /// Everything that one run made.
    Run(&'a str),
    /// Instances by their ids, whatever their tags.
    Instances(&'a [String]),
}

impl Which<'_> {
    /// Returns the filters for AWS, with the states that removed resources do not have.
    fn filters(self, state: &str, states: &[&str]) -> Option<Vec<Filter>> {
        let filter = |name: &str, values: Vec<String>| Filter::builder().name(name).set_values(Some(values)).build();
        let which = match self {
            Which::AnyRun => filter("tag-key", vec![RUN.to_owned()]),
            Which::Run(run) => filter(&format!("tag:{RUN}"), vec![run.to_owned()]),
            Which::Instances(ids) => filter("instance-id", ids.to_vec()),
        };
        let states = states.iter().map(|state| (*state).to_owned()).collect::<Vec<_>>();
        Some([which].into_iter().chain((!states.is_empty()).then(|| filter(state, states))).collect())
    }

    /// Whether a resource matches. A server that does not know a filter returns everything, and resources that are not
    /// ours must never be touched.
    fn fits(self, thing: &AwsResource) -> bool {
        match self {
            Which::AnyRun => !thing.run.is_empty(),
            Which::Run(run) => !run.is_empty() && thing.run == run,
            Which::Instances(ids) => thing.kind == Kind::Instance && ids.contains(&thing.id),
        }
    }
}

/// Lists the resources of one run, or of all runs. Lists them by type, because the tags of deleted resources stay
/// listed for a while.
pub async fn list(client: &Client, run: Option<&str>) -> Result<Vec<AwsResource>, AwsError> {
    let (things, troubles) = look(client, &Kind::ALL, run.map_or(Which::AnyRun, Which::Run)).await;
    match troubles.into_iter().next() {
        None => Ok(things),
        Some(trouble) => Err(trouble),
    }
}

/// Lists the resources of some types, and returns the errors of those that could not be listed: a forbidden type does
/// not hide the others.
pub(super) async fn look(client: &Client, kinds: &[Kind], which: Which<'_>) -> (Vec<AwsResource>, Vec<AwsError>) {
    let (mut things, mut troubles) = (Vec::new(), Vec::new());
    for kind in kinds {
        match list_kind(client, *kind, which).await {
            Ok(found) => things.extend(found),
            // Every other type would fail in the same way.
            Err(trouble) if !trouble.of_one_call() => return (things, vec![trouble]),
            Err(trouble) => troubles.push(trouble),
        }
    }
    (things, troubles)
}

/// Lists all pages of one type's resources.
pub async fn list_kind(client: &Client, kind: Kind, which: Which<'_>) -> Result<Vec<AwsResource>, AwsError> {
    let mut things = match kind {
        Kind::SpotRequest => spot_requests(client, which).await,
        Kind::Instance => instances(client, which).await,
        Kind::Volume => volumes(client, which).await,
        Kind::NetworkInterface => interfaces(client, which).await,
        Kind::Address => addresses(client, which).await,
        Kind::KeyPair => key_pairs(client, which).await,
        Kind::SecurityGroup => groups(client, which).await,
    }?;
    let region = client.config().region().map(ToString::to_string).unwrap_or_default();
    things.iter_mut().for_each(|thing| thing.region.clone_from(&region));
    things.retain(|thing| which.fits(thing));
    things.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(things)
}

/// Returns a function that explains the error of a call.
fn told<E, R>(action: &'static str) -> impl Fn(SdkError<E, R>) -> AwsError
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
    R: fmt::Debug,
{
    move |error| explain(action, &error)
}

fn thing(kind: Kind, id: Option<&str>, tags: &[Tag]) -> AwsResource {
    let tags: HashMap<&str, &str> = tags.iter().filter_map(|tag| Some((tag.key()?, tag.value()?))).collect();
    let seconds = tags.get(EXPIRES).and_then(|text| text.parse().ok());
    AwsResource {
        kind,
        id: id.unwrap_or_default().to_owned(),
        region: String::new(),
        run: tags.get(RUN).map(|run| (*run).to_owned()).unwrap_or_default(),
        expires: seconds.and_then(|seconds| Timestamp::from_second(seconds).ok()),
        created: None,
        state: String::new(),
        detail: Detail::default(),
    }
}

fn time(time: Option<&DateTime>) -> Option<Timestamp> {
    time.and_then(|time| Timestamp::from_second(time.secs()).ok())
}

async fn instances(client: &Client, which: Which<'_>) -> Result<Vec<AwsResource>, AwsError> {
    let states = ["pending", "running", "shutting-down", "stopping", "stopped"];
    let call = client.describe_instances().set_filters(which.filters("instance-state-name", &states));
    let mut pages = call.into_paginator().items().send();
    let mut things = Vec::new();
    while let Some(reservation) = pages.next().await {
        let reservation = reservation.map_err(told("ec2:DescribeInstances"))?;
        things.extend(reservation.instances().iter().map(|instance| AwsResource {
            created: time(instance.launch_time()),
            state: instance.state().and_then(|state| Some(state.name()?.as_str().to_owned())).unwrap_or_default(),
            detail: Detail {
                model: instance.instance_type().map(|model| model.as_str().to_owned()),
                public_ipv4: instance.public_ip_address().map(str::to_owned),
                spot: instance.instance_lifecycle() == Some(&InstanceLifecycleType::Spot),
                ..Detail::default()
            },
            ..thing(Kind::Instance, instance.instance_id(), instance.tags())
        }));
    }
    // A page may still hold instances in states that the filter excludes.
    things.retain(|thing| thing.state != "terminated");
    Ok(things)
}

async fn spot_requests(client: &Client, which: Which<'_>) -> Result<Vec<AwsResource>, AwsError> {
    let call = client.describe_spot_instance_requests().set_filters(which.filters("state", &["open", "active"]));
    let mut pages = call.into_paginator().items().send();
    let mut things = Vec::new();
    while let Some(request) = pages.next().await {
        let request = request.map_err(told("ec2:DescribeSpotInstanceRequests"))?;
        things.push(AwsResource {
            created: time(request.create_time()),
            state: request.state().map(|state| state.as_str().to_owned()).unwrap_or_default(),
            ..thing(Kind::SpotRequest, request.spot_instance_request_id(), request.tags())
        });
    }
    things.retain(|thing| matches!(thing.state.as_str(), "open" | "active"));
    Ok(things)
}

async fn volumes(client: &Client, which: Which<'_>) -> Result<Vec<AwsResource>, AwsError> {
    let states = ["creating", "available", "in-use", "deleting", "error"];
    let call = client.describe_volumes().set_filters(which.filters("status", &states));
    let mut pages = call.into_paginator().items().send();
    let mut things = Vec::new();
    while let Some(volume) = pages.next().await {
        let volume = volume.map_err(told("ec2:DescribeVolumes"))?;
        things.push(AwsResource {
            created: time(volume.create_time()),
            state: volume.state().map(|state| state.as_str().to_owned()).unwrap_or_default(),
            detail: Detail {
                model: volume.volume_type().map(|model| model.as_str().to_owned()),
                gib: volume.size().and_then(|size| u32::try_from(size).ok()),
                ..Detail::default()
            },
            ..thing(Kind::Volume, volume.volume_id(), volume.tags())
        });
    }
    Ok(things)
}

async fn interfaces(client: &Client, which: Which<'_>) -> Result<Vec<AwsResource>, AwsError> {
    let call = client.describe_network_interfaces().set_filters(which.filters("status", &[]));
    let mut pages = call.into_paginator().items().send();
    let mut things = Vec::new();
    while let Some(interface) = pages.next().await {
        let interface = interface.map_err(told("ec2:DescribeNetworkInterfaces"))?;
        things.push(AwsResource {
            state: interface.status().map(|status| status.as_str().to_owned()).unwrap_or_default(),
            ..thing(Kind::NetworkInterface, interface.network_interface_id(), interface.tag_set())
        });
    }
    Ok(things)
}

async fn addresses(client: &Client, which: Which<'_>) -> Result<Vec<AwsResource>, AwsError> {
    let call = client.describe_addresses().set_filters(which.filters("", &[]));
    let answer = call.send().await.map_err(told("ec2:DescribeAddresses"))?;
    let address = |address: &aws_sdk_ec2::types::Address| AwsResource {
        state: if address.association_id().is_some() { "associated".to_owned() } else { String::new() },
        detail: Detail { public_ipv4: address.public_ip().map(str::to_owned), ..Detail::default() },
        ..thing(Kind::Address, address.allocation_id(), address.tags())
    };
    Ok(answer.addresses().iter().map(address).collect())
}

async fn key_pairs(client: &Client, which: Which<'_>) -> Result<Vec<AwsResource>, AwsError> {
    let call = client.describe_key_pairs().set_filters(which.filters("", &[]));
    let answer = call.send().await.map_err(told("ec2:DescribeKeyPairs"))?;
    let pair = |pair: &aws_sdk_ec2::types::KeyPairInfo| AwsResource {
        created: time(pair.create_time()),
        detail: Detail { name: pair.key_name().map(str::to_owned), ..Detail::default() },
        ..thing(Kind::KeyPair, pair.key_pair_id(), pair.tags())
    };
    Ok(answer.key_pairs().iter().map(pair).collect())
}

async fn groups(client: &Client, which: Which<'_>) -> Result<Vec<AwsResource>, AwsError> {
    let call = client.describe_security_groups().set_filters(which.filters("", &[]));
    let mut pages = call.into_paginator().items().send();
    let mut things = Vec::new();
    while let Some(group) = pages.next().await {
        let group = group.map_err(told("ec2:DescribeSecurityGroups"))?;
        things.push(AwsResource {
            detail: Detail { name: group.group_name().map(str::to_owned), ..Detail::default() },
            ..thing(Kind::SecurityGroup, group.group_id(), group.tags())
        });
    }
    Ok(things)
}

/// Removes a resource, or has AWS begin to: an instance takes a minute. It may be gone already.
pub async fn remove(client: &Client, thing: &AwsResource) -> Result<(), AwsError> {
    let id = thing.id.as_str();
    let done = match thing.kind {
        Kind::SpotRequest => {
            let call = client.cancel_spot_instance_requests().spot_instance_request_ids(id).send();
            call.await.map(drop).map_err(told("ec2:CancelSpotInstanceRequests"))
        }
        Kind::Instance => {
            let call = client.terminate_instances().instance_ids(id).send();
            call.await.map(drop).map_err(told("ec2:TerminateInstances"))
        }
        Kind::Volume => {
            let call = client.delete_volume().volume_id(id).send();
            call.await.map(drop).map_err(told("ec2:DeleteVolume"))
        }
        Kind::NetworkInterface => {
            let call = client.delete_network_interface().network_interface_id(id).send();
            call.await.map(drop).map_err(told("ec2:DeleteNetworkInterface"))
        }
        Kind::Address => {
            let call = client.release_address().allocation_id(id).send();
            call.await.map(drop).map_err(told("ec2:ReleaseAddress"))
        }
        Kind::KeyPair => {
            let call = client.delete_key_pair().key_pair_id(id).send();
            call.await.map(drop).map_err(told("ec2:DeleteKeyPair"))
        }
        Kind::SecurityGroup => {
            let call = client.delete_security_group().group_id(id).send();
            call.await.map(drop).map_err(told("ec2:DeleteSecurityGroup"))
        }
    };
    match done {
        Err(trouble) if is_gone(thing.kind, &trouble) => Ok(()),
        done => done,
    }
}

fn is_gone(kind: Kind, trouble: &AwsError) -> bool {
    trouble.class == Class::NotFound && kind.gone().iter().any(|code| trouble.is(code))
}
