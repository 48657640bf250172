//! A QR code, as the page draws it. Made here and not from a picture, so that the page needs no picture of anybody.

use qrcodegen::{QrCode, QrCodeEcc};

/// Its modules, a text of `0` and `1` for each row; nothing where the text is too long for one.
pub(super) fn modules(text: &str) -> Option<Vec<String>> {
    let code = QrCode::encode_text(text, QrCodeEcc::Medium).ok()?;
    let row = |y| (0..code.size()).map(|x| if code.get_module(x, y) { '1' } else { '0' }).collect();
    Some((0..code.size()).map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_square_with_its_finders_in_three_corners_and_none_where_it_does_not_fit() {
        let uri = "otpauth://totp/vault:ewa?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=vault";
        let rows = modules(uri).unwrap();
        assert!(rows.len() >= 21 && rows.iter().all(|row| row.len() == rows.len()));
        let last = rows.len() - 7;
        for (x, y) in [(0, 0), (last, 0), (0, last)] {
            assert_eq!(&rows[y][x..x + 7], "1111111");
            assert_eq!(&rows[y + 1][x..x + 7], "1000001");
            assert_eq!(&rows[y + 3][x..x + 7], "1011101");
        }
        assert_ne!(rows, modules(&uri.replace("ewa", "jan")).unwrap());
        assert!(modules(&"x".repeat(3_000)).is_none());
    }
}
