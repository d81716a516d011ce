//! Lists and removes tagged EC2 resources by type.

use std::fmt;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::primitives::DateTime;
use aws_sdk_ec2::types::{Address, Filter, Instance, KeyPairInfo, NetworkInterface, SecurityGroup, Tag, Volume};
use aws_sdk_ec2::types::{InstanceStateName, SpotInstanceRequest};
use jiff::Timestamp;

use crate::targets::aws_error::{AwsError, explained};
use crate::targets::cloud::{EXPIRES_TAG, RUN_TAG};

/// The states of what is over, and stays listed for a while.
const OVER: [&str; 5] = ["terminated", "deleted", "cancelled", "closed", "failed"];

/// The type of a resource, in the order of removal: a resource may be in use by those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResourceKind {
    /// A request for a spot instance: it may still start one.
    SpotRequest,
    Instance,
    Volume,
    NetworkInterface,
    Address,
    KeyPair,
    SecurityGroup,
}

/// All types with their names.
const KINDS: [(ResourceKind, &str); 7] = [
    (ResourceKind::SpotRequest, "spot request"),
    (ResourceKind::Instance, "instance"),
    (ResourceKind::Volume, "volume"),
    (ResourceKind::NetworkInterface, "network interface"),
    (ResourceKind::Address, "address"),
    (ResourceKind::KeyPair, "key-pair"),
    (ResourceKind::SecurityGroup, "security-group"),
];

impl fmt::Display for ResourceKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(KINDS[*self as usize].1)
    }
}

/// A resource that carries a run's tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsResource {
    pub kind: ResourceKind,
    pub id: String,
    pub name: Option<String>,
    /// The run that made it; empty for an instance that was found by its id and has lost its tag.
    pub run: String,
    /// When anyone may remove it; `None` without a valid tag.
    pub expires: Option<Timestamp>,
    pub created: Option<Timestamp>,
    /// AWS's name for its state: `running`; empty for types without states.
    pub state: String,
    pub instance_type: Option<String>,
    /// Whether it is an instance with a public IPv4 address, which is billed too.
    pub has_address: bool,
    pub gib: Option<u32>,
}

impl AwsResource {
    fn new(kind: ResourceKind, id: Option<&str>, state: Option<&str>, tags: &[Tag]) -> AwsResource {
        let value = |key: &str| tags.iter().find(|tag| tag.key() == Some(key)).and_then(Tag::value);
        AwsResource {
            kind,
            id: id.unwrap_or_default().to_owned(),
            name: None,
            run: value(RUN_TAG).unwrap_or_default().to_owned(),
            expires: value(EXPIRES_TAG).and_then(|text| Timestamp::from_second(text.parse().ok()?).ok()),
            created: None,
            state: state.unwrap_or_default().to_owned(),
            instance_type: None,
            has_address: false,
            gib: None,
        }
    }

    /// Whether AWS is already removing it.
    pub fn is_going(&self) -> bool {
        matches!(self.state.as_str(), "shutting-down" | "deleting")
    }

    /// Whether it is gone, and only listed for a while.
    pub fn is_over(&self) -> bool {
        OVER.contains(&self.state.as_str())
    }
}

impl fmt::Display for AwsResource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.kind, self.id)?;
        let details = [self.name.as_deref().unwrap_or_default(), &self.state];
        let details: Vec<&str> = details.into_iter().filter(|detail| !detail.is_empty()).collect();
        if details.is_empty() { Ok(()) } else { write!(out, " ({})", details.join(", ")) }
    }
}

/// Lists the resources of all runs in the order of removal, and returns the errors of the types that could not be
/// listed: a forbidden type does not hide the others. Lists them by type, because the tags of deleted resources stay
/// listed for a while.
pub async fn list(client: &Client) -> (Vec<AwsResource>, Vec<AwsError>) {
    let (mut resources, mut errors) = (Vec::new(), Vec::new());
    for (kind, _) in KINDS {
        match list_kind(client, kind).await {
            Ok(found) => resources.extend(found),
            // Every other type would fail in the same way.
            Err(error) if !error.of_one_call() => return (resources, vec![error]),
            Err(error) => errors.push(error),
        }
    }
    // A server that does not know the filter returns everything, and resources that are not ours must never be touched.
    resources.retain(|resource| !resource.run.is_empty() && !resource.is_over());
    resources.sort_by(|one, other| (one.kind, &one.id).cmp(&(other.kind, &other.id)));
    (resources, errors)
}

