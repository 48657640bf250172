//! A place that is configured and cannot be opened now.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

use crate::shell::vault::place::{Content, Place, PlaceError, Removal};

/// Says why it is not there, whatever is asked of it: who goes through all places goes on with the others, and counts
/// what was not done here.
#[derive(Debug)]
pub(super) struct Away {
    pub(super) name: String,
    pub(super) site: String,
    pub(super) why: String,
}

impl Away {
    fn fault(&self, object: &str) -> PlaceError {
        let Self { name, why, .. } = self;
        PlaceError::Away { place: name.clone(), object: object.into(), why: why.clone() }
    }
}

#[async_trait]
impl Place for Away {
    fn name(&self) -> &str {
        &self.name
    }

    fn site(&self) -> &str {
        &self.site
    }

    async fn put_new(&self, object: &str, _: Content, _: bool) -> Result<(), PlaceError> {
        Err(self.fault(object))
    }

    async fn replace(&self, object: &str, _: Bytes) -> Result<(), PlaceError> {
        Err(self.fault(object))
    }

    async fn flush(&self) -> Result<(), PlaceError> {
        Err(self.fault("what was put"))
    }

    async fn get(&self, object: &str, _: Option<Range<u64>>) -> Result<Option<Bytes>, PlaceError> {
        Err(self.fault(object))
    }

    async fn size(&self, object: &str) -> Result<Option<u64>, PlaceError> {
        Err(self.fault(object))
    }

    async fn remove(&self, object: &str) -> Result<Removal, PlaceError> {
        Err(self.fault(object))
    }

    async fn list(&self, prefix: &str, _: Option<&str>, _: usize) -> Result<Vec<String>, PlaceError> {
        Err(self.fault(prefix))
    }
}
