//! `runtime.v1.ImageService`.

use std::sync::Arc;

use rctr_engine::login::registry_of;
use rctr_engine::{Account, Image, ImageSummary, LayerEvent, PullProgress, PulledLayer};
use rctr_registry_client::{Descriptor, Digest, parse_reference};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use crate::api::image_service_server::ImageService;
use crate::convert::time;
use crate::service::Service;
use crate::{api, error};

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl ImageService for Service {
    async fn list_images(
        &self,
        request: Request<api::ListImagesRequest>,
    ) -> Answer<api::ListImagesResponse> {
        let images = self.images(request.into_inner().filter).await?;
        Ok(Response::new(api::ListImagesResponse { images }))
    }

    type StreamImagesStream =
        std::pin::Pin<Box<dyn Stream<Item = Result<api::StreamImagesResponse, Status>> + Send>>;

    async fn stream_images(
        &self,
        request: Request<api::StreamImagesRequest>,
    ) -> Answer<Self::StreamImagesStream> {
        let images = self.images(request.into_inner().filter).await?;
        Ok(crate::stream::in_parts(images, |images| {
            api::StreamImagesResponse { images }
        }))
    }

    async fn image_status(
        &self,
        request: Request<api::ImageStatusRequest>,
    ) -> Answer<api::ImageStatusResponse> {
        let request = request.into_inner();
        let name = named(request.image)?;
        let found = self
            .blocking(move |engine| match engine.image(&name) {
                Err(rctr_engine::Error::NoSuchImage { .. }) => Ok(None),
                other => other.map(Some),
            })
            .await?;
        let mut answer = api::ImageStatusResponse::default();
        if let Some(image) = found {
            if request.verbose {
                let info = serde_json::json!({
                    "chainID": image.layers.last().map(ToString::to_string),
                    "imageSpec": image.raw_config(),
                });
                answer.info.insert("info".into(), info.to_string());
            }
            answer.image = Some(image.into());
        }
        Ok(Response::new(answer))
    }

    async fn pull_image(
        &self,
        request: Request<api::PullImageRequest>,
    ) -> Answer<api::PullImageResponse> {
        let request = request.into_inner();
        let name = named(request.image)?;
        let account = account(request.auth, &name)?;
        // Whoever brings other credentials may not profit from a pull that they could not have made.
        let key = format!("{name} {}", fingerprint(account.as_ref()));
        let service = self.clone();
        let pull = move || async move {
            let silent = Arc::new(Silent);
            let pulled = service.engine.pull_as(&name, None, account, silent).await;
            pulled.map(|image| image.id).map_err(|e| error::status(&e))
        };
        let image_ref = self.pulls.run(key, pull).await?;
        Ok(Response::new(api::PullImageResponse { image_ref }))
    }

    async fn remove_image(
        &self,
        request: Request<api::RemoveImageRequest>,
    ) -> Answer<api::RemoveImageResponse> {
        let name = named(request.into_inner().image)?;
        self.blocking(move |engine| engine.forget_image(&name))
            .await?;
        Ok(Response::new(api::RemoveImageResponse {}))
    }

    async fn image_fs_info(
        &self,
        _: Request<api::ImageFsInfoRequest>,
    ) -> Answer<api::ImageFsInfoResponse> {
        let used = self.blocking(|engine| engine.image_fs()).await?;
        let usage = api::FilesystemUsage {
            timestamp: time::now(),
            fs_id: Some(api::FilesystemIdentifier {
                mountpoint: used.path.to_string_lossy().into_owned(),
            }),
            used_bytes: Some(api::UInt64Value {
                value: used.used_bytes,
            }),
            inodes_used: Some(api::UInt64Value {
                value: used.inodes_used,
            }),
        };
        // Layers and what containers write are on one file system.
        Ok(Response::new(api::ImageFsInfoResponse {
            image_filesystems: vec![usage.clone()],
            container_filesystems: vec![usage],
        }))
    }
}

impl Service {
    async fn images(&self, filter: Option<api::ImageFilter>) -> Result<Vec<api::Image>, Status> {
        let wanted = filter.and_then(|filter| filter.image);
        let name = wanted
            .map(|image| image.image)
            .filter(|name| !name.is_empty());
        self.blocking(move |engine| match name {
            None => Ok(engine.images()?.into_iter().map(Into::into).collect()),
            Some(name) => match engine.image(&name) {
                Err(rctr_engine::Error::NoSuchImage { .. }) => Ok(Vec::new()),
                found => Ok(vec![found?.into()]),
            },
        })
        .await
    }
}

