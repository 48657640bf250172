//! Who spoke: from a recording's manifest to what the catalog keeps of it.

use crate::archive::envelope::Envelope;
use crate::archive::search::{IndexKey, Indexed};
use crate::recording::manifest::Manifest;
use crate::shell::entropy::{NoRandomness, OsRandom};
use crate::shell::vault::catalog::rebuild::details_of;
use crate::shell::vault::keyring::EpochKeys;

/// What can be found of a recording. Of one without a manifest nothing is known.
pub(super) fn indexed(
    manifest: Option<&Manifest>,
    envelope: &Envelope,
    keys: &EpochKeys,
) -> Result<Indexed, NoRandomness> {
    let details = manifest.map(details_of).unwrap_or_default();
    let terms = IndexKey::new(&keys.index_key).terms(&details);
    Ok(Indexed { details: details.seal(envelope, &mut OsRandom::new()?), terms })
}
