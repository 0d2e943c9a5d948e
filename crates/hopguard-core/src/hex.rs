//! Hexadecimal in lower case, eight digits at a time: ids and trace contexts are written for every request.

const ONES: u64 = u64::from_ne_bytes([1; 8]);

/// Writes each byte as two digits; there is room for eight digits for every four bytes.
pub(crate) fn write(bytes: &[u8], digits: &mut [u8]) {
    for (eight, four) in digits.as_chunks_mut().0.iter_mut().zip(bytes.as_chunks().0) {
        *eight = digits_of(u32::from_be_bytes(*four));
    }
}

/// The eight digits of a number.
pub(crate) fn digits_of(number: u32) -> [u8; 8] {
    let pairs = u64::from(number);
    let bytes = (pairs | pairs << 16) & 0x0000_ffff_0000_ffff;
    let halves = (bytes | bytes << 8) & 0x00ff_00ff_00ff_00ff;
    spelled((halves | halves << 4) & (ONES * 0x0f)).to_be_bytes()
}

/// True if all eight are digits.
pub(crate) fn are_digits(digits: [u8; 8]) -> bool {
    let text = u64::from_be_bytes(digits);
    // A letter has the bit 0x40, and its last four bits count from one for `a`.
    let halves = (text & (ONES * 0x0f)) + ((text >> 6) & ONES) * 9;
    // What is no digit is spelled differently again, or is no half of a byte.
    spelled(halves) == text && halves & (ONES * 0xf0) == 0
}

/// Each byte's digit, of eight bytes that are below 16.
fn spelled(halves: u64) -> u64 {
    let letters = ((halves + ONES * 6) >> 4) & ONES;
    halves + ONES * u64::from(b'0') + letters * u64::from(b'a' - b'9' - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_as_the_standard_library_writes_it() {
        let numbers =
            (0..32).flat_map(|bit| [1_u32 << bit, (1 << bit) - 1, 0x1234_5678 << bit, 0x9abc_def0 >> bit]);
        for number in numbers.chain([0, u32::MAX, 0x0123_4567, 0x89ab_cdef]) {
            let digits = digits_of(number);
            assert_eq!(std::str::from_utf8(&digits).unwrap(), format!("{number:08x}"));
            assert!(are_digits(digits));
        }
        let mut digits = [b'-'; 18];
        write(&[0x00, 0x9f, 0xa0, 0xff, 0x01, 0x23, 0xcd, 0xef], &mut digits);
        assert_eq!(&digits, b"009fa0ff0123cdef--");
    }

    #[test]
    fn each_digit_is_known_at_each_place_and_nothing_else() {
        for at in 0..8 {
            for byte in 0..=u8::MAX {
                let mut digits = *b"00000000";
                digits[at] = byte;
                let is_digit = matches!(byte, b'0'..=b'9' | b'a'..=b'f');
                assert_eq!(are_digits(digits), is_digit, "{byte:#x} at {at}");
            }
        }
    }
}
