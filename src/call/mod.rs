//! What a passive observer can know of a call.

mod admission;
pub mod capture_clock;
pub mod closing;
pub mod entry;
mod flow;
pub mod fragments;
pub mod intake;
pub mod media_map;
pub mod quality;
pub mod session;
pub mod stream;
pub mod table;
pub mod tcp;
pub mod transcript;
