//! Finds the image and a zone with capacity, makes the key pair and the security group, and launches the instance.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Context as _;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::client::Waiters as _;
use aws_sdk_ec2::operation::create_security_group::builders::CreateSecurityGroupFluentBuilder;
use aws_sdk_ec2::operation::import_key_pair::builders::ImportKeyPairFluentBuilder;
use aws_sdk_ec2::operation::run_instances::builders::RunInstancesFluentBuilder;
use aws_sdk_ec2::types::{
    ArchitectureValues, BlockDeviceMapping, EbsBlockDevice, Filter, HttpTokensState, Image, ImageState,
    InstanceMarketOptionsRequest, InstanceMetadataOptionsRequest, InstanceNetworkInterfaceSpecification, InstanceType,
    IpPermission, IpRange, LocationType, MarketType, ResourceType, ShutdownBehavior, Tag, TagSpecification, VolumeType,
};
use base64::Engine as _;

use crate::base::instance_spec::InstanceSpec;
use crate::base::progress::Progress;
use crate::targets::aws_error::{AwsError, Class, explained};
use crate::targets::cloud::{self, Ami, CANONICAL};

/// The name of Ubuntu 24.04 for arm64, without its date.
const UBUNTU: &str = "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-arm64-server-*";

fn ami(image: &Image) -> Option<Ami> {
    Some(Ami {
        id: image.image_id()?.to_owned(),
        name: image.name()?.to_owned(),
        owner: image.owner_id()?.to_owned(),
        created: image.creation_date()?.to_owned(),
        root: image.root_device_name().unwrap_or("/dev/sda1").to_owned(),
    })
}

/// Returns Canonical's images of Ubuntu 24.04 for arm64, at least one, the newest first: instances are started from that.
pub(super) async fn images(client: &Client, region: &str) -> anyhow::Result<Vec<Ami>> {
    let call = client
        .describe_images()
        .owners(CANONICAL)
        .filters(filter("name", UBUNTU))
        .filters(filter("state", ImageState::Available.as_str()))
        .filters(filter("architecture", ArchitectureValues::Arm64.as_str()));
    let answer = explained("ec2:DescribeImages", call.send()).await?;
    // Whatever the server returns, only Canonical's images are used.
    let mut images: Vec<Ami> = answer.images().iter().filter_map(ami).filter(|ami| ami.owner == CANONICAL).collect();
    images.sort_by(|a, b| b.created.cmp(&a.created));
    anyhow::ensure!(!images.is_empty(), "Canonical ({CANONICAL}) has no Ubuntu 24.04 for arm64 in {region}");
    Ok(images)
}

fn filter(name: &str, value: &str) -> Filter {
    Filter::builder().name(name).values(value).build()
}

/// A subnet and zone in which an instance may be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LaunchPlace {
    subnet: String,
    pub(super) zone: String,
    vpc: String,
}

/// Returns at least one place: the subnet that was ordered, or those of the default VPC. If some of these are in zones
/// that offer the instance type, returns only those.
pub(super) async fn places(client: &Client, order: &InstanceSpec) -> anyhow::Result<Vec<LaunchPlace>> {
    let ask = client.describe_subnets();
    let ask = match &order.subnet {
        Some(subnet) => ask.subnet_ids(subnet),
        None => ask.filters(filter("default-for-az", "true")),
    };
    let answer = explained("ec2:DescribeSubnets", ask.send()).await?;
    let place = |subnet: &aws_sdk_ec2::types::Subnet| {
        Some(LaunchPlace {
            subnet: subnet.subnet_id()?.to_owned(),
            zone: subnet.availability_zone()?.to_owned(),
            vpc: subnet.vpc_id()?.to_owned(),
        })
    };
    let mut places: Vec<LaunchPlace> = answer.subnets().iter().filter_map(place).collect();
    anyhow::ensure!(
        !places.is_empty(),
        "there is no default VPC in this region: name a subnet with --subnet, or make one (aws ec2 create-default-vpc)"
    );
    let offered = offered(client, &order.instance_type).await?;
    anyhow::ensure!(
        !offered.is_empty(),
        "no zone of this region has a {}: take another region (AWS_REGION)",
        order.instance_type
    );
    if order.subnet.is_none() && places.iter().any(|place| offered.contains(&place.zone)) {
        places.retain(|place| offered.contains(&place.zone));
    }
    places.sort_by(|a, b| a.zone.cmp(&b.zone));
    Ok(places)
}

