//! ECR Public on a fake server: the SDK and Podman are the real ones, and so is everything between.

use std::sync::Arc;

use assay::Shell;
use assay::base::settings::FakeAws;
use assay::evidence::EvidenceWriter;
use assay::exec::cleanup::CleanupJournal;
use assay::targets::cloud::PublicRegistry as _;
use assay::targets::cloud::{Denial, NotMade, Repository};
use assay::targets::ec2::{Patience, configuration};
use assay::targets::ecr::Ecr;
use assay::workloads::{BuildDir, ContainerImage, Module, Recipe, registry};
use jiff::Timestamp;
use serde_json::json;

use super::fake_server::FakeServer;

/// Configures the SDK for a different region on purpose: ECR Public exists in only one.
async fn ecr_of(cloud: &FakeServer) -> Ecr {
    let configuration = configuration(Patience::default(), Some("eu-west-1"), Some(&cloud.endpoint)).await;
    Ecr::open(&configuration, &FakeAws { registry: Some(cloud.host().to_owned()), ..FakeAws::default() })
}

/// Makes the API answer the next request for this action with this error.
fn fault(cloud: &FakeServer, action: &str, kind: &str) {
    cloud.ecr_faults(&json!({ "faults": { action: [kind] } }));
}

/// A build dir with an image in it, and the evidence that records everything.
struct Shop {
    build_dir: BuildDir,
    evidence: Arc<EvidenceWriter>,
    image: ContainerImage,
    folder: tempfile::TempDir,
}

impl Shop {
    async fn open(name: &str) -> Shop {
        let folder = tempfile::tempdir().unwrap();
        let run = format!("{name}-{}", std::process::id());
        let evidence = Arc::new(EvidenceWriter::create(&folder.path().join("runs"), None, &run).unwrap());
        let cleanup = Arc::new(CleanupJournal::open(&folder.path().join("journals"), &run).unwrap());
        let build_dir = BuildDir::open(Shell::local(evidence.clone()), cleanup, &run).unwrap();
        let file = folder.path().join("a.wasm");
        std::fs::write(&file, b"\0asm\x01\0\0\0").unwrap();
        let module = Module::read(&file).unwrap();
        let image = ContainerImage::build(&build_dir, "a", &module, &Recipe::default()).await.unwrap();
        Shop { build_dir, evidence, image, folder }
    }

    async fn repository(&self, ecr: &Ecr) -> Repository {
        ecr.create(&self.build_dir.run, later()).await.unwrap()
    }
}

fn later() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

#[tokio::test]
async fn a_repository_is_made_found_by_its_tags_and_removed_and_no_other_is_touched() {
    let cloud = FakeServer::start();
    let ecr = ecr_of(&cloud).await;
    assert_eq!(ecr.list().await.unwrap(), []);
    cloud.untagged_repository("assay-of-somebody");
    cloud.untagged_repository("x");
    let mut made = Vec::new();
    for run in ["r1", "r2", "r3"] {
        made.push(ecr.create(run, later()).await.unwrap());
    }
    assert_eq!((made[0].name.as_str(), made[0].uri.as_str()), ("assay-r1", "public.ecr.aws/x1y2z3a4/assay-r1"));
    assert_eq!((made[0].run.as_str(), made[0].expires), ("r1", Some(later())));
    assert!(made[0].created.is_some_and(|at| (Timestamp::now() - at).get_seconds().abs() < 60));
    assert_eq!(ecr.list().await.unwrap(), made, "with all its pages, and no other");
    assert_eq!(ecr.find("r2").await.unwrap().as_ref(), Some(&made[1]));
    assert_eq!(ecr.find("of-somebody").await.unwrap(), None, "its name alone does not make it a run's");
    assert_eq!(ecr.state("assay-r2").await.unwrap(), made[1].uri);

    assert!(ecr.remove("assay-r2").await.unwrap());
    assert!(!ecr.remove("assay-r2").await.unwrap(), "already gone is fine");
    assert_eq!(ecr.state("assay-r2").await.unwrap(), "RepositoryNotFoundException");
    assert_eq!(ecr.find("r2").await.unwrap(), None);
    made.remove(1);
    assert_eq!(ecr.list().await.unwrap(), made);
}

#[tokio::test]
async fn a_taken_name_is_distinguished_and_a_runs_own_repository_is_used_again() {
    let cloud = FakeServer::start();
    let ecr = ecr_of(&cloud).await;
    let first = ecr.have("r1", later()).await.unwrap();
    let taken = ecr.create("r1", later()).await.unwrap_err();
    assert!(matches!(&taken, NotMade::Taken(text) if text.contains(": RepositoryAlreadyExistsException: ")), "{taken}");
    assert_eq!(ecr.have("r1", later()).await.unwrap(), first, "as after an answer that was lost");
    cloud.untagged_repository("assay-r2");
    let taken = ecr.have("r2", later()).await.unwrap_err();
    assert!(matches!(taken, NotMade::Taken(_)), "{taken}");
    let wrong = ecr.create("NO NAME", later()).await.unwrap_err();
    assert!(matches!(&wrong, NotMade::Other(text) if text.contains(": InvalidParameterException: ")), "{wrong}");
}

