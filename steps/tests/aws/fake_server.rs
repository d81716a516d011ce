//! A fake AWS server, started for one test and queried over plain HTTP, so that no code of assay takes part in the
//! checks.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{LazyLock, Mutex};

use serde_json::Value;

pub const LONG_AGO: &str = "1000000000";
pub const LATER: &str = "4102444800";

/// The region of all tests that do not name another.
pub const REGION: &str = "us-east-1";

/// A fake AWS server that ends with the test.
pub struct FakeServer {
    pub endpoint: String,
    /// Whether it is moto as it is, which takes a repeated order for another.
    pub is_plain: bool,
}

impl FakeServer {
    pub fn start() -> FakeServer {
        FakeServer::with(&[])
    }

    /// Starts a server, and another that is moto as it is: what is like AWS only in the first leaves nothing in either.
    pub fn both() -> [FakeServer; 2] {
        [FakeServer::start(), FakeServer::with(&["--plain"])]
    }

    fn with(arguments: &[&str]) -> FakeServer {
        static STARTED: LazyLock<Mutex<Servers>> = LazyLock::new(|| Mutex::new(Servers::start()));
        let mut servers = STARTED.lock().expect("no start of a server failed before");
        writeln!(servers.child.stdin.as_ref().unwrap(), "{}", arguments.join(" ")).unwrap();
        let mut ready = String::new();
        servers.answers.read_line(&mut ready).unwrap();
        let ready: Value =
            serde_json::from_str(&ready).expect("ci/cloud says where it is: run it by hand to see why not");
        FakeServer { endpoint: ready["endpoint"].as_str().unwrap().to_owned(), is_plain: !arguments.is_empty() }
    }

    /// Returns its host and port.
    pub fn host(&self) -> &str {
        self.endpoint.trim_start_matches("http://")
    }

    /// Sets the coming faults, in the format of `ci/cloud`.
    pub fn faults(&self, faults: &Value) {
        self.ask("POST", "/stand-in/faults", "application/json", &faults.to_string());
    }

    pub fn no_faults(&self) {
        self.ask("DELETE", "/stand-in/faults", "application/json", "");
    }

    /// Lists a run's resources that exist, according to the server.
    pub fn left(&self, run: &str) -> Vec<Value> {
        self.list(&format!("left?run={run}"))
    }

    /// Lists the kinds of a run's resources that exist, sorted.
    pub fn kinds_left(&self, run: &str) -> Vec<String> {
        let mut kinds: Vec<String> =
            self.left(run).iter().map(|one| one["kind"].as_str().unwrap().to_owned()).collect();
        kinds.sort();
        kinds
    }

    pub fn calls(&self) -> Vec<String> {
        self.requests().iter().filter_map(|call| call["action"].as_str().map(str::to_owned)).collect()
    }

    /// Returns the requests that it got, in order, with all parameters.
    pub fn requests(&self) -> Vec<Value> {
        self.list("calls")
    }

    pub fn instances(&self) -> Vec<Value> {
        self.list("instances")
    }

    /// Returns whether an instance exists and is not ending.
    pub fn lives(&self, id: &str) -> bool {
        let instance = self.instances().into_iter().find(|instance| instance["id"] == id);
        instance.is_some_and(|instance| instance["state"] == "pending" || instance["state"] == "running")
    }

    /// Calls EC2 without assay and without the SDK, and returns the content of an element of the answer.
    pub fn ec2(&self, action: &str, parameters: &[(&str, &str)], element: &str) -> String {
        let parameters = parameters.iter().map(|(name, value)| format!("&{name}={value}")).collect::<String>();
        let form = format!("Action={action}&Version=2016-11-15{parameters}");
        let answer = self.ask("POST", "/", "application/x-www-form-urlencoded", &form);
        let (start, end) = (format!("<{element}>"), format!("</{element}>"));
        let inner = answer.split_once(&start).and_then(|(_, rest)| rest.split_once(&end));
        inner.unwrap_or_else(|| panic!("{action} gave no {element}: {answer}")).0.to_owned()
    }

    pub fn key(&self, run: &str, expires: &str) -> String {
        let name = format!("assay-{run}");
        let parameters = [tagged("key-pair", run, expires), vec![("KeyName", &name)]].concat();
        self.ec2("CreateKeyPair", &parameters, "keyPairId")
    }

    pub fn group(&self, run: &str, expires: &str) -> String {
        let name = format!("assay-{run}");
        let own = vec![("GroupName", name.as_str()), ("GroupDescription", "test")];
        self.ec2("CreateSecurityGroup", &[tagged("security-group", run, expires), own].concat(), "groupId")
    }

    pub fn instance(&self, group: &str, tags: &[(&str, &str)]) -> String {
        let image = self.ec2("DescribeImages", &[], "imageId");
        let own = [("ImageId", image.as_str()), ("MinCount", "1"), ("MaxCount", "1"), ("InstanceType", "t4g.nano")];
        self.ec2("RunInstances", &[tags, &own, &[("SecurityGroupId.1", group)]].concat(), "instanceId")
    }

