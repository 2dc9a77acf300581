//! Which zone a rule reads the clock in. Zones come from the bundled database only: the same policy and the same log give
//! the same verdicts on every machine, whatever the machine has installed.

use jiff::tz::{TimeZone, TimeZoneDatabase};
use std::sync::LazyLock;

static BUNDLED: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The zone of a rule.
#[derive(Debug, Clone)]
pub enum ZoneChoice {
    /// The customer's own; unknown: the company's, or all of `timezone-unknown`.
    Customer,
    Company,
    /// An IANA name that the policy gives.
    Fixed(TimeZone),
}

/// The zone with this IANA name in the bundled database.
pub fn named(name: &str) -> Option<TimeZone> {
    BUNDLED.get(name).ok()
}