fn named(image: Option<api::ImageSpec>) -> Result<String, Status> {
    let name = image.map(|image| image.image).unwrap_or_default();
    match name.is_empty() {
        true => Err(Status::invalid_argument("no image is named")),
        false => Ok(name),
    }
}

impl From<ImageSummary> for api::Image {
    fn from(image: ImageSummary) -> Self {
        message(image.id, image.tags, image.digests, image.size, &image.user)
    }
}

impl From<Image> for api::Image {
    fn from(image: Image) -> Self {
        let config = image.config.config().as_ref();
        let user = config.and_then(|c| c.user().clone()).unwrap_or_default();
        message(image.id, image.tags, image.digests, image.size, &user)
    }
}

fn message(
    id: String,
    repo_tags: Vec<String>,
    repo_digests: Vec<String>,
    size: u64,
    user: &str,
) -> api::Image {
    let (uid, username) = self::user(user);
    api::Image {
        spec: Some(api::ImageSpec {
            image: id.clone(),
            ..Default::default()
        }),
        id,
        repo_tags,
        repo_digests,
        size,
        uid,
        username,
        pinned: false,
    }
}

/// `USER` of an image as the kubelet checks `runAsNonRoot` with it: a number, or else a name. Nobody named is root.
fn user(text: &str) -> (Option<api::Int64Value>, String) {
    let user = text.split(':').next().unwrap_or_default();
    match user.parse() {
        Ok(value) => (Some(api::Int64Value { value }), String::new()),
        Err(_) if user.is_empty() => (Some(api::Int64Value { value: 0 }), String::new()),
        Err(_) => (None, user.into()),
    }
}

/// The account that a request brings, if it is for the registry of the image.
fn account(auth: Option<api::AuthConfig>, image: &str) -> Result<Option<Account>, Status> {
    let Some(auth) = auth else { return Ok(None) };
    if !auth.server_address.is_empty() {
        let registry = parse_reference(image).map(|r| r.registry().to_owned());
        let meant = registry_of(Some(&auth.server_address));
        if !matches!((registry, meant), (Ok(registry), Ok(meant)) if registry == meant) {
            return Ok(None);
        }
    }
    if !auth.username.is_empty() {
        return Ok(Some(Account::Password {
            user: auth.username,
            password: auth.password,
        }));
    }
    if !auth.identity_token.is_empty() {
        return Ok(Some(Account::Identity {
            token: auth.identity_token,
        }));
    }
    if !auth.registry_token.is_empty() {
        return Ok(Some(Account::Bearer {
            token: auth.registry_token,
        }));
    }
    if auth.auth.is_empty() {
        return Ok(None);
    }
    let bad = || Status::invalid_argument("auth is no base64 of USER:PASSWORD");
    Account::from_base64(&auth.auth).map(Some).ok_or_else(bad)
}

/// Tells accounts apart without keeping them.
fn fingerprint(account: Option<&Account>) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    account.hash(&mut hasher);
    hasher.finish()
}

struct Silent;

impl PullProgress for Silent {
    fn resolved(&self, _: &Descriptor, _: &[PulledLayer]) {}

    fn event(&self, _: &Digest, _: LayerEvent) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_of_images() {
        let known = |text| {
            let (uid, name) = user(text);
            (uid.map(|uid| uid.value), name)
        };
        assert_eq!(known(""), (Some(0), String::new()));
        assert_eq!(known("1000:0"), (Some(1000), String::new()));
        assert_eq!(known("www:www"), (None, "www".into()));
    }

    fn auth(change: impl FnOnce(&mut api::AuthConfig)) -> Result<Option<Account>, Status> {
        let mut auth = api::AuthConfig::default();
        change(&mut auth);
        account(Some(auth), "host.io/a/b:1")
    }

    #[test]
    fn accounts() {
        let password = || Account::Password {
            user: "me".into(),
            password: "s:c".into(),
        };
        assert!(auth(|_| {}).unwrap().is_none());
        let encoded = auth(|a| a.auth = "bWU6czpj".into()).unwrap();
        assert!(encoded == Some(password()));
        let plain = auth(|a| {
            a.username = "me".into();
            a.password = "s:c".into();
            a.server_address = "https://host.io/v1/".into();
        });
        assert!(plain.unwrap() == Some(password()));
        let elsewhere = auth(|a| {
            a.username = "me".into();
            a.server_address = "other.io".into();
        });
        assert!(elsewhere.unwrap().is_none());
        let bad = auth(|a| a.auth = "?".into()).err().unwrap();
        assert_eq!(bad.code(), tonic::Code::InvalidArgument);
        let token = auth(|a| a.registry_token = "t".into()).unwrap();
        assert!(token == Some(Account::Bearer { token: "t".into() }));
    }
}