    /// Creates everything that a run may have: a key pair, a group, an instance in it, a disk, a network interface, an
    /// address.
    pub fn everything(&self, run: &str, expires: &str) -> String {
        self.key(run, expires);
        let group = self.group(run, expires);
        let instance = self.instance(&group, &tagged("instance", run, expires));
        let volume = [tagged("volume", run, expires), vec![("AvailabilityZone", "us-east-1a"), ("Size", "8")]];
        self.ec2("CreateVolume", &volume.concat(), "volumeId");
        self.ec2("AllocateAddress", &tagged("elastic-ip", run, expires), "allocationId");
        let subnet = self.ec2("DescribeSubnets", &[], "subnetId");
        let interface = [tagged("network-interface", run, expires), vec![("SubnetId", &subnet)]];
        self.ec2("CreateNetworkInterface", &interface.concat(), "networkInterfaceId");
        instance
    }

    pub fn repository(&self, name: &str, run: &str, expires: &str) {
        let tag = |key: &str, value: &str| serde_json::json!({ "Key": key, "Value": value });
        let tags = [tag("assay:run", run), tag("assay:expires", expires)];
        self.ecr("CreateRepository", &serde_json::json!({ "repositoryName": name, "tags": tags }));
    }

    pub fn untagged_repository(&self, name: &str) {
        self.ecr("CreateRepository", &serde_json::json!({ "repositoryName": name }));
    }

    /// Sets the coming faults of ECR Public, in the format of `fixtures/cloud/ecr.py`.
    pub fn ecr_faults(&self, faults: &Value) {
        self.ask("POST", "/stand-in/ecr", "application/json", &faults.to_string());
    }

    pub fn repositories(&self) -> Vec<String> {
        let answer = self.ecr("DescribeRepositories", &serde_json::json!({}));
        let repositories = answer["repositories"].as_array().unwrap();
        let mut names: Vec<String> =
            repositories.iter().map(|each| each["repositoryName"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }

    fn ecr(&self, action: &str, parameters: &Value) -> Value {
        let kind = format!("application/x-amz-json-1.1\r\nX-Amz-Target: SpencerFrontendService.{action}");
        serde_json::from_str(&self.ask("POST", "/", &kind, &parameters.to_string())).unwrap()
    }

    fn list(&self, what: &str) -> Vec<Value> {
        serde_json::from_str(&self.ask("GET", &format!("/stand-in/{what}"), "application/json", "")).unwrap()
    }

    fn ask(&self, method: &str, path: &str, kind: &str, body: &str) -> String {
        let host = self.host();
        let mut stream = TcpStream::connect(host).unwrap();
        let length = body.len();
        let service = if kind.contains("SpencerFrontendService") { "ecr-public" } else { "ec2" };
        let credential = format!(
            "AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0"
        );
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: {host}\r\nAuthorization: {credential}\r\nContent-Type: {kind}\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.split(' ').nth(1).is_some_and(|status| status.starts_with('2')), "{method} {path}: {answer}");
        body.to_owned()
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        if let Ok(mut stream) = TcpStream::connect(self.host()) {
            let _ = stream.write_all(b"POST /stand-in/end HTTP/1.0\r\n\r\n");
            // It may end before it has answered.
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }
}

/// What starts fake servers, one for each line of options. They end when its standard input closes, however the tests end.
struct Servers {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Servers {
    fn start() -> Servers {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("ci/cloud");
        let mut start = Command::new(&program);
        start.arg("--many").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = start.spawn().unwrap_or_else(|error| panic!("{} does not start: {error}", program.display()));
        let answers = BufReader::new(child.stdout.take().unwrap());
        Servers { child, answers }
    }
}

/// Leads a program to a server, with credentials and a region that it accepts, and with nothing of this host's own
/// account.
pub fn account<'a>(command: &'a mut Command, endpoint: &str) -> &'a mut Command {
    for name in ["AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_EC2"] {
        command.env_remove(name);
    }
    command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    command.env("AWS_ENDPOINT_URL", endpoint).env("AWS_REGION", REGION).env("AWS_EC2_METADATA_DISABLED", "true");
    command.env("AWS_ACCESS_KEY_ID", "AKIATEST").env("AWS_SECRET_ACCESS_KEY", "not-a-secret-at-all")
}

/// Returns a run's tags as parameters of EC2.
pub fn tagged<'a>(kind: &'a str, run: &'a str, expires: &'a str) -> Vec<(&'static str, &'a str)> {
    vec![
        ("TagSpecification.1.ResourceType", kind),
        ("TagSpecification.1.Tag.1.Key", "assay:run"),
        ("TagSpecification.1.Tag.1.Value", run),
        ("TagSpecification.1.Tag.2.Key", "assay:expires"),
        ("TagSpecification.1.Tag.2.Value", expires),
    ]
}
