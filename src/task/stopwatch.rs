//! Where the time of a batch goes, by stage, without reading the clock for each record.
//!
//! The whole is measured: two readings a batch of a task. How it is divided is taken from every sixteenth record (and the first),
//! whose stages are timed one by one: a handful of clock readings for sixteen records, about 10 ns a record where one
//! reading costs 40.

use std::ops::AddAssign;
use std::time::{Duration, Instant};

/// Time by stage.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct StageTimes {
    /// Bytes to intents and events.
    pub decode: Duration,
    /// Loading customers.
    pub lookup: Duration,
    /// Applying and judging, and the records that say so.
    pub judge: Duration,
    /// Changed state as bytes.
    pub encode: Duration,
}

impl AddAssign for StageTimes {
    fn add_assign(&mut self, other: Self) {
        self.decode += other.decode;
        self.lookup += other.lookup;
        self.judge += other.judge;
        self.encode += other.encode;
    }
}

/// One record in so many is timed.
const SAMPLED: u32 = 16;

/// Times the stages of some records.
#[derive(Debug, Default)]
pub struct Stopwatch {
    records: u32,
    /// When the stage began that is under way; none: this record is not timed.
    since: Option<Instant>,
    seen: StageTimes,
}

impl Stopwatch {
    /// A record's turn.
    pub fn begin(&mut self) {
        self.since = self.records.is_multiple_of(SAMPLED).then(Instant::now);
        self.records = self.records.wrapping_add(1);
    }

    /// What was under way since the last call was this stage.
    pub fn lap(&mut self, stage: fn(&mut StageTimes) -> &mut Duration) {
        if let Some(since) = &mut self.since {
            let now = Instant::now();
            *stage(&mut self.seen) += now - *since;
            *since = now;
        }
    }

    /// Divides what the records took as the timed ones were divided.
    pub fn divide(&self, whole: Duration) -> StageTimes {
        let seen = self.seen.decode + self.seen.lookup + self.seen.judge;
        if seen.is_zero() {
            return StageTimes {
                judge: whole,
                ..StageTimes::default()
            };
        }
        let share = |part: Duration| whole.mul_f64(part.as_secs_f64() / seen.as_secs_f64());
        StageTimes {
            decode: share(self.seen.decode),
            lookup: share(self.seen.lookup),
            judge: share(self.seen.judge),
            encode: Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_is_divided_as_the_timed_records_were_and_nothing_gets_lost() {
        let watch = Stopwatch {
            seen: StageTimes {
                decode: Duration::from_millis(1),
                lookup: Duration::from_millis(2),
                judge: Duration::from_millis(5),
                encode: Duration::ZERO,
            },
            ..Stopwatch::default()
        };
        let times = watch.divide(Duration::from_millis(800));
        let expected = [100, 200, 500].map(Duration::from_millis);
        assert_eq!([times.decode, times.lookup, times.judge], expected);
    }

    #[test]
    fn one_record_in_sixteen_is_timed_and_the_first_always_is() {
        let mut watch = Stopwatch::default();
        let timed = (0..40).filter(|_| {
            watch.begin();
            watch.since.is_some()
        });
        assert_eq!(timed.collect::<Vec<_>>(), [0, 16, 32]);
    }
}