async fn list_kind(client: &Client, kind: ResourceKind) -> Result<Vec<AwsResource>, AwsError> {
    let tagged = Filter::builder().name("tag-key").values(RUN_TAG).build();
    let of = |id: Option<&str>, state: Option<&str>, tags: &[Tag]| AwsResource::new(kind, id, state, tags);
    Ok(match kind {
        ResourceKind::SpotRequest => {
            let pages = client.describe_spot_instance_requests().filters(tagged).into_paginator().items().send();
            let found = explained("ec2:DescribeSpotInstanceRequests", pages.try_collect()).await?;
            let resource = |one: &SpotInstanceRequest| AwsResource {
                created: time(one.create_time()),
                ..of(one.spot_instance_request_id(), one.state().map(|state| state.as_str()), one.tags())
            };
            found.iter().map(resource).collect()
        }
        ResourceKind::Instance => instances(client, tagged).await?,
        ResourceKind::Volume => {
            let pages = client.describe_volumes().filters(tagged).into_paginator().items().send();
            let found = explained("ec2:DescribeVolumes", pages.try_collect()).await?;
            let resource = |one: &Volume| AwsResource {
                created: time(one.create_time()),
                gib: one.size().and_then(|size| u32::try_from(size).ok()),
                ..of(one.volume_id(), one.state().map(|state| state.as_str()), one.tags())
            };
            found.iter().map(resource).collect()
        }
        ResourceKind::NetworkInterface => {
            let pages = client.describe_network_interfaces().filters(tagged).into_paginator().items().send();
            let found = explained("ec2:DescribeNetworkInterfaces", pages.try_collect()).await?;
            let resource = |one: &NetworkInterface| {
                of(one.network_interface_id(), one.status().map(|status| status.as_str()), one.tag_set())
            };
            found.iter().map(resource).collect()
        }
        ResourceKind::Address => {
            let found = explained("ec2:DescribeAddresses", client.describe_addresses().filters(tagged).send()).await?;
            let state = |one: &Address| one.association_id().map(|_| "associated");
            found.addresses().iter().map(|one| of(one.allocation_id(), state(one), one.tags())).collect()
        }
        ResourceKind::KeyPair => {
            let found = explained("ec2:DescribeKeyPairs", client.describe_key_pairs().filters(tagged).send()).await?;
            let resource = |one: &KeyPairInfo| AwsResource {
                created: time(one.create_time()),
                name: one.key_name().map(str::to_owned),
                ..of(one.key_pair_id(), None, one.tags())
            };
            found.key_pairs().iter().map(resource).collect()
        }
        ResourceKind::SecurityGroup => {
            let pages = client.describe_security_groups().filters(tagged).into_paginator().items().send();
            let found = explained("ec2:DescribeSecurityGroups", pages.try_collect()).await?;
            let name = |one: &SecurityGroup| one.group_name().map(str::to_owned);
            found.iter().map(|one| AwsResource { name: name(one), ..of(one.group_id(), None, one.tags()) }).collect()
        }
    })
}

/// Lists instances by their ids, whatever their tags and states.
pub(super) async fn instances_by_id(client: &Client, ids: &[String]) -> Result<Vec<AwsResource>, AwsError> {
    let mut found =
        instances(client, Filter::builder().name("instance-id").set_values(Some(ids.to_vec())).build()).await?;
    found.retain(|instance| ids.contains(&instance.id));
    Ok(found)
}

async fn instances(client: &Client, filter: Filter) -> Result<Vec<AwsResource>, AwsError> {
    let pages = client.describe_instances().filters(filter).into_paginator().items().send();
    let reservations = explained("ec2:DescribeInstances", pages.try_collect()).await?;
    Ok(reservations.iter().flat_map(|reservation| reservation.instances()).map(instance).collect())
}

fn instance(instance: &Instance) -> AwsResource {
    let state = instance.state().and_then(|state| state.name()).map(InstanceStateName::as_str);
    AwsResource {
        created: time(instance.launch_time()),
        instance_type: instance.instance_type().map(|kind| kind.as_str().to_owned()),
        has_address: instance.public_ip_address().is_some(),
        ..AwsResource::new(ResourceKind::Instance, instance.instance_id(), state, instance.tags())
    }
}

fn time(time: Option<&DateTime>) -> Option<Timestamp> {
    time.and_then(|time| Timestamp::from_second(time.secs()).ok())
}

/// Asks AWS to remove a resource. Only a listing shows whether it is gone: an instance takes a minute, and an error may
/// mean that it was gone before.
pub(super) async fn remove(client: &Client, resource: &AwsResource) -> Result<(), AwsError> {
    let id = resource.id.as_str();
    match resource.kind {
        ResourceKind::SpotRequest => {
            let call = client.cancel_spot_instance_requests().spot_instance_request_ids(id).send();
            explained("ec2:CancelSpotInstanceRequests", call).await.map(drop)
        }
        ResourceKind::Instance => terminate(client, id).await,
        ResourceKind::Volume => {
            explained("ec2:DeleteVolume", client.delete_volume().volume_id(id).send()).await.map(drop)
        }
        ResourceKind::NetworkInterface => {
            let call = client.delete_network_interface().network_interface_id(id).send();
            explained("ec2:DeleteNetworkInterface", call).await.map(drop)
        }
        ResourceKind::Address => {
            explained("ec2:ReleaseAddress", client.release_address().allocation_id(id).send()).await.map(drop)
        }
        ResourceKind::KeyPair => {
            // Separately, because a server may know only one of both: moto ignores the id.
            let by_name = client.delete_key_pair().set_key_name(resource.name.clone()).send();
            let by_name = explained("ec2:DeleteKeyPair", by_name).await;
            let by_id = explained("ec2:DeleteKeyPair", client.delete_key_pair().key_pair_id(id).send()).await;
            by_name.or(by_id).map(drop)
        }
        ResourceKind::SecurityGroup => {
            explained("ec2:DeleteSecurityGroup", client.delete_security_group().group_id(id).send()).await.map(drop)
        }
    }
}

pub(super) async fn terminate(client: &Client, id: &str) -> Result<(), AwsError> {
    explained("ec2:TerminateInstances", client.terminate_instances().instance_ids(id).send()).await.map(drop)
}
