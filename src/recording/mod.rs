//! One call being written.
//!
//! # What a power cut or a `kill -9` costs a call in progress
//!
//! A journal has what is in the plain file of a recording when it asks, every 150 ms ([`journal`]). So the loss
//! is what the file lacks (below), and at most 150 ms, and the time that the disk takes to sync; some 20 ms
//! pass from the wire to the file. While a journal is kept, the file lacks at most:
//!
//! | format | both talk | one is silent, or packets are lost | with `mask_digits` |
//! |---|---|---|---|
//! | `pcap` | nothing | nothing | 400 ms: 300 for a tone to be known, 100 to the next look at the time |
//! | `wav` | 90 ms | 300 ms: 200 for what is out of order, 40 of jitter, 3 packets | 300 ms |
//! | `opus` | 190 ms: a page is 100 ms | 400 ms | 400 ms |
//!
//! A sound packet that comes more than 240 ms after its time is therefore late in a recording of a wire (it is
//! counted, and its place says so), where a replay waits for it for a second: the table is what that buys.

pub mod audio;
pub mod dtmf;
pub mod hold;
pub mod journal;
mod losses;
pub mod manifest;
pub mod masking;
pub mod packets;
pub mod parts;
pub mod pause;
pub mod playable;
pub mod playback;
pub mod policy;
pub mod pressure;
pub mod recorder;
pub mod redact;
pub mod reports;
pub mod rules;
pub mod salvage;
pub mod stream_record;
