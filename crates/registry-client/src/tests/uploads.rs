//! A registry in memory that takes pushes, and can be made as particular as real ones are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use url::form_urlencoded;

use super::image::sha;
use super::server::{Reply, Seen};

#[derive(Default)]
pub struct State {
    pub blobs: HashMap<String, Vec<u8>>,
    pub uploads: HashMap<String, Vec<u8>>,
    /// By tag or digest: media type and bytes.
    pub manifests: HashMap<String, (String, Vec<u8>)>,
    /// Blobs of other repositories, by repository and digest.
    pub elsewhere: HashMap<(String, String), Vec<u8>>,
    /// Larger bodies are refused.
    pub largest: Option<usize>,
    /// Announced as the smallest piece, and enforced.
    pub smallest: Option<usize>,
    opened: usize,
}

#[derive(Clone, Default)]
pub struct Uploads(Arc<Mutex<State>>);

impl Uploads {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub fn answer(&self, request: &Seen) -> Reply {
        let mut state = self.state();
        let (path, query) = request
            .target
            .split_once('?')
            .unwrap_or((&request.target, ""));
        let query: HashMap<String, String> = form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        let name = path.rsplit('/').next().unwrap().to_owned();
        if state.largest.is_some_and(|most| request.bytes.len() > most) {
            return Reply::new(413, "<html>too large");
        }
        match request.method.as_str() {
            "HEAD" if path.contains("/blobs/") => match state.blobs.contains_key(&name) {
                true => Reply::new(200, ""),
                false => Reply::new(404, ""),
            },
            "HEAD" => match state.manifests.contains_key(&name) {
                true => Reply::new(200, ""),
                false => Reply::new(404, ""),
            },
            "POST" => state.open(&query),
            "PATCH" => state.patch(&name, request),
            "GET" => match state.uploads.get(&name) {
                Some(bytes) => range(Reply::new(204, "").without_length(), bytes.len()),
                None => Reply::new(404, ""),
            },
            "DELETE" => {
                state.uploads.remove(&name);
                Reply::new(204, "").without_length()
            }
            "PUT" if path.contains("/manifests/") => {
                let media_type = request.header("content-type").unwrap().to_owned();
                let digest = sha(&request.bytes);
                for key in [name, digest.clone()] {
                    let manifest = (media_type.clone(), request.bytes.clone());
                    state.manifests.insert(key, manifest);
                }
                Reply::new(201, "").header("Docker-Content-Digest", digest)
            }
            "PUT" => state.close(&name, &query, request),
            _ => Reply::new(405, ""),
        }
    }
}

impl State {
    fn open(&mut self, query: &HashMap<String, String>) -> Reply {
        if let (Some(digest), Some(from)) = (query.get("mount"), query.get("from"))
            && let Some(bytes) = self.elsewhere.get(&(from.clone(), digest.clone()))
        {
            self.blobs.insert(digest.clone(), bytes.clone());
            return Reply::new(201, "");
        }
        self.opened += 1;
        let id = format!("u{}", self.opened);
        self.uploads.insert(id.clone(), Vec::new());
        let reply = Reply::new(202, "");
        // Relative, with a query of its own.
        let reply = reply.header(
            "Location",
            format!("/v2/test/app/blobs/uploads/{id}?state=a%3Db"),
        );
        match self.smallest {
            Some(smallest) => reply.header("OCI-Chunk-Min-Length", smallest.to_string()),
            None => reply,
        }
    }

    fn patch(&mut self, id: &str, request: &Seen) -> Reply {
        let smallest = self.smallest;
        let Some(bytes) = self.uploads.get_mut(id) else {
            return Reply::new(404, r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}"#);
        };
        let start = request
            .header("content-range")
            .and_then(|r| r.split_once('-'));
        if start.is_some_and(|(start, _)| start.parse() != Ok(bytes.len())) {
            return Reply::new(416, "");
        }
        bytes.extend_from_slice(&request.bytes);
        let length = bytes.len();
        if smallest.is_some_and(|smallest| request.bytes.len() < smallest) {
            return Reply::new(400, r#"{"errors":[{"code":"SIZE_INVALID"}]}"#);
        }
        let host = request.header("host").unwrap();
        // Absolute this time.
        let place = format!("http://{host}/v2/test/app/blobs/uploads/{id}?state=next");
        range(Reply::new(202, "").header("Location", place), length)
    }

    fn close(&mut self, id: &str, query: &HashMap<String, String>, request: &Seen) -> Reply {
        let Some(mut bytes) = self.uploads.remove(id) else {
            return Reply::new(404, "");
        };
        assert!(
            query.contains_key("state"),
            "the query of the place is kept"
        );
        bytes.extend_from_slice(&request.bytes);
        if query.get("digest") != Some(&sha(&bytes)) {
            let error = r#"{"errors":[{"code":"DIGEST_INVALID","message":"digest invalid"}]}"#;
            return Reply::new(400, error);
        }
        self.blobs.insert(sha(&bytes), bytes);
        Reply::new(201, "")
    }
}

fn range(reply: Reply, length: usize) -> Reply {
    reply.header("Range", format!("0-{}", length.saturating_sub(1)))
}
