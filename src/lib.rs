//! Sejf: a call recorder whose recordings only the key holder can open.
//!
//! The map, floor by floor; a module uses strictly lower floors (held by `tests/it/floors.rs`):
//!
//! | floor | module | what it is |
//! |---|---|---|
//! | 0 | [`base`] | plain values: capture time, endpoints, limits, counters |
//! | 1 | [`wire`] | bytes to typed values: link, IP, SIP, SDP, RTP, RTCP |
//! | 1 | [`codec`] | payload to samples and back; Ogg and WAV |
//! | 1 | [`seal`] | age files, receipts, the signed log |
//! | 2 | [`call`] | what a passive observer can know of a call |
//! | 3 | [`recording`] | one call being written |
//! | 3 | [`archive`] | what becomes of recordings: who may, what is due, what is missing |
//! | 3 | [`fixture`] | captures made from a recipe, with known sound |
//! | 4 | [`shell`] | threads, queues, files, clocks |
//! | 5 | [`web`] | the vault over HTTPS |
//! | 6 | [`cli`] | one file a subcommand |

pub mod archive;
pub mod base;
pub mod call;
pub mod cli;
pub mod codec;
pub mod fixture;
#[doc(hidden)]
pub mod fuzzing;
pub mod recording;
pub mod seal;
pub mod shell;
pub mod web;
pub mod wire;
