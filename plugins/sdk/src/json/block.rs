//! So many bytes of a text at once: as many as one instruction compares, where there are such instructions.

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(super) use simd::{Block, Marks, SIZE};
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
pub(super) use words::{Block, Marks, SIZE};

/// Sixteen bytes of a text, in one register.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd {
    use std::arch::wasm32::{
        u8x16, u8x16_add, u8x16_bitmask, u8x16_eq, u8x16_le, u8x16_splat, u8x16_swizzle, v128, v128_load, v128_or,
    };

    pub(in super::super) const SIZE: usize = 16;

    #[derive(Clone, Copy)]
    pub(in super::super) struct Block(v128);

    /// All ones in each byte that is wanted.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Marks(v128);

    impl Block {
        #[inline(always)]
        #[expect(unsafe_code, reason = "the only way to read a register")]
        pub(in super::super) fn read(bytes: &[u8; SIZE]) -> Self {
            // SAFETY: sixteen bytes are there; they need no alignment.
            Self(unsafe { v128_load(bytes.as_ptr().cast()) })
        }

        /// The last so many of these bytes, less than all, and zeros behind them.
        #[inline(always)]
        pub(in super::super) fn read_end(bytes: &[u8; SIZE], count: usize) -> Self {
            let places = u8x16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            let skipped = u8x16_splat((SIZE - count) as u8);
            Self(u8x16_swizzle(Self::read(bytes).0, u8x16_add(places, skipped)))
        }

        /// Square brackets made curly ones.
        #[inline(always)]
        pub(in super::super) fn lower(self) -> Self {
            Self(v128_or(self.0, u8x16_splat(0x20)))
        }

        #[inline(always)]
        pub(in super::super) fn is(self, byte: u8) -> Marks {
            Marks(u8x16_eq(self.0, u8x16_splat(byte)))
        }

        #[inline(always)]
        pub(in super::super) fn is_up_to(self, byte: u8) -> Marks {
            Marks(u8x16_le(self.0, u8x16_splat(byte)))
        }
    }

    impl Marks {
        #[inline(always)]
        pub(in super::super) fn or(self, other: Self) -> Self {
            Self(v128_or(self.0, other.0))
        }

        #[inline(always)]
        pub(in super::super) fn first(self) -> Option<usize> {
            let marks = u8x16_bitmask(self.0);
            (marks != 0).then(|| marks.trailing_zeros() as usize)
        }
    }
}

/// Eight bytes of a text, where there are no such registers.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod words {
    pub(in super::super) const SIZE: usize = 8;

    #[derive(Clone, Copy)]
    pub(in super::super) struct Block(u64);

    /// The top bit of each byte that is wanted. Behind the first there may be some too many.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Marks(u64);

    const fn all(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; SIZE])
    }

    impl Block {
        #[inline(always)]
        pub(in super::super) fn read(bytes: &[u8; SIZE]) -> Self {
            Self(u64::from_le_bytes(*bytes))
        }

        #[inline(always)]
        pub(in super::super) fn read_end(bytes: &[u8; SIZE], count: usize) -> Self {
            Self(u64::from_le_bytes(*bytes).checked_shr(8 * (SIZE - count) as u32).unwrap_or(0))
        }

        #[inline(always)]
        pub(in super::super) fn lower(self) -> Self {
            Self(self.0 | all(0x20))
        }

        #[inline(always)]
        pub(in super::super) fn is(self, byte: u8) -> Marks {
            let zeros = self.0 ^ all(byte);
            Marks(zeros.wrapping_sub(all(1)) & !zeros & all(0x80))
        }

        #[inline(always)]
        pub(in super::super) fn is_up_to(self, byte: u8) -> Marks {
            Marks(self.0.wrapping_sub(all(byte + 1)) & !self.0 & all(0x80))
        }
    }

    impl Marks {
        #[inline(always)]
        pub(in super::super) fn or(self, other: Self) -> Self {
            Self(self.0 | other.0)
        }

        #[inline(always)]
        pub(in super::super) fn first(self) -> Option<usize> {
            (self.0 != 0).then(|| (self.0.trailing_zeros() / 8) as usize)
        }
    }
}
