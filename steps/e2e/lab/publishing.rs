//! Subjects about publishing: what a registry says to whom. On a machine of this host it is a registry here; on an
//! instance it is the run's own repository in ECR Public, with one tag per image.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use assay::base::unit::Unit;
use assay::measurement::Reading;
use assay::targets::ecr::Ecr;
use assay::targets::repository::{NotMade, Refusal, Repository};
use assay::workloads::registry::{self, Login, Pull, Pushed};
use assay::workloads::{Image, Recipe};
use jiff::Timestamp;

use super::{Guest, Lab, Subject};

/// How often, and how long in between, a repository that was deleted is asked for until it is gone.
const LOOKS: usize = 6;
const BETWEEN: Duration = Duration::from_secs(5);

/// Which of the registry's doors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Serves pulls to anybody.
    Open,
    /// Demands a login for everything.
    Closed,
}

/// The run's repository in ECR Public, and a login there.
pub(super) struct Public {
    repository: Repository,
    login: Login,
}

/// Where an image goes, and where it is had from.
struct Place {
    login: Login,
    push: String,
    pull: String,
    machines_pull: String,
}

impl Lab {
    pub(super) async fn workload_image(&self) -> anyhow::Result<Arc<Image>> {
        self.image(&Guest::Workload, "", &Recipe::default()).await
    }

    fn ecr(&self) -> anyhow::Result<(&Ecr, Timestamp)> {
        let cloud = &self.rented()?.cloud;
        Ok((cloud.ecr(), cloud.expires()))
    }

    /// The run's repository in ECR Public, made and logged in to when first asked for.
    async fn public(&self) -> anyhow::Result<Arc<Public>> {
        let make = async {
            let (ecr, expires) = self.ecr()?;
            let repository = ecr.have(&self.workshop.run, expires).await?;
            self.progress.say(format!("ECR Public: {}", repository.uri));
            let password = ecr.login_password().await?;
            self.evidence.hide(&password);
            self.evidence.hide(&format!("AWS:{password}"));
            let login = registry::login(&self.workshop, ecr.host(), "AWS", &password).await?;
            Ok(Arc::new(Public { repository, login }))
        };
        // In a box, as below: what calls this is deep enough.
        self.public.get("public", Box::pin(make)).await
    }

    async fn place(&self, image: &Image) -> anyhow::Result<Place> {
        let Ok((ecr, _)) = self.ecr() else {
            let local = self.registry().await?;
            let path = image.repository();
            let pull = format!("{}/{path}", local.open);
            let push = format!("{}/{path}", local.closed);
            return Ok(Place { login: local.login.clone(), push, machines_pull: pull.clone(), pull });
        };
        let (public, tag) = (self.public().await?, tag(image));
        let here = format!("{}:{tag}", public.repository.at(ecr.host()));
        let machines_pull = format!("{}:{tag}", public.repository.at(ecr.host_for_machines()));
        Ok(Place { login: public.login.clone(), push: here.clone(), pull: here, machines_pull })
    }

    async fn push(&self, image: &Image) -> anyhow::Result<Pushed> {
        let place = self.place(image).await?;
        Ok(registry::push(&self.workshop, image, &place.login, &place.push).await?)
    }

    /// Where machines pull an image from, at this host's own address where that is this host; it is pushed when the first
    /// of them asks.
    pub(super) async fn published(&self, image: &Image) -> anyhow::Result<Arc<str>> {
        let make = async {
            self.push(image).await?;
            Ok(Arc::from(self.place(image).await?.machines_pull))
        };
        self.published.get(&image.reference, Box::pin(make)).await
    }

