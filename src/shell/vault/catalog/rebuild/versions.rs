//! Versions, from their slips and documents.

use zeroize::Zeroizing;

use crate::archive::details::Details;
use crate::archive::envelope::Envelope;
use crate::archive::record::{ArchivedFile, Phase, Record};
use crate::archive::version::{DOCUMENT_BYTES_MAX, History, VersionSlip, document_name};
use crate::shell::vault::catalog::CatalogError;
use crate::shell::vault::catalog::rebuild::{Fault, Sources, header_of, open_file};

/// How many of the names are of recordings of which none can come any more: all but those of the last one.
pub(super) fn end_of_whole(names: &[String]) -> usize {
    let recording = |name: &str| name.split_once('.').map_or(name.len(), |(recording, _)| recording.len());
    let Some(last) = names.last() else { return 0 };
    let beginning = &last[..recording(last)];
    names.partition_point(|name| name[..recording(name)] != *beginning)
}

/// Puts the files of versions beside those of their recording, as far as their numbers follow each other, and opens
/// their documents, as far as they open.
pub(super) async fn read(
    sources: &Sources<'_>,
    record: &mut Record,
    numbers: &[u32],
    envelopes: &[Envelope],
    faults: &mut Vec<Fault>,
) -> Result<Vec<Zeroizing<Vec<u8>>>, CatalogError> {
    let (mut documents, mut open) = (Vec::new(), record.phase == Phase::Archived);
    for (expected, number) in (1..).zip(numbers) {
        let object = record.version_slip_object(expected);
        let bytes = if *number == expected { sources.place.get(&object, None).await? } else { None };
        let slip = match bytes.map(|bytes| VersionSlip::from_bytes(&bytes, &record.id, expected)) {
            Some(Ok(slip)) => slip,
            other => {
                let why =
                    other.and_then(Result::err).map_or("it is missing".into(), |error| error.to_string());
                let fault = format!(
                    "{why}: bring it back into this place before the catalog is replaced; what was said from then on \
                     is not in the catalog"
                );
                faults.push(Fault { object, fault });
                break;
            }
        };
        for body in slip.bodies {
            let mut file = ArchivedFile::from(body);
            let header = header_of(sources, record, &mut file, faults).await?.unwrap_or_default();
            if open && file.name == document_name(&record.id, expected) {
                match open_file(sources, record, header, &file, envelopes, DOCUMENT_BYTES_MAX).await? {
                    Ok(document) => documents.push(document),
                    Err(fault) => {
                        let fault = format!("nobody finds it by what was said from then on: it {fault}");
                        faults.push(Fault { object: object.clone(), fault });
                        open = false;
                    }
                }
            }
            record.files.push(file);
        }
    }
    Ok(documents)
}

/// What holds by the manifest's word and that of versions, as far as they follow each other.
pub(super) fn hold_now(
    record: &Record,
    details: Details,
    documents: &[Zeroizing<Vec<u8>>],
    faults: &mut Vec<Fault>,
) -> Details {
    let mut history = History::begin(record.id, &record.receipt.to_entry(), details);
    for document in documents {
        if let Err(error) = history.push(document) {
            let object = record.version_slip_object(history.number() + 1);
            let fault = format!("nobody finds it by what was said from then on: {error}");
            faults.push(Fault { object, fault });
            break;
        }
    }
    history.now().clone()
}
