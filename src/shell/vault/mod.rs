//! The archive at work: files, databases, object stores, keys.
//!
//! Plans and grants come from [`crate::archive`]; what is here carries them out.

pub mod annotate;
pub mod audit;
pub mod catalog;
pub mod config;
pub mod copies;
pub mod destroy;
pub mod drills;
pub mod duties;
pub mod export;
pub mod export_requests;
pub mod forward;
pub mod home;
pub mod hsm;
pub mod intake;
mod keycheck;
pub mod keydisk;
pub mod keyfault;
pub mod keyring;
pub mod keystore;
pub mod log;
pub mod matters;
pub mod media;
mod mirror;
pub mod notices;
pub mod oidc;
pub mod parcel;
pub mod place;
pub mod plugin;
pub mod proofs;
mod reapply;
pub mod released;
mod removal;
pub mod restore_test;
pub mod review;
pub mod rewrap;
pub mod rotation;
pub mod sampling;
pub mod scrub;
mod turns;
pub mod unlocking;
pub mod users;
pub mod wrapping;

pub use crate::shell::vault::mirror::Repair;
