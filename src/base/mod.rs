//! Plain values that every floor shares.

pub mod counters;
pub mod endpoint;
pub mod format;
pub mod frame;
pub mod limits;
pub mod merge;
pub mod net;
pub mod party;
pub mod policy;
pub mod redacted;
pub mod seed;
pub mod text;
pub mod time;
