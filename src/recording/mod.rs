//! One call being written.

pub mod manifest;
