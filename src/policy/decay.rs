//! Amounts that halve with time, in fixed point: whole numbers only, so that every machine computes the same.
//!
//! An amount `a` is worth `a × 2^(−age / half-life)`. The exponent is split into whole half-lives, which shift, and a rest,
//! which is cut to 40 binary digits and multiplied out from the roots of one half, of 62 binary digits each. Worths keep
//! these 62 digits while they are added up; the sum is rounded up, once ([`Worth::rounded_up`]), so that it is at most a
//! whole number exactly when the sum itself is. What is worth less than one unit is worth nothing: otherwise it would
//! never be gone.
//!
//! Invariant that the free instant rests on: what an amount is worth never rises with its age. Two exponents that differ
//! at all differ by 2^−40 at least; that changes the product by more than 2^20 of its last digits, while all roundings
//! together are less than 2^7 of them. So a sum of worths only falls, and the first instant at which it has fallen far
//! enough is found by halving an interval.

const SCALE_BITS: u32 = 62;
/// Longer than the half-lives of a policy (ten years) in milliseconds: no two instants of one are cut to the same digits.
const FRACTION_BITS: usize = 40;
const ONE: u64 = 1 << SCALE_BITS;

/// `ROOTS[k]` is one half to the power of `2^−(k + 1)`, with [`SCALE_BITS`] binary digits.
const ROOTS: [u64; FRACTION_BITS] = roots();

const fn roots() -> [u64; FRACTION_BITS] {
    let mut roots = [0; FRACTION_BITS];
    let mut square = (ONE / 2) as u128;
    let mut index = 0;
    while index < FRACTION_BITS {
        square = (square << SCALE_BITS).isqrt();
        roots[index] = square as u64;
        index += 1;
    }
    roots
}

/// What amounts are worth, with the digits after the point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Worth(u128);

impl Worth {
    /// What is left of an amount (not negative) after so long: nothing is lost before it has an age.
    pub fn of(amount: i64, age_ms: i64, half_life_ms: i64) -> Self {
        let amount = u128::from(amount.max(0).unsigned_abs());
        let (age_ms, half_life_ms) = (age_ms.max(0), half_life_ms.max(1));
        let halvings = age_ms / half_life_ms;
        if halvings >= i64::from(u64::BITS) {
            return Self(0);
        }
        let worth = (amount * u128::from(factor(age_ms % half_life_ms, half_life_ms))) >> halvings;
        Self(if worth < u128::from(ONE) { 0 } else { worth })
    }

    /// Both together.
    pub fn and(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// In whole units.
    pub fn rounded_up(self) -> i64 {
        i64::try_from(self.0.div_ceil(u128::from(ONE))).unwrap_or(i64::MAX)
    }
}

/// How long until nothing is left of any amount.
pub fn gone_after_ms(half_life_ms: i64) -> i64 {
    half_life_ms.max(1).saturating_mul(i64::from(u64::BITS))
}

/// The first instant after `from_ms` at which a value that never rises is at most `most`; it is so at `last_ms`.
pub fn first_at_most(most: i64, from_ms: i64, last_ms: i64, value_at: impl Fn(i64) -> i64) -> i64 {
    let (mut above_ms, mut at_most_ms) = (from_ms, last_ms.max(from_ms.saturating_add(1)));
    while at_most_ms - above_ms > 1 {
        let middle_ms = above_ms + (at_most_ms - above_ms) / 2;
        if value_at(middle_ms) <= most {
            at_most_ms = middle_ms;
        } else {
            above_ms = middle_ms;
        }
    }
    at_most_ms
}

/// One half to the power of `rest / half-life`, which is less than one.
fn factor(rest_ms: i64, half_life_ms: i64) -> u64 {
    let digits = (i128::from(rest_ms) << FRACTION_BITS) / i128::from(half_life_ms);
    let mut factor = ONE;
    for (index, root) in ROOTS.iter().enumerate() {
        if digits & (1 << (FRACTION_BITS - 1 - index)) != 0 {
            factor = scaled(factor, *root);
        }
    }
    factor
}

/// A product of two numbers of [`SCALE_BITS`] binary digits that are at most one, rounded down.
fn scaled(left: u64, right: u64) -> u64 {
    ((u128::from(left) * u128::from(right)) >> SCALE_BITS) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY_MS: i64 = 86_400_000;

    fn left(amount: i64, age_ms: i64, half_life_ms: i64) -> i64 {
        Worth::of(amount, age_ms, half_life_ms).rounded_up()
    }

    #[test]
    fn an_amount_halves_with_each_half_life_and_is_gone_when_it_is_less_than_one() {
        for (halvings, expected) in [
            (0, 3_000_000),
            (1, 1_500_000),
            (2, 750_000),
            (20, 3),
            (21, 2),
            (22, 0),
            (200, 0),
        ] {
            assert_eq!(left(3_000_000, halvings * 3 * DAY_MS, 3 * DAY_MS), expected);
        }
        assert_eq!(left(3_000_000, -5, 3 * DAY_MS), 3_000_000);
    }

    #[test]
    fn the_digits_are_those_of_the_roots_of_one_half() {
        // 10^15 times a root of one half, rounded up: computed elsewhere.
        assert_eq!(left(1_000_000_000_000_000, 1, 2), 707_106_781_186_548);
        assert_eq!(left(1_000_000_000_000_000, 1, 4), 840_896_415_253_715);
        assert_eq!(left(1_000_000_000_000_000, 3, 4), 594_603_557_501_361);
    }

    #[test]
    fn a_sum_is_rounded_once() {
        let part = Worth::of(1, 0, 2).and(Worth::of(3, 1, 1));
        assert_eq!((part.rounded_up(), part.and(Worth::of(3, 1, 1)).rounded_up()), (3, 4));
    }

    #[test]
    fn the_first_instant_is_found_to_the_millisecond() {
        let half_life_ms = 3 * DAY_MS;
        let value_at = |at_ms: i64| left(3_000_000, at_ms, half_life_ms);
        let first = |most| first_at_most(most, 0, gone_after_ms(half_life_ms), value_at);
        assert_eq!((first(1_500_000), first(750_000)), (half_life_ms, 2 * half_life_ms));
        // log2(3) × 3 d = 410,822,280.187 ms
        assert_eq!(first(1_000_000), 410_822_281);
    }

    proptest! {
        #[test]
        fn what_is_left_never_rises_from_one_millisecond_to_the_next(
            amount in 0..=1_000_000_000_000_000_i64, age_ms in 0..320_000_000_000_i64, half_life_ms in 1..=320_000_000_000_i64,
        ) {
            prop_assert!(Worth::of(amount, age_ms + 1, half_life_ms) <= Worth::of(amount, age_ms, half_life_ms));
            let turn_ms = age_ms / half_life_ms * half_life_ms;
            let before = Worth::of(amount, (turn_ms - 1).max(0), half_life_ms);
            prop_assert!(Worth::of(amount, turn_ms, half_life_ms) <= before);
        }

        #[test]
        fn it_is_the_power_of_one_half_within_one_unit(
            amount in 0..1_000_000_000_i64, age_ms in 0..10_000_000_i64, half_life_ms in 1..10_000_000_i64,
        ) {
            let exact = amount as f64 * (-(age_ms as f64) / half_life_ms as f64).exp2();
            prop_assert!((left(amount, age_ms, half_life_ms) as f64 - exact).abs() < 1.001);
        }
    }
}
