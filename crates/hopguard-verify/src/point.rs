//! Which encodings of Ed25519 points are no public keys.
//!
//! With a point of small order as its key, one signature fits many messages (RFC 8032 leaves such keys to the
//! caller). The library checks the signature and not the key, so the eight points are listed here.

/// The y coordinates of the points whose order divides 8, little-endian; the sign of x is set aside.
const SMALL_ORDER: [[u8; 32]; 5] = [
    // 0, of order 4.
    [0; 32],
    // 1, of order 1.
    {
        let mut one = [0; 32];
        one[0] = 1;
        one
    },
    // The two of order 8.
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
        0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
        0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
    // p - 1, of order 2.
    {
        let mut last = [0xff; 32];
        last[0] = 0xec;
        last[31] = 0x7f;
        last
    },
];

/// True if the y coordinate is below p = 2^255 - 19: each point then has one encoding (RFC 8032 section 5.1.3).
pub(crate) fn is_canonical(encoded: &[u8; 32]) -> bool {
    let [low, middle @ .., high] = encoded;
    *low < 0xed || high & 0x7f != 0x7f || middle.iter().any(|byte| *byte != 0xff)
}

/// True if the point's order divides 8.
pub(crate) fn has_small_order(encoded: &[u8; 32]) -> bool {
    let mut unsigned = *encoded;
    let [.., high] = &mut unsigned;
    *high &= 0x7f;
    SMALL_ORDER.contains(&unsigned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_means_below_p() {
        let mut p = [0xff; 32];
        (p[0], p[31]) = (0xed, 0x7f);
        assert!(!is_canonical(&p));
        p[0] = 0xec;
        assert!(is_canonical(&p) && has_small_order(&p));
        p[31] = 0xff;
        assert!(is_canonical(&p) && has_small_order(&p));
        assert!(!is_canonical(&[0xff; 32]));
        let mut base = [0x66; 32];
        base[0] = 0x58;
        assert!(is_canonical(&base) && !has_small_order(&base));
        // One byte that is less makes it less, wherever it stands.
        for at in 1..32 {
            let mut less = [0xff; 32];
            less[at] = 0x7e;
            less[31] &= 0x7f;
            assert!(is_canonical(&less) && !has_small_order(&less), "{at}");
        }
    }
}
