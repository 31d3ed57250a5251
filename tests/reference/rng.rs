//! The random generators, from their authors' published C.

/// Sebastiano Vigna's `splitmix64.c`.
#[derive(Clone, Debug)]
pub struct SplitMix64 {
    /// The state; any value.
    pub x: u64,
}

impl SplitMix64 {
    /// `next()` of the C file.
    pub fn draw(&mut self) -> u64 {
        self.x = self.x.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.x;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// David Blackman and Sebastiano Vigna's `xoshiro128plusplus.c`.
#[derive(Clone, Debug)]
pub struct Xoshiro128PlusPlus {
    /// The state; not all zero.
    pub s: [u32; 4],
}

impl Xoshiro128PlusPlus {
    /// `next()` of the C file.
    pub fn draw(&mut self) -> u32 {
        let s = &mut self.s;
        let result = s[0].wrapping_add(s[3]).rotate_left(7).wrapping_add(s[0]);
        let t = s[1] << 9;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(11);
        result
    }
}

/// The stream of a child: SplitMix64 over the seed gives the run's key; over that
/// with generation (high half) and index (low half) folded in by exclusive or, the
/// child's; and from there, low half first, the state of xoshiro128++.
#[must_use]
pub fn stream(seed: u64, generation: u32, index: u32) -> Xoshiro128PlusPlus {
    let run = SplitMix64 { x: seed }.draw();
    let child = SplitMix64 { x: run ^ (u64::from(generation) << 32 | u64::from(index)) }.draw();
    let mut fill = SplitMix64 { x: child };
    let (a, b) = (fill.draw(), fill.draw());
    Xoshiro128PlusPlus { s: [a as u32, (a >> 32) as u32, b as u32, (b >> 32) as u32] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_outputs_of_the_published_programs() {
        let mut splitmix = SplitMix64 { x: 1_234_567 };
        assert_eq!(splitmix.draw(), 6_457_827_717_110_365_317);
        assert_eq!(splitmix.draw(), 3_203_168_211_198_807_973);
        let mut xoshiro = Xoshiro128PlusPlus { s: [1, 2, 3, 4] };
        assert_eq!([0; 4].map(|_| xoshiro.draw()), [641, 1_573_767, 3_222_811_527, 3_517_856_514]);
    }
}