    /// What the registry says to a push of the workload's image, with the login or without.
    pub async fn push_subject(&self, with_login: bool) -> anyhow::Result<Subject> {
        let make = async {
            let image = self.workload_image().await?;
            let place = self.place(&image).await?;
            let answer = match with_login {
                true => registry::push(&self.workshop, &image, &place.login, &place.push).await,
                false => registry::push_anonymously(&self.workshop, &image, &place.push).await,
            };
            let (result, raw) = told(answer.as_ref().map(|pushed| pushed.digest.clone()))?;
            self.subject("push", "host", vec![Reading::new("push.result", result.as_str(), Unit::Text, raw)])
        };
        self.once(&format!("push with login: {with_login}"), make).await
    }

    /// The workload's image in the registry: under which digest.
    pub async fn pushed_subject(&self) -> anyhow::Result<Subject> {
        let make = async {
            let image = self.workload_image().await?;
            let pushed = self.push(&image).await?;
            self.subject("push", "host", vec![Reading::text("push.digest", &pushed.digest)])
        };
        self.once("pushed", make).await
    }

    /// What the registry says to a pull by somebody who has no credentials anywhere. The closed door is always the one on
    /// this host: ECR Public has none.
    pub async fn pull_subject(&self, door: Door) -> anyhow::Result<Subject> {
        let make = async {
            let image = self.workload_image().await?;
            let pushed = self.push(&image).await?;
            let reference = match door {
                Door::Open => self.place(&image).await?.pull,
                Door::Closed => format!("{}/{}", self.registry().await?.closed, image.repository()),
            };
            let answer = registry::pull_anonymously(&self.workshop, &reference).await;
            self.subject("anonymous pull", "host", pull_readings(&answer, &pushed)?)
        };
        self.once(&format!("pull {door:?}"), make).await
    }

    /// What the registry says to something that is no OCI image.
    pub async fn payload_subject(&self) -> anyhow::Result<Subject> {
        const TEXT: &str = "this is no OCI manifest";
        let make = async {
            let answer = match self.ecr() {
                Ok((ecr, _)) => ecr.put_text(&self.public().await?.repository.name, "payload", TEXT).await,
                Err(_) => {
                    let answer = self.registry().await?.put_text("assay/payload", "1", TEXT).await;
                    // Here a refusal for what it is, not for who brings it, is an answer too.
                    answer.map_err(|refusal| match refusal {
                        Refusal::Other(text) if text.starts_with("status 4") => Refusal::Unauthorized(text),
                        other => other,
                    })
                }
            };
            let (result, raw) = told(answer.as_ref().map(|()| "taken".to_owned()))?;
            self.subject("payload", "host", vec![Reading::new("push.result", result.as_str(), Unit::Text, raw)])
        };
        self.once("payload", make).await
    }

    /// The run's repository in ECR Public: the address that it got.
    pub async fn repository_subject(&self) -> anyhow::Result<Subject> {
        let make = async {
            let public = self.public().await?;
            let Repository { uri, arn, .. } = &public.repository;
            let reading = Reading::new("ecr.uri", uri.as_str(), Unit::Text, arn.clone());
            self.subject("repository", "host", vec![reading])
        };
        self.once("repository", make).await
    }

    /// What comes of making the run's repository once more: the address, or what the API says instead of one.
    pub async fn taken_repository_subject(&self) -> anyhow::Result<Subject> {
        let make = async {
            // It is taken only once the repository is there.
            self.public().await?;
            let (ecr, expires) = self.ecr()?;
            let said = match ecr.create(&self.workshop.run, expires).await {
                Ok(repository) => repository.uri,
                Err(NotMade::Taken(said)) => said,
                Err(other) => return Err(other.into()),
            };
            self.subject("second repository", "host", vec![Reading::text("ecr.uri", &said)])
        };
        self.once("second repository", make).await
    }