async fn offered(client: &Client, instance_type: &str) -> Result<Vec<String>, AwsError> {
    let ask = client.describe_instance_type_offerings().location_type(LocationType::AvailabilityZone);
    let call = ask.filters(filter("instance-type", instance_type)).send();
    let answer = explained("ec2:DescribeInstanceTypeOfferings", call).await?;
    let zones = answer.instance_type_offerings().iter();
    Ok(zones.filter_map(|offering| offering.location().map(str::to_owned)).collect())
}

/// Turns the answer to a dry run into whether the call is allowed.
fn allowed<T>(answer: Result<T, AwsError>) -> Result<(), AwsError> {
    match answer {
        // This is how EC2 reports a dry run that would succeed.
        Err(error) if !error.is("DryRunOperation") => Err(error),
        _ => Ok(()),
    }
}

/// What is made for an instance, and its tags.
pub(super) struct Launch<'a> {
    pub client: &'a Client,
    pub name: String,
    pub order: &'a InstanceSpec,
    pub run: &'a str,
    /// In seconds since 1970.
    pub expires: i64,
    pub progress: &'a Progress,
}

impl Launch<'_> {
    fn tagged(&self, what: ResourceType) -> TagSpecification {
        let tag = |key: &str, value: String| Tag::builder().key(key).value(value).build();
        TagSpecification::builder()
            .resource_type(what)
            .tags(tag("Name", self.name.clone()))
            .tags(tag(cloud::RUN_TAG, self.run.to_owned()))
            .tags(tag(cloud::EXPIRES_TAG, self.expires.to_string()))
            .build()
    }

    /// Uploads the public half of the run's key to EC2; the private half never leaves this host.
    pub async fn key_pair(&self, public_key: &str) -> Result<(), AwsError> {
        explained("ec2:ImportKeyPair", self.import(public_key).send()).await.map(drop)
    }

    fn import(&self, public_key: &str) -> ImportKeyPairFluentBuilder {
        let import = self.client.import_key_pair().key_name(&self.name);
        let import = import.public_key_material(aws_sdk_ec2::primitives::Blob::new(public_key.as_bytes()));
        import.tag_specifications(self.tagged(ResourceType::KeyPair))
    }

    /// Checks by dry runs that the key pair and the security group could be made.
    pub async fn may_make(&self, place: &LaunchPlace, public_key: &str) -> Result<(), AwsError> {
        allowed(explained("ec2:ImportKeyPair", self.import(public_key).dry_run(true).send()).await)?;
        allowed(explained("ec2:CreateSecurityGroup", self.create_group(place).dry_run(true).send()).await)
    }

    /// Makes a security group that admits one address to one port.
    pub async fn group(&self, place: &LaunchPlace, caller: Ipv4Addr) -> anyhow::Result<String> {
        let made = explained("ec2:CreateSecurityGroup", self.create_group(place).send()).await?;
        let group = made.group_id().context("EC2 made a security group and does not say which")?.to_owned();
        let from = IpRange::builder().cidr_ip(format!("{caller}/32")).description("assay").build();
        let ssh = IpPermission::builder().ip_protocol("tcp").from_port(22).to_port(22).ip_ranges(from).build();
        let open = self.client.authorize_security_group_ingress().group_id(&group).ip_permissions(ssh);
        explained("ec2:AuthorizeSecurityGroupIngress", open.send()).await?;
        Ok(group)
    }

    fn create_group(&self, place: &LaunchPlace) -> CreateSecurityGroupFluentBuilder {
        let create = self.client.create_security_group().group_name(&self.name).vpc_id(&place.vpc);
        let create = create.description("SSH from the one machine that runs assay");
        create.tag_specifications(self.tagged(ResourceType::SecurityGroup))
    }

    /// Orders the instance in the first of the places that has capacity for it, and returns its id and its zone.
    pub async fn instance(
        &self,
        ami: &Ami,
        places: &[LaunchPlace],
        group: &str,
        user_data: &str,
    ) -> anyhow::Result<(String, String)> {
        let request = self.request(ami, user_data);
        for place in places {
            let network = InstanceNetworkInterfaceSpecification::builder()
                .device_index(0)
                .subnet_id(&place.subnet)
                .groups(group)
                .associate_public_ip_address(true)
                .delete_on_termination(true)
                .build();
            // If the SDK or we repeat this order, EC2 returns the same instance.
            let request = request.clone().client_token(format!("{}-{}", self.name, place.zone));
            match explained("ec2:RunInstances", request.network_interfaces(network).send()).await {
                Ok(answer) => {
                    let id = answer.instances().first().and_then(|instance| instance.instance_id());
                    let id = id.context("EC2 took the order and named no instance")?;
                    return Ok((id.to_owned(), place.zone.clone()));
                }
                Err(error) if error.class == Class::Capacity => {
                    self.progress
                        .note(format!("ec2: no capacity for a {} in {}", self.order.instance_type, place.zone));
                }
                Err(error) => return Err(error.into()),
            }
        }
        let zones: Vec<&str> = places.iter().map(|place| place.zone.as_str()).collect();
        anyhow::bail!(
            "there is no capacity for a {} in {}: try again later, or another region (AWS_REGION){}",
            self.order.instance_type,
            zones.join(", "),
            if self.order.spot { ", or without --spot" } else { "" }
        )
    }

    /// Describes the instance, except where to start it.
    fn request(&self, ami: &Ami, user_data: &str) -> RunInstancesFluentBuilder {
        let disk = EbsBlockDevice::builder()
            .volume_type(VolumeType::Gp3)
            .volume_size(i32::try_from(self.order.disk_gib).unwrap_or(i32::MAX))
            .encrypted(true)
            .delete_on_termination(true)
            .build();
        let root = BlockDeviceMapping::builder().device_name(&ami.root).ebs(disk).build();
        // A hop limit of one: containers cannot reach the metadata service.
        let metadata = InstanceMetadataOptionsRequest::builder()
            .http_tokens(HttpTokensState::Required)
            .http_put_response_hop_limit(1)
            .build();
        let request = self
            .client
            .run_instances()
            .image_id(&ami.id)
            .instance_type(InstanceType::from(self.order.instance_type.as_str()))
            .min_count(1)
            .max_count(1)
            .key_name(&self.name)
            .user_data(base64::engine::general_purpose::STANDARD.encode(user_data))
            .block_device_mappings(root)
            .metadata_options(metadata)
            .instance_initiated_shutdown_behavior(ShutdownBehavior::Terminate)
            .tag_specifications(self.tagged(ResourceType::Instance))
            .tag_specifications(self.tagged(ResourceType::Volume))
            .tag_specifications(self.tagged(ResourceType::NetworkInterface));
        if !self.order.spot {
            return request;
        }
        let market = InstanceMarketOptionsRequest::builder().market_type(MarketType::Spot).build();
        request.instance_market_options(market).tag_specifications(self.tagged(ResourceType::SpotInstancesRequest))
    }
}

/// Waits until an instance runs. Returns its public address, and the image that it was started from.
pub(super) async fn running(client: &Client, id: &str, limit: Duration) -> anyhow::Result<(Option<String>, String)> {
    let waited = client.wait_until_instance_running().instance_ids(id).wait(limit).await;
    let seen = explained("ec2:DescribeInstances", client.describe_instances().instance_ids(id).send()).await?;
    let instance = seen.reservations().iter().flat_map(|reservation| reservation.instances()).next();
    let instance = instance.with_context(|| format!("instance {id} is not there any more"))?;
    if waited.is_err() {
        let state = instance.state().and_then(|state| state.name()).map_or("unknown", |name| name.as_str());
        let why = instance.state_reason().and_then(|reason| reason.message()).unwrap_or("EC2 gives no reason");
        anyhow::bail!("instance {id} does not run within {limit:?}: it is {state}: {why}");
    }
    Ok((instance.public_ip_address().map(str::to_owned), instance.image_id().unwrap_or_default().to_owned()))
}
