//! ZRTP messages (RFC 6189 section 5): only whether media is now under keys.

/// Returns whether `datagram` is a message that both sides send once they have agreed on keys:
/// a Hello alone says nothing, many phones send it to everybody.
pub fn is_confirmation(datagram: &[u8]) -> bool {
    // A 12-byte packet header; then preamble and length, then the type.
    datagram.get(16..24).is_some_and(|kind| matches!(kind, b"Confirm1" | b"Confirm2" | b"Conf2ACK"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_the_agreement_counts() {
        let packet =
            |kind: &[u8; 8]| [&[0x10, 0, 0, 1][..], b"ZRTP", &[0; 4], &[0x50, 0x5a, 0, 3], kind].concat();
        assert!(is_confirmation(&packet(b"Confirm2")));
        assert!(!is_confirmation(&packet(b"Hello   ")));
        assert!(!is_confirmation(b"short"));
    }
}
