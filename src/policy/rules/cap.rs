//! `cap`: the contacts in the window are fewer than the limit.

use crate::policy::condition::{Condition, Expression};
use crate::policy::selector::Field;
use crate::policy::window::Window;

/// At most so many contacts in a window.
#[derive(Debug)]
pub struct Cap {
    pub window: Window,
    pub limits: Limits,
    /// Counts different values of a field instead of contacts; a value that is already there adds nothing.
    pub distinct: Option<Field>,
}

/// The limit that holds: the first row whose condition is true, else `otherwise`.
#[derive(Debug)]
pub struct Limits {
    pub rows: Vec<LimitRow>,
    pub otherwise: Limit,
}

/// A row of `limits`.
#[derive(Debug)]
pub struct LimitRow {
    pub when: Condition,
    pub limit: Limit,
}

/// How much is allowed, in the unit of the kind.
#[derive(Debug)]
pub enum Limit {
    /// 0 blocks always.
    Number(i64),
    Unlimited,
    /// An integer expression.
    Expression(Expression),
}
