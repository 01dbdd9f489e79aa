//! Header blocks: names and values, compressed with zlib over the life of a connection, one stream each way,
//! both beginning with the dictionary of SPDY/3.

use std::sync::LazyLock;

use bytes::Buf;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use super::ProtocolError;

/// A header block holds at most this much when inflated.
const LONGEST: usize = 64 * 1024;

/// Words of the dictionary's first part, each with its length before it.
const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding accept-language \
accept-ranges age allow authorization cache-control connection content-base content-encoding content-language \
content-length content-location content-md5 content-range content-type date etag expect expires from host if-match \
if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma \
proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade \
user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie \
keep-alive origin";

/// The rest of the dictionary.
const TAIL: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505\
203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden\
404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept \
Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,\
application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdch\
charset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

/// The dictionary (SPDY/3.1, section 2.6.10.1).
static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut bytes = Vec::new();
    for word in WORDS.split(' ') {
        let word = word.replace('_', " ");
        bytes.extend((word.len() as u32).to_be_bytes());
        bytes.extend(word.as_bytes());
    }
    bytes.extend(TAIL.as_bytes());
    bytes
});

/// Headers: lower-case names with their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::streaming) struct Headers(Vec<(String, String)>);

impl Headers {
    /// The value of a header, its name in lower case.
    pub(in crate::streaming) fn get(&self, name: &str) -> Option<&str> {
        let header = self.0.iter().find(|(key, _)| key == name)?;
        Some(&header.1)
    }

    /// `count (length name length value)*`, all numbers of 32 bits.
    fn parse(mut block: &[u8]) -> Option<Headers> {
        let text = |length_first: &mut &[u8]| {
            let length = length_first.try_get_u32().ok()? as usize;
            let (text, rest) = length_first.split_at_checked(length)?;
            *length_first = rest;
            Some(String::from_utf8_lossy(text).into_owned())
        };
        let count = block.try_get_u32().ok()?;
        let mut headers = Vec::new();
        for _ in 0..count {
            let name = text(&mut block)?.to_ascii_lowercase();
            headers.push((name, text(&mut block)?));
        }
        Some(Headers(headers))
    }
}

#[cfg(test)]
impl Headers {
    pub(in crate::streaming) fn of(headers: &[(&str, &str)]) -> Headers {
        Headers(
            headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    pub(in crate::streaming) fn encode(&self) -> Vec<u8> {
        let mut block = (self.0.len() as u32).to_be_bytes().to_vec();
        for text in self.0.iter().flat_map(|(name, value)| [name, value]) {
            block.extend((text.len() as u32).to_be_bytes());
            block.extend(text.as_bytes());
        }
        block
    }
}

/// Reads the header blocks of one direction of a connection, in their order.
pub(super) struct Inflater(Decompress);

impl Inflater {
    pub(super) fn new() -> Inflater {
        Inflater(Decompress::new(true))
    }

    pub(super) fn headers(&mut self, block: &[u8]) -> Result<Headers, ProtocolError> {
        let inflated = self.inflate(block)?;
        Headers::parse(&inflated).ok_or(ProtocolError::Headers)
    }

    fn inflate(&mut self, block: &[u8]) -> Result<Vec<u8>, ProtocolError> {
        let begin = self.0.total_in();
        let mut inflated = Vec::with_capacity(4 * 1024);
        loop {
            let done = (self.0.total_in() - begin) as usize;
            let rest = block.get(done..).unwrap_or_default();
            let before = inflated.len();
            match self
                .0
                .decompress_vec(rest, &mut inflated, FlushDecompress::Sync)
            {
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0
                        .set_dictionary(&DICTIONARY)
                        .map_err(|_| ProtocolError::Headers)?;
                    continue;
                }
                Err(_) => return Err(ProtocolError::Headers),
            }
            let consumed = (self.0.total_in() - begin) as usize == block.len();
            if inflated.len() < inflated.capacity() && consumed {
                return Ok(inflated);
            }
            if inflated.len() == before && rest.is_empty() || inflated.len() > LONGEST {
                return Err(ProtocolError::Headers);
            }
            if inflated.len() == inflated.capacity() {
                inflated.reserve(4 * 1024);
            }
        }
    }
}

/// Makes the header blocks of one direction of a connection.
pub(super) struct Deflater(Compress);

impl Deflater {
    pub(super) fn new() -> Result<Deflater, ProtocolError> {
        let mut compress = Compress::new(Compression::fast(), true);
        compress
            .set_dictionary(&DICTIONARY)
            .map_err(|_| ProtocolError::Headers)?;
        Ok(Deflater(compress))
    }

    /// The next block of this direction.
    pub(super) fn block(&mut self, block: &[u8]) -> Result<Vec<u8>, ProtocolError> {
        let begin = self.0.total_in();
        let mut deflated = Vec::with_capacity(block.len() + 64);
        loop {
            let done = (self.0.total_in() - begin) as usize;
            let rest = block.get(done..).unwrap_or_default();
            self.0
                .compress_vec(rest, &mut deflated, FlushCompress::Sync)
                .map_err(|_| ProtocolError::Headers)?;
            // Room left over means that all has been flushed.
            if deflated.len() < deflated.capacity() {
                return Ok(deflated);
            }
            deflated.reserve(64);
        }
    }
}

/// A block without headers.
pub(super) const NO_HEADERS: &[u8] = &[0; 4];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dictionary_is_that_of_the_protocol() {
        assert_eq!(DICTIONARY.len(), 1_423);
        // Its Adler-32 is what every zlib stream of SPDY/3 names in its first bytes.
        let first = Deflater::new().unwrap().block(b"").unwrap();
        assert_eq!(first[2..6], [0xe3, 0xc6, 0xa7, 0xc2]);
    }

    #[test]
    fn blocks_follow_each_other_in_one_stream() {
        let (mut deflater, mut inflater) = (Deflater::new().unwrap(), Inflater::new());
        for round in 0..50 {
            let value = "x".repeat(round * 100);
            let headers = Headers::of(&[("streamtype", "data"), ("value", &value)]);
            let block = deflater.block(&headers.encode()).unwrap();
            assert_eq!(inflater.headers(&block).unwrap(), headers);
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        let mut deflater = Deflater::new().unwrap();
        let block = deflater.block(&vec![0; 10 << 20]).unwrap();
        assert!(matches!(
            Inflater::new().headers(&block),
            Err(ProtocolError::Headers)
        ));
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(Inflater::new().headers(b"nonsense").is_err());
        for block in [&b""[..], &[0, 0, 0, 1], &[0, 0, 0, 1, 0, 0, 0, 9, b'x']] {
            let deflated = Deflater::new().unwrap().block(block).unwrap();
            assert!(Inflater::new().headers(&deflated).is_err());
        }
    }
}
