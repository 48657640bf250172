//! Sealing: age files, receipts, the signed log.
//!
//! ```text
//! plain bytes ─► stream::Sealer ─► SealedChunk ─► storage      recipient::Recipients wrap the file key
//! storage ─► open::Opener ─► plain bytes                       identity::Identities unwrap it
//! receipt::Receipt, event::Event ─► log::Log ─► tiles + checkpoint           note::Signer signs
//! ```
//!
//! Only [`stream`] and [`batch`] make a [`stream::SealedChunk`], and storage takes nothing else.

pub mod batch;
pub mod cosign;
pub mod event;
mod hand_over;
pub mod header;
pub mod identity;
pub mod keys;
pub mod log;
pub mod log_audit;
pub mod log_survey;
pub mod log_verify;
pub mod note;
pub mod open;
pub mod origin;
pub mod part;
pub mod random;
pub mod receipt;
pub mod recipient;
pub mod segment;
pub mod stream;
pub mod tagged;
pub mod tree;
pub mod witness;
pub mod wrap;
