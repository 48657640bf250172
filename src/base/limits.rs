//! Ceilings. Everything that an outsider's packets can grow has one here.

use std::time::Duration;

/// Longest frame accepted from a capture.
pub const FRAME_BYTES_MAX: usize = 262_144;
/// Tunnels inside each other that are taken apart; clouds and mobile networks stack two or three.
pub const TUNNELS_MAX: u8 = 4;
/// How long before a HEP packet the message in it may have been captured; beyond, a clock is wrong.
pub const HEP_DELAY_MAX: Duration = Duration::from_secs(10);
/// Longest SIP message reassembled from TCP.
pub const SIP_MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Header lines of one SIP message.
pub const SIP_HEADERS_MAX: usize = 512;
/// Media descriptions of one session description.
pub const SDP_MEDIA_MAX: usize = 32;
/// Calls held at once.
pub const CALLS_MAX: usize = 100_000;
/// Calls without an answer and without media held at once; what is left is for the others.
pub const UNANSWERED_MAX: usize = 50_000;
/// The same, of one source address. A trunk that sets up 500 calls a second has so many.
pub const UNANSWERED_PER_SOURCE_MAX: usize = 12_500;
/// Calls without signalling held at once.
pub const ORPHANS_MAX: usize = 50_000;
/// Calls with one Call-ID: in other networks, or one after the other.
pub const CALL_ID_CALLS_MAX: usize = 32;
/// Networks that one call is seen in.
pub const CALL_NETS_MAX: usize = 8;
/// Addresses of one call for media, and as many for RTCP.
pub const CALL_ADDRESSES_MAX: usize = 128;
/// Dialogs of one call: its branches that were answered.
pub const CALL_DIALOGS_MAX: usize = 64;
/// Times on hold that one call lists.
pub const CALL_HOLDS_MAX: usize = 1_024;
/// Different lists of payload types of one call.
pub const CALL_FORMATS_MAX: usize = 32;
/// Bytes kept of a Call-ID or a URI.
pub const HEADER_BYTES_MAX: usize = 1_024;
/// Bytes kept of a tag or a branch.
pub const TAG_BYTES_MAX: usize = 256;
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
/// The same while a journal is kept: what waits for its place is lost with the power. On a wire that is
/// mirrored, packets are disordered by some milliseconds.
pub const REORDER_WINDOW_LIVE: Duration = Duration::from_millis(200);
/// Longest silence written for one gap; a longer jump of time is noted and cut.
pub const GAP_MAX: Duration = Duration::from_secs(4 * 3_600);
/// Silence of more than a pause that is written in all of one recording; what is more is cut.
pub const SILENCE_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Plain bytes of one age chunk (C2SP age).
pub const CHUNK_BYTES: usize = 64 * 1024;
/// Flows (sender, receiver, SSRC) known at once.
pub const FLOWS_MAX: usize = 1_000_000;
/// Bytes of media held until its call is known.
pub const HELD_BYTES_MAX: usize = 16 << 20;
/// A call with no media for so long is not moved on by time: nobody waits for its silence. Not above
/// [`REORDER_WINDOW`], or silence is written past the end of a call while others go on.
pub const SILENCE_AHEAD_MAX: Duration = REORDER_WINDOW;
/// How often time is let pass while a wire is recorded (capture time).
pub const LIVE_TICK: Duration = Duration::from_millis(100);
/// Calls of other networks that may claim one transport address too.
pub const ADDRESS_TENANTS_MAX: usize = 1_024;
/// Calls of one network that may claim one transport address at once.
pub const ADDRESS_CLAIMS_MAX: usize = 64;
