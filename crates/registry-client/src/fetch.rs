//! Reading single documents and blobs, for whoever copies images rather than pulls them.

use std::ops::Range;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;
use oci_spec::distribution::Reference;
use oci_spec::image::{Descriptor, Digest};
use reqwest::header::CONTENT_RANGE;
use reqwest::{Method, StatusCode};

use crate::hosts::Endpoint;
use crate::push::BlobStream;
use crate::repository::{Lookup, Object, all_failed};
use crate::retry::{Backoff, Failure};
use crate::transport::Response;
use crate::{Client, Error};

impl Client {
    /// What a reference names, and its bytes: a manifest or an index, checked against its digest.
    ///
    /// # Errors
    /// Any [`Error`] but [`Error::Sink`] and those of pushing.
    pub async fn fetch_manifest(
        &self,
        reference: &Reference,
    ) -> Result<(Descriptor, Vec<u8>), Error> {
        let repository = self.repository(reference)?;
        let resolved = repository.resolve(Lookup::Get).await?;
        let bytes = match resolved.bytes {
            Some(bytes) => bytes,
            None => repository.manifest(&resolved.descriptor).await?,
        };
        Ok((resolved.descriptor, bytes))
    }

    /// The bytes of a manifest that an index names, checked against its descriptor.
    ///
    /// # Errors
    /// As [`Client::fetch_manifest`].
    pub async fn fetch_document(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
    ) -> Result<Vec<u8>, Error> {
        self.repository(reference)?.manifest(descriptor).await
    }

    /// The bytes of a small blob such as a configuration, checked against its descriptor.
    ///
    /// # Errors
    /// As [`Client::fetch_manifest`].
    pub async fn fetch_blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
    ) -> Result<Vec<u8>, Error> {
        self.repository(reference)?.blob(descriptor).await
    }

    /// A blob as it comes, gone on with after breaks. Neither digest nor size are checked: whoever takes the bytes does.
    pub fn stream_blob(
        self: &Arc<Self>,
        reference: &Reference,
        digest: &Digest,
        range: Range<u64>,
    ) -> BlobStream {
        let fetch = Fetch {
            client: Arc::clone(self),
            reference: reference.clone(),
            digest: digest.clone(),
            range,
            answer: None,
            backoff: None,
        };
        let pieces = stream::try_unfold(fetch, |mut fetch| async move {
            let piece = fetch.next().await?;
            Ok(piece.map(|piece| (piece, fetch)))
        });
        pieces.boxed()
    }
}

struct Fetch {
    client: Arc<Client>,
    reference: Reference,
    digest: Digest,
    /// What is still to come.
    range: Range<u64>,
    answer: Option<Response>,
    backoff: Option<Backoff>,
}

impl Fetch {
    async fn next(&mut self) -> Result<Option<bytes::Bytes>, Error> {
        if self.range.is_empty() {
            return Ok(None);
        }
        let client = Arc::clone(&self.client);
        let reference = self.reference.clone();
        let repository = client.repository(&reference)?;
        let sources = repository.sources();
        let mut failed = Vec::new();
        for endpoint in sources {
            let backoff = Backoff::new(client.timing, endpoint);
            let mut backoff = self.backoff.take().unwrap_or(backoff);
            loop {
                let answer = match self.answer.take() {
                    Some(answer) => Ok(answer),
                    None => self.ask(&repository, endpoint).await,
                };
                let failure = match answer {
                    Ok(answer) => match self.piece(answer).await {
                        Ok(piece) => {
                            backoff.progress();
                            self.backoff = Some(backoff);
                            return Ok(Some(piece));
                        }
                        Err(failure) => failure,
                    },
                    Err(failure) => failure,
                };
                match backoff.after(failure) {
                    Ok(pause) => tokio::time::sleep(pause).await,
                    Err(failure) => {
                        failed.push((endpoint, failure));
                        break;
                    }
                }
            }
        }
        Err(all_failed(
            failed,
            &format!("{} of {reference}", self.digest),
        ))
    }

    async fn ask(
        &self,
        repository: &crate::repository::Repository<'_>,
        endpoint: &Endpoint,
    ) -> Result<Response, Failure> {
        let (object, from) = (Object::Blob(&self.digest), self.range.start);
        let answer = repository.send(endpoint, Method::GET, object, from).await?;
        let starts = |range: &str| range.starts_with(&format!("bytes {from}-"));
        match answer.status() {
            StatusCode::OK if from == 0 => Ok(answer),
            StatusCode::PARTIAL_CONTENT
                if answer.header(CONTENT_RANGE.as_str()).is_some_and(starts) =>
            {
                Ok(answer)
            }
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Err(Failure::Fatal(Error::Protocol {
                host: answer.host,
                reason: "does not go on with a broken download".to_owned(),
            })),
            _ => Err(answer.into_failure().await),
        }
    }

    async fn piece(&mut self, mut answer: Response) -> Result<bytes::Bytes, Failure> {
        let Some(mut piece) = answer.chunk().await? else {
            return Err(Failure::Broken {
                host: answer.host,
                reason: format!("ended {} bytes early", self.range.end - self.range.start),
            });
        };
        // A part may have been asked for, and more comes.
        let rest = self.range.end - self.range.start;
        piece.truncate(usize::try_from(rest).unwrap_or(usize::MAX));
        self.range.start += piece.len() as u64;
        self.answer = Some(answer);
        Ok(piece)
    }
}
