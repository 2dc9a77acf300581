//! The decision clock: wall time that is trusted only while it moves like the monotonic clock does.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// How far the wall clock may jump against the monotonic clock, or stand behind a recorded decision time.
pub const TOLERATED_STEP_MS: i64 = 5_000;

/// Where a worker reads the time. The simulation has one of its own.
pub trait Clock {
    /// UTC milliseconds.
    fn wall_ms(&self) -> i64;
    /// Milliseconds that never go back, from any zero.
    fn monotonic_ms(&self) -> i64;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn monotonic_ms(&self) -> i64 {
        static ZERO: OnceLock<Instant> = OnceLock::new();
        i64::try_from(ZERO.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

/// Watches one pair of clocks. Slow corrections are followed; a step is not: a wrong clock would open windows.
#[derive(Debug, Clone, Copy)]
pub struct StepWatch {
    reference_ms: i64,
}

impl StepWatch {
    /// Takes the clocks as they stand for right.
    pub fn new(clock: &impl Clock) -> Self {
        Self { reference_ms: clock.wall_ms().saturating_sub(clock.monotonic_ms()) }
    }

    /// The wall time, or how far it was set (milliseconds, signed) since it was last trusted.
    ///
    /// # Errors
    /// The step. It stays an error until the clock is set back, or the process is started again.
    pub fn now_ms(&mut self, clock: &impl Clock) -> Result<i64, i64> {
        let wall_ms = clock.wall_ms();
        let difference_ms = wall_ms.saturating_sub(clock.monotonic_ms());
        let step_ms = difference_ms.saturating_sub(self.reference_ms);
        if step_ms.abs() > TOLERATED_STEP_MS {
            return Err(step_ms);
        }
        self.reference_ms = difference_ms;
        Ok(wall_ms)
    }
}

/// The decision time of a task: never behind the recorded one.
///
/// # Errors
/// How far the wall clock stands behind, where that is more than is tolerated.
pub fn decision_time_ms(wall_ms: i64, newest_ms: i64) -> Result<i64, i64> {
    let behind_ms = newest_ms.saturating_sub(wall_ms);
    if behind_ms > TOLERATED_STEP_MS { Err(behind_ms) } else { Ok(wall_ms.max(newest_ms)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    struct Hands {
        wall_ms: Cell<i64>,
        monotonic_ms: Cell<i64>,
    }

    impl Clock for Hands {
        fn wall_ms(&self) -> i64 {
            self.wall_ms.get()
        }
        fn monotonic_ms(&self) -> i64 {
            self.monotonic_ms.get()
        }
    }

    fn hands() -> Hands {
        Hands { wall_ms: Cell::new(1_000_000), monotonic_ms: Cell::new(10) }
    }

    #[test]
    fn a_clock_that_drifts_is_followed_however_far_it_gets() {
        let hands = hands();
        let mut watch = StepWatch::new(&hands);
        for _ in 0..100 {
            hands.wall_ms.set(hands.wall_ms.get() + 1_900);
            hands.monotonic_ms.set(hands.monotonic_ms.get() + 1_000);
            assert_eq!(watch.now_ms(&hands), Ok(hands.wall_ms.get()));
        }
    }

    #[test]
    fn a_clock_that_is_set_is_not_trusted_until_it_is_set_back() {
        let hands = hands();
        let mut watch = StepWatch::new(&hands);
        hands.wall_ms.set(1_000_000 + 5_001);
        assert_eq!(watch.now_ms(&hands), Err(5_001));
        assert_eq!(watch.now_ms(&hands), Err(5_001));
        hands.wall_ms.set(1_000_000 - 5_001);
        assert_eq!(watch.now_ms(&hands), Err(-5_001));
        hands.wall_ms.set(1_000_003);
        assert_eq!(watch.now_ms(&hands), Ok(1_000_003));
    }

    #[test]
    fn a_decision_is_never_earlier_than_the_one_before() {
        assert_eq!(decision_time_ms(1_000, 3_000), Ok(3_000));
        assert_eq!(decision_time_ms(3_000, 1_000), Ok(3_000));
        assert_eq!(decision_time_ms(1_000, 6_001), Err(5_001));
    }
}
