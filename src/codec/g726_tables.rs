//! The tables of G.726 (chapter 3 of the recommendation), by rate.

/// What differs between the four rates.
pub(crate) struct Rate {
    /// Bits of a code.
    pub(crate) bits: usize,
    /// Decision levels of the logarithm of the difference.
    pub(crate) thresholds: &'static [i32],
    /// DQLN: logarithm that a code stands for.
    pub(crate) levels: &'static [i32],
    /// W, times 32.
    pub(crate) scale_steps: &'static [i32],
    /// F, times 512.
    pub(crate) sizes: &'static [i32],
}

/// Returns the tables for codes of 2 to 5 bits.
pub(crate) fn rate(bits: usize) -> &'static Rate {
    match bits {
        2 => &RATE_16,
        3 => &RATE_24,
        4 => &RATE_32,
        _ => &RATE_40,
    }
}

static RATE_16: Rate = Rate {
    bits: 2,
    thresholds: &[261],
    levels: &[116, 365, 365, 116],
    scale_steps: &[-704, 14_048, 14_048, -704],
    sizes: &[0, 0xE00, 0xE00, 0],
};

static RATE_24: Rate = Rate {
    bits: 3,
    thresholds: &[8, 218, 331],
    levels: &[-2_048, 135, 273, 373, 373, 273, 135, -2_048],
    scale_steps: &[-128, 960, 4_384, 18_624, 18_624, 4_384, 960, -128],
    sizes: &[0, 0x200, 0x400, 0xE00, 0xE00, 0x400, 0x200, 0],
};

static RATE_32: Rate = Rate {
    bits: 4,
    thresholds: &[-124, 80, 178, 246, 300, 349, 400],
    levels: &[-2_048, 4, 135, 213, 273, 323, 373, 425, 425, 373, 323, 273, 213, 135, 4, -2_048],
    scale_steps: &[
        -384, 576, 1_312, 2_048, 3_584, 6_336, 11_360, 35_904, 35_904, 11_360, 6_336, 3_584, 2_048, 1_312,
        576, -384,
    ],
    sizes: &[0, 0, 0, 0x200, 0x200, 0x200, 0x600, 0xE00, 0xE00, 0x600, 0x200, 0x200, 0x200, 0, 0, 0],
};

static RATE_40: Rate = Rate {
    bits: 5,
    thresholds: &[-122, -16, 68, 139, 198, 250, 298, 339, 378, 413, 445, 475, 502, 528, 553],
    levels: &[
        -2_048, -66, 28, 104, 169, 224, 274, 318, 358, 395, 429, 459, 488, 514, 539, 566, 566, 539, 514, 488,
        459, 429, 395, 358, 318, 274, 224, 169, 104, 28, -66, -2_048,
    ],
    scale_steps: &[
        448, 448, 768, 1_248, 1_280, 1_312, 1_856, 3_200, 4_512, 5_728, 7_008, 8_960, 11_456, 14_080, 16_928,
        22_272, 22_272, 16_928, 14_080, 11_456, 8_960, 7_008, 5_728, 4_512, 3_200, 1_856, 1_312, 1_280,
        1_248, 768, 448, 448,
    ],
    sizes: &[
        0, 0, 0, 0, 0, 0x200, 0x200, 0x200, 0x200, 0x200, 0x400, 0x600, 0x800, 0xA00, 0xC00, 0xC00, 0xC00,
        0xC00, 0xA00, 0x800, 0x600, 0x400, 0x200, 0x200, 0x200, 0x200, 0x200, 0, 0, 0, 0, 0,
    ],
};