#[tokio::test]
async fn a_login_pushes_and_anyone_pulls_until_it_is_deleted() {
    let (cloud, shop) = (FakeServer::start(), Shop::open("ecr-push").await);
    let ecr = ecr_of(&cloud).await;
    let repository = shop.repository(&ecr).await;
    assert_eq!(ecr.host(), cloud.host());
    assert_eq!(ecr.host_for_machines(), cloud.host().replace("127.0.0.1", "10.0.2.2"));
    let reference = format!("{}:a", repository.at(ecr.host()));

    let refused = registry::push_anonymously(&shop.build_dir, &shop.image, &reference).await.unwrap_err();
    assert!(matches!(&refused, Denial::Unauthorized(text) if text.ends_with("denied: Not Authorized")), "{refused}");
    let refused = registry::login(&shop.build_dir, ecr.host(), "AWS", "a guess").await.unwrap_err();
    assert!(matches!(refused, Denial::Unauthorized(_)), "{refused}");

    let password = ecr.login_password().await.unwrap();
    shop.evidence.hide(&password);
    let login = registry::login(&shop.build_dir, ecr.host(), "AWS", &password).await.unwrap();
    let pushed = registry::push(&shop.build_dir, &shop.image, &login, &reference).await.unwrap();
    let pull = registry::pull_anonymously(&shop.build_dir, &reference).await.unwrap();
    assert_eq!((&pull.digest, pull.auth_file.trim()), (&pushed, "{}"));
    assert!(
        pull.token.starts_with(&format!("no credentials; token from http://{}/token/?", cloud.host())),
        "{}",
        pull.token
    );
    let transcript = std::fs::read_to_string(shop.evidence.folder().join("transcript.jsonl")).unwrap();
    assert!(!transcript.contains(&password));

    let refused = ecr.put_text(&repository.name, "b", "this is not a manifest").await.unwrap_err();
    assert!(
        matches!(&refused, Denial::Unauthorized(text) if text.contains(": InvalidParameterException: ")),
        "{refused}"
    );
    let other = ecr.put_text("assay-none", "b", "this is not a manifest").await.unwrap_err();
    assert!(matches!(&other, Denial::Other(text) if text.contains(": RepositoryNotFoundException: ")), "{other}");

    assert!(ecr.remove(&repository.name).await.unwrap(), "though there is an image in it");
    let by_digest = format!("{}@{}", repository.at(ecr.host()), pushed);
    let gone = registry::pull_anonymously(&shop.build_dir, &by_digest).await.unwrap_err();
    assert!(matches!(&gone, Denial::Other(text) if text.contains("name unknown")), "{gone}");
    drop(shop.folder);
}

#[tokio::test]
async fn too_many_requests_are_waited_for_and_are_never_a_refusal() {
    let (cloud, shop) = (FakeServer::start(), Shop::open("ecr-often").await);
    let ecr = ecr_of(&cloud).await;
    let reference = format!("{}:a", shop.repository(&ecr).await.at(ecr.host()));
    let password = ecr.login_password().await.unwrap();
    let login = registry::login(&shop.build_dir, ecr.host(), "AWS", &password).await.unwrap();
    let pushed = registry::push(&shop.build_dir, &shop.image, &login, &reference).await.unwrap();

    cloud.ecr_faults(&json!({ "too_many": 2 }));
    let pull = registry::pull_anonymously(&shop.build_dir, &reference).await.unwrap();
    assert_eq!(pull.digest, pushed);
    cloud.ecr_faults(&json!({ "too_many": 1000 }));
    let error = registry::pull_anonymously(&shop.build_dir, &reference).await.unwrap_err();
    assert!(matches!(&error, Denial::Other(text) if text.contains("too many requests")), "{error}");
}

#[tokio::test]
async fn errors_of_the_api_name_the_remedy_and_throttling_is_waited_for() {
    let cloud = FakeServer::start();
    let ecr = ecr_of(&cloud).await;
    fault(&cloud, "CreateRepository", "ThrottlingException");
    let made = ecr.create("r1", later()).await.unwrap();
    fault(&cloud, "DeleteRepository", "AccessDeniedException");
    let error = ecr.remove(&made.name).await.unwrap_err().to_string();
    assert!(error.starts_with("ecr-public:DeleteRepository failed: AccessDeniedException: "), "{error}");
    let remedy = "; the credentials must allow ecr-public:DeleteRepository: see ci/aws/policy.json";
    assert!(error.ends_with(remedy), "{error}");
    assert!(ecr.remove(&made.name).await.unwrap());
}
