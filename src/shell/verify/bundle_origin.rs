//! From the receipt to the sound: whether a file of a bundle is what its recorder has signed the hash of.

use std::io::{self, Read};

use ring::digest;

use crate::archive::bundle::{BundledFile, Origin};
use crate::archive::record::Digest;
use crate::recording::playable::Playable;
use crate::seal::header::Header;
use crate::seal::identity::Identities;
use crate::seal::keys::FileKey;
use crate::seal::open::{OpenError, Opener, Remains};
use crate::seal::origin;
use crate::seal::receipt::ReceiptFile;
use crate::seal::stream::plain_bytes_of;
use crate::shell::verify::bundle_source::Source;

/// How far a file was followed back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Followed {
    /// To the receipt.
    ToReceipt,
    /// Not at all: nothing of it is in the bundle, so it is the archive's word.
    Word,
    /// It takes the receiver's key.
    Locked,
}

/// What is wrong, and with which file.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) file: String,
    pub(super) fault: Why,
}

/// Why a file cannot be followed back.
#[derive(Debug, thiserror::Error)]
pub(super) enum Why {
    #[error("the file key that the bundle names is none")]
    NoKey,
    #[error("it does not open with its file key: {0}")]
    Open(#[source] OpenError),
    #[error("it is not the sealed file that the recorder's receipt names")]
    Unsigned,
    #[error("it is not what the sealed file of the recorder holds")]
    Other,
    #[error("the header in it is not one that its recorder made: {0}")]
    Origin(#[source] origin::OriginError),
    #[error("the header that its recorder made is not in it, and the bundle says that it is")]
    NoOrigin,
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Follows one file back to what `named`, the recorder's receipt, says of it. Where a dead run has left it, it may be
/// cut.
pub(super) fn follow(
    source: &Source,
    file: &BundledFile,
    (named, may_be_cut): (&ReceiptFile, bool),
    keys: Option<&Identities>,
) -> Result<Followed, Broken> {
    match &file.origin {
        None => as_it_is(source, file, named).map_err(|fault| Broken { file: file.path.clone(), fault }),
        Some(Origin::Disclosed { sealed, file_key }) => {
            let broken = |(part, fault): (Part, Why)| {
                let file = if part == Part::Sealed { sealed } else { &file.path };
                Broken { file: file.clone(), fault }
            };
            let key = FileKey::from_disclosed(file_key).ok_or((Part::Sealed, Why::NoKey)).map_err(broken)?;
            disclosed(source, (&file.path, sealed), key, (named, may_be_cut)).map_err(broken)
        }
        Some(Origin::Enclosed) => {
            let broken = |fault| Broken { file: file.path.clone(), fault };
            enclosed(source, file, (named, may_be_cut), keys).map_err(broken)
        }
    }
}

/// What a dead run has left without a header is given as it is, and is itself what the receipt names.
fn as_it_is(source: &Source, file: &BundledFile, named: &ReceiptFile) -> Result<Followed, Why> {
    if file.body_bytes != named.bytes {
        return Ok(Followed::Word);
    }
    match hash(source, &file.path)? == (named.bytes, Digest(named.sha256)) {
        true => Ok(Followed::ToReceipt),
        false => Err(Why::Unsigned),
    }
}

/// Of which file a fault is.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Part {
    Sealed,
    Given,
}

/// The sealed file is here: its hash is the receipt's, it opens with the key, and what comes out is the file that was
/// given.
fn disclosed(
    source: &Source,
    (path, sealed): (&str, &str),
    key: FileKey,
    (named, may_be_cut): (&ReceiptFile, bool),
) -> Result<Followed, (Part, Why)> {
    let of_sealed = |fault: io::Error| (Part::Sealed, fault.into());
    let file = source.file(sealed).map_err(of_sealed)?;
    if file.bytes != named.bytes {
        return Err((Part::Sealed, Why::Unsigned));
    }
    let mut hashed = Hashed::new(file);
    let plain_bytes = match may_be_cut {
        true => source.file(sealed).map_err(Why::Io).and_then(|file| {
            let opened = Opener::open_with_key(file, FileKey::from_bytes(*key.expose()));
            let mut plain = Remains::of(opened, may_be_cut).map_err(Why::Open)?;
            io::copy(&mut plain, &mut io::sink()).map_err(opened_fault)
        }),
        false => header_bytes(source, sealed)
            .map(|header| plain_bytes_of(named.bytes.saturating_sub(header)).unwrap_or_default()),
    };
    let opened = Remains::of(Opener::open_with_key(&mut hashed, key), may_be_cut);
    let same = opened.map_err(Why::Open).and_then(|plain| {
        let mut plain = Playable::new(plain, plain_bytes?).map_err(opened_fault)?;
        let mut given = source.file(path)?;
        same_bytes(&mut plain, &mut given)
    });
    // What the receipt does not name is told as that, whatever comes of opening it.
    if hashed.finish().map_err(of_sealed)? != named.sha256 {
        return Err((Part::Sealed, Why::Unsigned));
    }
    match same {
        Ok(true) => Ok(Followed::ToReceipt),
        Ok(false) => Err((Part::Given, Why::Other)),
        Err(fault) => Err((Part::Sealed, fault)),
    }
}

/// The first header is within the file, for the receiver.
fn enclosed(
    source: &Source,
    file: &BundledFile,
    (named, may_be_cut): (&ReceiptFile, bool),
    keys: Option<&Identities>,
) -> Result<Followed, Why> {
    let mut given = io::BufReader::new(source.file(&file.path)?);
    let header = Header::read(&mut given).map_err(|error| Why::Open(OpenError::from(error)))?;
    // That it is there at all needs no key.
    if origin::kept(&header).is_none() {
        return Err(Why::NoOrigin);
    }
    let Some(keys) = keys else { return Ok(Followed::Locked) };
    let key = match keys.unwrap(&header.stanzas) {
        Ok(key) => key,
        Err(error) => {
            let error = OpenError::Unwrap(error);
            return if error.is_no_match() { Ok(Followed::Locked) } else { Err(Why::Open(error)) };
        }
    };
    if !header.verify(&key) {
        return Err(Why::Open(OpenError::HeaderChanged));
    }
    let original = origin::open(&header, &key).map_err(Why::Origin)?.ok_or(Why::NoOrigin)?;
    let mut hashed = Hashed::new((&original[..]).chain(given));
    let opened = Remains::of(Opener::open_with_key(&mut hashed, key), may_be_cut).map_err(Why::Open);
    let whole = opened.and_then(|mut plain| io::copy(&mut plain, &mut io::sink()).map_err(opened_fault));
    if hashed.finish()? != named.sha256 {
        return Err(Why::Unsigned);
    }
    whole.map(|_| Followed::ToReceipt)
}

/// What reading an opened file failed of.
fn opened_fault(error: io::Error) -> Why {
    match error.downcast::<OpenError>() {
        Ok(fault) => Why::Open(fault),
        Err(error) => Why::Io(error),
    }
}

fn header_bytes(source: &Source, sealed: &str) -> Result<u64, Why> {
    let header = Header::read(&mut io::BufReader::new(source.file(sealed)?));
    let header = header.map_err(|error| Why::Open(OpenError::from(error)))?;
    Ok(header.to_bytes().len() as u64)
}

/// Whether two readers give the same bytes. Errors are of the first; the second's are taken for a difference.
fn same_bytes(one: &mut impl Read, other: &mut impl Read) -> Result<bool, Why> {
    let (mut ours, mut theirs) = (vec![0; BLOCK_BYTES], vec![0; BLOCK_BYTES]);
    let mut is_same = true;
    loop {
        let read = one.read(&mut ours).map_err(opened_fault)?;
        if read == 0 {
            return Ok(is_same && other.read(&mut theirs[..1]).is_ok_and(|more| more == 0));
        }
        is_same = is_same && other.read_exact(&mut theirs[..read]).is_ok() && ours[..read] == theirs[..read];
    }
}

/// Hashes what is read.
struct Hashed<R> {
    reader: R,
    context: digest::Context,
}

impl<R: Read> Hashed<R> {
    fn new(reader: R) -> Self {
        Self { reader, context: digest::Context::new(&digest::SHA256) }
    }

    /// The hash of all of it: what nobody has read yet is read.
    fn finish(mut self) -> io::Result<[u8; 32]> {
        io::copy(&mut self, &mut io::sink())?;
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(self.context.finish().as_ref());
        Ok(sha256)
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(out)?;
        self.context.update(&out[..read]);
        Ok(read)
    }
}

const BLOCK_BYTES: usize = 64 << 10;

/// SHA-256 of the last `tail` bytes of a file, which is shorter than that where there is none.
pub(super) fn hash_tail(source: &Source, path: &str, tail: u64) -> io::Result<Option<Digest>> {
    let mut file = source.file(path)?;
    let Some(skip) = file.bytes.checked_sub(tail) else { return Ok(None) };
    io::copy(&mut (&mut file).take(skip), &mut io::sink())?;
    Hashed::new(file).finish().map(|sha256| Some(Digest(sha256)))
}

/// Length and SHA-256 of a file.
pub(super) fn hash(source: &Source, path: &str) -> io::Result<(u64, Digest)> {
    let file = source.file(path)?;
    let bytes = file.bytes;
    Ok((bytes, Digest(Hashed::new(file).finish()?)))
}
