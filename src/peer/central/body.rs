//! A bounded response body that must keep moving, no faster than this peer's share of the uplink.

use super::{CentralError, Terms, in_time};
use bytes::Bytes;
use reqwest::{Response, Url};

/// Bytes of one answer, block by block.
#[derive(Debug)]
pub struct Body {
    response: Response,
    url: Url,
    /// Bytes that may still come.
    left: u64,
    /// Whether all of them must come and the rest of the response is none of ours; else a longer response is refused.
    exact: bool,
    terms: Terms,
    /// What came and was not dealt out yet.
    rest: Bytes,
}

impl Body {
    pub(super) fn exactly(response: Response, url: Url, length: u64, terms: Terms) -> Self {
        Body { response, url, left: length, exact: true, terms, rest: Bytes::new() }
    }

    pub(super) fn at_most(response: Response, url: Url, max: u64, terms: Terms) -> Self {
        Body { response, url, left: max, exact: false, terms, rest: Bytes::new() }
    }

    /// The next block, of at most `max` bytes; `None` at the end.
    pub async fn next(&mut self, max: u64) -> Result<Option<Bytes>, CentralError> {
        if self.rest.is_empty() {
            match self.receive().await? {
                Some(block) => self.rest = block,
                None => return Ok(None),
            }
        }
        let mut length = max.min(self.rest.len() as u64);
        if let Some(uplink) = &self.terms.uplink {
            length = uplink.take(length).await;
        }
        Ok(Some(self.rest.split_to(usize::try_from(length).unwrap_or(usize::MAX).min(self.rest.len()))))
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, CentralError> {
        if self.exact && self.left == 0 {
            return Ok(None);
        }
        let block = in_time(self.terms.stall, &self.url, self.response.chunk()).await?;
        let Some(mut block) = block.map_err(|e| self.broken(e))? else {
            return if self.exact { Err(self.short()) } else { Ok(None) };
        };
        if self.exact {
            block.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        } else if block.len() as u64 > self.left {
            return Err(CentralError::TooLong { url: self.url.to_string(), max: self.left });
        }
        self.left -= block.len() as u64;
        Ok(Some(block))
    }

    /// The whole body in memory: for refs and the like.
    pub async fn whole(mut self) -> Result<Vec<u8>, CentralError> {
        let mut bytes = Vec::new();
        while let Some(block) = self.next(u64::MAX).await? {
            bytes.extend_from_slice(&block);
        }
        Ok(bytes)
    }

    fn broken(&self, error: reqwest::Error) -> CentralError {
        if self.exact && (error.is_body() || error.is_decode()) {
            return self.short();
        }
        CentralError::of_request(&self.url, error)
    }

    fn short(&self) -> CentralError {
        CentralError::Short { url: self.url.to_string(), missing: self.left }
    }
}
