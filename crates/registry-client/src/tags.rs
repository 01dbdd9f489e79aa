//! The tags of a repository: the distribution specification, "Listing Tags".

use futures_util::FutureExt;
use oci_spec::distribution::Reference;
use reqwest::Method;
use reqwest::header::LINK;
use serde::Deserialize;

use crate::hosts::Endpoint;
use crate::repository::{Object, Repository};
use crate::retry::Failure;
use crate::{Client, Error};

/// Of one page.
const MAX_PAGE: usize = 4 << 20;
/// More than any repository has; a registry whose pages never end is not followed for ever.
const MAX_TAGS: usize = 1 << 20;

#[derive(Deserialize)]
struct Page {
    /// Some registries say null for a repository without tags.
    tags: Option<Vec<String>>,
}

impl Client {
    /// All tags of a reference's repository, in the registry's order. The reference's own tag does not matter.
    ///
    /// # Errors
    /// Any [`Error`] but [`Error::Sink`] and those of pushing.
    pub async fn tags(&self, reference: &Reference) -> Result<Vec<String>, Error> {
        let repository = self.repository(reference)?;
        let wanted = format!(
            "tags of {}/{}",
            reference.registry(),
            reference.repository()
        );
        repository
            .first_success(&wanted, |endpoint| repository.tags_at(endpoint).boxed())
            .await
    }
}

impl Repository<'_> {
    async fn tags_at(&self, endpoint: &Endpoint) -> Result<Vec<String>, Failure> {
        let mut tags = Vec::new();
        let mut query = String::new();
        loop {
            let mut answer = self
                .send(endpoint, Method::GET, Object::Tags(&query), 0)
                .await?;
            if !answer.status().is_success() {
                return Err(answer.into_failure().await);
            }
            let next = answer
                .header(LINK.as_str())
                .and_then(next_query)
                .map(str::to_owned);
            let body = answer.body(MAX_PAGE).await?;
            let broken = |reason: String| {
                let host = answer.host.clone();
                Failure::Fatal(Error::Protocol { host, reason })
            };
            let page: Page = serde_json::from_slice(&body)
                .map_err(|e| broken(format!("sent a list of tags that cannot be read: {e}")))?;
            tags.extend(page.tags.unwrap_or_default());
            match next {
                Some(next) if tags.len() <= MAX_TAGS && next != query => query = next,
                Some(_) => return Err(broken("sends lists of tags without end".to_owned())),
                None => return Ok(tags),
            }
        }
    }
}

/// The query of the next page's address: `</v2/app/tags/list?last=b&n=2>; rel="next"`. Its place is known already.
fn next_query(link: &str) -> Option<&str> {
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let is_next = parameters
        .split(';')
        .any(|p| matches!(p.trim(), "rel=\"next\"" | "rel=next"));
    let (_, query) = target.split_once('?')?;
    is_next.then_some(query)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page() {
        let link = "</v2/app/tags/list?last=b&n=2>; rel=\"next\"";
        assert_eq!(next_query(link), Some("last=b&n=2"));
        let absolute = "<https://r.example/v2/app/tags/list?last=b>;rel=next";
        assert_eq!(next_query(absolute), Some("last=b"));
        for other in [
            "",
            "</x>; rel=\"next\"",
            "</x?last=b>; rel=\"prev\"",
            "x?last=b",
        ] {
            assert_eq!(next_query(other), None, "{other}");
        }
    }
}
