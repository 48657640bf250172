//! Everything that needs more than one module, in one binary.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "clippy takes only `#[test]` functions for tests, not the helpers beside them"
)]

mod access;
mod age_interop;
mod age_vectors;
mod audio_oracles;
mod audit;
mod bundle;
mod bundle_forged;
mod bundle_given;
mod capture;
mod catalog;
mod cli;
mod clock;
mod codec_oracles;
mod config;
mod deploy;
mod disk_image;
mod duties;
mod facts;
mod faults;
mod fixture;
mod floors;
mod fuzz_smoke;
mod golden;
mod handover;
mod journal;
mod killed;
mod live;
mod live_kill;
mod live_load;
mod logs;
mod masking;
mod media;
mod needles;
mod networks;
mod notices;
mod ops;
mod places;
mod power_cut;
mod receipts_log;
mod retention;
mod review;
mod robustness;
mod rules;
mod salvage;
mod sandbox;
mod secrets;
mod shedding;
mod sip_tcp;
mod sip_torture;
mod sound;
mod stopped;
mod support;
mod tamper;
mod vault_intake;
mod vault_keys;
mod vault_leak;
mod vault_made;
mod versions;
mod wire;
mod wire_captures;
