//! Bytes to typed values: stateless, total, without allocation on the media path.

pub mod demux;
pub mod event;
pub mod hep;
pub mod link;
pub mod red;
pub mod rtcp;
pub mod rtp;
pub mod sdp;
pub mod sip;
pub mod websocket;
pub mod zrtp;
