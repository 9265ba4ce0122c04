//! Fingerprints (FNV-1a with 128 bits) of sequences of fields, equal in every process and every release.
//!
//! Cursors, shortened file names and the record of warnings that were logged use them. The hasher of the
//! standard library is unsuitable, because it may change with a release. The function does not resist an
//! attacker who constructs two inputs with the same fingerprint.

const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

/// The fingerprint of the fields that were added so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint(u128);

impl Fingerprint {
    /// The fingerprint of no fields.
    pub const fn new() -> Self {
        Self(BASIS)
    }

    /// The fingerprint of one field.
    pub fn of(bytes: &[u8]) -> Self {
        let add = |sum: u128, byte: &u8| (sum ^ u128::from(*byte)).wrapping_mul(PRIME);
        Self(bytes.iter().fold(BASIS, add))
    }

    /// Adds these bytes as one field. The boundaries between fields change the fingerprint.
    #[must_use]
    pub fn with(self, field: &[u8]) -> Self {
        let length = (field.len() as u64).to_le_bytes();
        let whole = [&self.0.to_le_bytes(), &length[..], field].concat();
        Self::of(&whole)
    }

    /// All 128 bits.
    pub const fn long(self) -> u128 {
        self.0
    }

    /// 64 bits, each of which depends on all 128.
    #[expect(clippy::cast_possible_truncation, reason = "the halves are folded together")]
    pub const fn short(self) -> u64 {
        (self.0 ^ (self.0 >> 64)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_is_the_published_fnv_1a() {
        assert_eq!(Fingerprint::of(b"").long(), BASIS);
        assert_eq!(
            Fingerprint::of(b"a").long(),
            0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964
        );
    }

    #[test]
    fn the_boundaries_of_fields_change_the_fingerprint() {
        let both = |a: &str, b: &str| Fingerprint::new().with(a.as_bytes()).with(b.as_bytes());
        assert_ne!(both("ab", "c"), both("a", "bc"));
        assert_eq!(both("ab", "c"), both("ab", "c"));
    }
}
