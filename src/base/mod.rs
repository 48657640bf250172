//! Plain values that every floor shares.

pub mod counters;
pub mod endpoint;
pub mod frame;
pub mod limits;
pub mod time;
