//! Reads archived recordings: headers and payloads from a place, compared with what the catalog has.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use ring::digest;
use tokio::runtime::Runtime;

use crate::archive::record::{ArchivedFile, Digest, Record};
use crate::shell::vault::place::{Place, PlaceError};

/// Why a copy is not what it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyFault {
    /// The place does not answer.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// It is not there.
    #[error("{place}: `{object}` is missing: mend the copies of the archive, then try again")]
    Missing {
        /// The place.
        place: String,
        /// The object.
        object: String,
    },
    /// It is something else.
    #[error("{place}: `{object}` has been changed: mend the copies of the archive, then try again")]
    Changed {
        /// The place.
        place: String,
        /// The object.
        object: String,
    },
}

/// A file in a place, in order: header first.
pub struct StoredFile<'a> {
    runtime: &'a Runtime,
    place: Arc<dyn Place>,
    /// The header, as the catalog knows it.
    pub header: Bytes,
    object: String,
    bytes: u64,
    sha256: Digest,
    at: u64,
    block: Bytes,
    context: digest::Context,
    /// Why it could not be read on.
    fault: Option<CopyFault>,
}

impl<'a> StoredFile<'a> {
    /// Reads the header, and begins with the payload.
    pub fn open(
        runtime: &'a Runtime,
        place: &Arc<dyn Place>,
        record: &Record,
        file: &ArchivedFile,
    ) -> Result<Self, CopyFault> {
        let object = file.header_object(&record.id, record.receipt.start);
        let header = runtime.block_on(place.get(&object, None))?;
        let name = place.name().to_owned();
        let Some(header) = header else { return Err(CopyFault::Missing { place: name, object }) };
        if Digest::of(&header) != file.header_sha256 {
            return Err(CopyFault::Changed { place: name, object });
        }
        Ok(Self {
            runtime,
            place: Arc::clone(place),
            header,
            object: file.body_object(&record.id, record.receipt.start),
            bytes: file.body_bytes,
            sha256: file.body_sha256,
            at: 0,
            block: Bytes::new(),
            context: digest::Context::new(&digest::SHA256),
            fault: None,
        })
    }

    /// Whether it could not be read to where somebody wanted it.
    pub fn has_failed(&self) -> bool {
        self.fault.is_some()
    }

    /// To be called when all of it has been read, or what was read did not open: whether it was what the catalog knows,
    /// or why it could not be read. The rest is read for that.
    pub fn finish(mut self) -> Result<(), CopyFault> {
        let mut rest = [0; 4096];
        while !self.has_failed() && self.read(&mut rest).is_ok_and(|count| count > 0) {}
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if self.context.finish().as_ref() != self.sha256.0 {
            return Err(CopyFault::Changed { place: self.place.name().to_owned(), object: self.object });
        }
        Ok(())
    }

    fn next_block(&mut self) -> Result<(), CopyFault> {
        let end = self.bytes.min(self.at + BLOCK_BYTES);
        let block = self.runtime.block_on(self.place.get(&self.object, Some(self.at..end)))?;
        let (place, object) = (self.place.name().to_owned(), self.object.clone());
        let block =
            block.ok_or_else(|| CopyFault::Missing { place: place.clone(), object: object.clone() })?;
        if block.len() as u64 != end - self.at {
            return Err(CopyFault::Changed { place, object });
        }
        self.context.update(&block);
        self.at = end;
        self.block = block;
        Ok(())
    }
}

/// The payload, without the header.
impl Read for StoredFile<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.block.is_empty()
            && self.at < self.bytes
            && let Err(fault) = self.next_block()
        {
            let error = io::Error::other(fault.to_string());
            self.fault = Some(fault);
            return Err(error);
        }
        let count = out.len().min(self.block.len());
        out[..count].copy_from_slice(&self.block.split_to(count));
        Ok(count)
    }
}

const BLOCK_BYTES: u64 = 4 << 20;