    /// The run's repository is deleted with the images in it: what the API says of it then, and the registry to who pulls
    /// one of them by its digest. Whoever needs the repository afterwards makes it anew.
    pub async fn deleted_repository_subject(&self) -> anyhow::Result<Subject> {
        let make = async {
            let (ecr, _) = self.ecr()?;
            let image = self.workload_image().await?;
            let pushed = self.push(&image).await?;
            let repository = self.public().await?.repository.clone();
            self.progress.say(format!("ECR Public: deleting {}", repository.uri));
            ecr.remove(&repository.name).await?;
            self.public.forget();
            self.published.forget();
            let reference = format!("{}@{}", repository.at(ecr.host()), pushed.digest);
            let readings = self.what_is_left(ecr, &repository.name, &reference).await?;
            self.subject("deleted repository", "host", readings)
        };
        self.once("deleted repository", make).await
    }

    /// What is left of a repository that was deleted a moment ago; what is still there gets a little time to go.
    async fn what_is_left(&self, ecr: &Ecr, name: &str, reference: &str) -> anyhow::Result<Vec<Reading>> {
        let mut looks = 0;
        loop {
            looks += 1;
            let state = ecr.state(name).await?;
            let pulled = match registry::pull_anonymously(&self.workshop, reference).await {
                Ok(pull) => Ok(format!("pulled {}", pull.digest)),
                // Not a matter of who asks: there is nothing to be had.
                Err(Refusal::Other(text))
                    if ["name unknown", "manifest unknown"].iter().any(|no| text.contains(no)) =>
                {
                    Err(Refusal::Unauthorized(text))
                }
                Err(refusal) => Err(refusal),
            };
            if pulled.is_ok() && looks < LOOKS {
                tokio::time::sleep(BETWEEN).await;
                continue;
            }
            let (result, raw) = match &pulled {
                Ok(said) => (said.clone(), reference.to_owned()),
                Err(refusal) => told(Err(refusal))?,
            };
            return Ok(vec![
                Reading::text("repository.state", &state),
                Reading::new("repository.pull", result.as_str(), Unit::Text, raw),
            ]);
        }
    }
}

/// An image's own name, by which it is told from the run's others in one repository.
fn tag(image: &Image) -> &str {
    let path = image.repository();
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    name.split_once(':').map_or(name, |(name, _)| name)
}

/// A registry's answer as a text: `accepted`, or `refused: …`; anything else is trouble and no answer.
fn told(answer: Result<String, &Refusal>) -> anyhow::Result<(String, String)> {
    match answer {
        Ok(raw) => Ok(("accepted".to_owned(), raw)),
        Err(Refusal::Unauthorized(text)) => {
            // The last words say why; the whole of it is kept as the raw text.
            let why: Vec<&str> = text.trim().rsplitn(3, ": ").take(2).collect();
            Ok((format!("refused: {}", why.into_iter().rev().collect::<Vec<_>>().join(": ")), text.clone()))
        }
        Err(Refusal::Other(text)) => anyhow::bail!("the registry: {text}"),
    }
}

fn pull_readings(answer: &Result<Pull, Refusal>, pushed: &Pushed) -> anyhow::Result<Vec<Reading>> {
    let (result, raw) = told(answer.as_ref().map(|pull| pull.digest.clone()))?;
    let mut readings = vec![
        Reading::new("pull.result", result.as_str(), Unit::Text, raw),
        Reading::text("push.digest", &pushed.digest),
    ];
    if let Ok(pull) = answer {
        let names: BTreeSet<&str> = pull.environment.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
        let names = names.into_iter().collect::<Vec<_>>().join(" ");
        readings.push(Reading::text("pull.digest", &pull.digest));
        readings.push(Reading::new("pull.environment", names.as_str(), Unit::Text, pull.environment.clone()));
        readings.push(Reading::text("pull.auth-file", pull.auth_file.trim()));
        readings.push(Reading::text("pull.token", &pull.token));
        readings.push(Reading::text("pull.inspected", &pull.config_digest));
        readings.push(Reading::new("pull.time", pull.wall.as_secs_f64(), Unit::Seconds, "wall time"));
    }
    Ok(readings)
}
