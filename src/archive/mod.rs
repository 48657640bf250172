//! What the archive decides: who may, what is due, what is missing. It decides, and never does: plans and grants
//! go up to `shell::vault`, which carries them out.
//!
//! ```text
//! custodians' shares (m of n) ─► root identity ─► epoch identity (class × month) ─► envelope (one a recording)
//!                                                                                     └─► file keys
//! ```
//!
//! A recording opens only with its envelope *and* the identity of its epoch: see [`envelope`].

pub mod access;
pub mod accesses;
pub mod bundle;
pub mod certificate;
pub mod class;
pub mod clock;
pub mod copies;
pub mod custody;
pub mod details;
pub mod duties;
pub mod entry;
pub mod envelope;
pub mod epoch;
pub mod export_request;
pub mod hold;
pub mod intake;
pub mod log_query;
pub mod matter;
pub mod media;
pub mod notice;
pub mod oidc;
pub mod once;
pub mod passkey;
pub mod password;
pub mod person;
pub mod proof;
pub mod public_key;
pub mod rate;
pub mod reach;
pub mod record;
pub mod report;
mod report_words;
pub mod request;
pub mod retention;
pub mod review;
pub mod sampling;
pub mod scope;
pub mod search;
pub mod session;
pub mod slip;
pub mod sums;
pub mod syslog;
pub mod tarball;
pub mod throttle;
pub mod totp;
pub mod user;
pub mod users;
pub mod version;
