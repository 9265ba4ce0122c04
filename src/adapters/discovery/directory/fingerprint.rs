//! Short numbers for long things, the same in every process and every release: FNV-1a with 128 bits.
//!
//! Cursors, shortened file names and "have I told this already" all rest on it. The hasher of the standard
//! library would not do: it may change from release to release. Never meant against somebody who wants two
//! things to look alike.

const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

/// The number of what was added so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint(u128);

impl Fingerprint {
    /// Of nothing.
    pub const fn new() -> Self {
        Self(BASIS)
    }

    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let add = |sum: u128, byte: &u8| (sum ^ u128::from(*byte)).wrapping_mul(PRIME);
        Self(bytes.iter().fold(BASIS, add))
    }

    /// With these bytes added as one field: where a field ends counts.
    #[must_use]
    pub fn with(self, field: &[u8]) -> Self {
        let length = (field.len() as u64).to_le_bytes();
        let whole = [&self.0.to_le_bytes(), &length[..], field].concat();
        Self::of(&whole)
    }

    /// All of it.
    pub const fn long(self) -> u128 {
        self.0
    }

    /// Half of it, with a share of every bit.
    #[expect(clippy::cast_possible_truncation, reason = "the halves are folded together")]
    pub const fn short(self) -> u64 {
        (self.0 ^ (self.0 >> 64)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_published_fnv_1a() {
        assert_eq!(Fingerprint::of(b"").long(), BASIS);
        assert_eq!(
            Fingerprint::of(b"a").long(),
            0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964
        );
    }

    #[test]
    fn where_a_field_ends_counts() {
        let both = |a: &str, b: &str| Fingerprint::new().with(a.as_bytes()).with(b.as_bytes());
        assert_ne!(both("ab", "c"), both("a", "bc"));
        assert_eq!(both("ab", "c"), both("ab", "c"));
    }
}
