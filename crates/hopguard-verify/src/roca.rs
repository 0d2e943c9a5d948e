//! Was this RSA modulus made by the library whose keys can be factored? (ROCA, CVE-2017-15361)
//!
//! Its primes have the form `k * M + (65537^a mod M)`, where `M` is a product of small primes. So the modulus is a
//! power of 65537 modulo each of them, which an honest modulus is with a probability of about 2^-28.

/// The primes that divide every such `M`, less 2.
const PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103,
    107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// True if `modulus`, big-endian, has the mark.
pub(crate) fn is_marked(modulus: &[u8]) -> bool {
    PRIMES.into_iter().all(|prime| {
        let rest = modulus.iter().fold(0, |rest, &byte| (rest * 256 + u32::from(byte)) % prime);
        let powers = std::iter::successors(Some(1), |power| Some(power * 65537 % prime));
        powers.take(prime as usize).any(|power| power == rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_a_power_of_65537_modulo_every_prime() {
        assert!(is_marked(&[1]));
        assert!(is_marked(&[1, 0, 1]));
        // 65537 squared.
        assert!(is_marked(&[1, 0, 2, 0, 1]));
        // 2 is no power of 65537 modulo 11, where those are 1 and 10.
        assert!(!is_marked(&[2]));
        assert!(!is_marked(&[1, 0, 3]));
        assert!(!is_marked(&[]));
    }
}
