//! Ceilings. Everything that an outsider's packets can grow has one here.

use std::time::Duration;

/// Longest frame accepted from a capture.
pub const FRAME_BYTES_MAX: usize = 262_144;
/// Longest SIP message reassembled from TCP.
pub const SIP_MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Header lines of one SIP message.
pub const SIP_HEADERS_MAX: usize = 512;
/// Media descriptions of one session description.
pub const SDP_MEDIA_MAX: usize = 32;
/// Calls held at once.
pub const CALLS_MAX: usize = 100_000;
/// Streams of one call.
pub const CALL_STREAMS_MAX: usize = 64;
/// SIP messages kept in one call's ladder; later ones are counted.
pub const CALL_MESSAGES_MAX: usize = 512;
/// Datagrams being reassembled from fragments at once.
pub const FRAGMENT_DATAGRAMS_MAX: usize = 4_096;
/// Bytes held for all of them.
pub const FRAGMENT_BYTES_MAX: usize = 32 << 20;
/// How long a datagram waits for its missing fragments (RFC 791 asks for a bound).
pub const FRAGMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// TCP directions followed at once.
pub const TCP_FLOWS_MAX: usize = 65_536;
/// Bytes one TCP direction may hold out of order or unframed.
pub const TCP_FLOW_BYTES_MAX: usize = 512 * 1024;
/// Bytes all of them may hold.
pub const TCP_BYTES_MAX: usize = 64 << 20;
/// A TCP direction silent for so long is forgotten.
pub const TCP_IDLE_TIMEOUT: Duration = Duration::from_secs(3_600);
/// How long a packet may be late on the timeline before its place is given up.
pub const REORDER_WINDOW: Duration = Duration::from_millis(1_000);
/// Longest silence written for one gap; a longer jump of time is noted and cut.
pub const GAP_MAX: Duration = Duration::from_secs(4 * 3_600);
/// Plain bytes of one age chunk (C2SP age).
pub const CHUNK_BYTES: usize = 64 * 1024;
