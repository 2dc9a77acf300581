//! `pressure:`.

use super::limit::{self, Unit};
use super::{Context, window};
use crate::policy::file::{Entry, Fields, Node, scalar};
use crate::policy::rules::{Memory, Pressure};

/// The rule of this kind.
pub(super) fn pressure(node: &Node, limits: Option<&Entry>, context: &mut Context<'_>) -> Option<Pressure> {
    let mut fields = Fields::open(node, "`pressure`", &mut context.findings)?;
    let limits = limit::limits(&mut fields, limits, Unit::Points, context);
    let half_life = fields.take_entry("half-life");
    let window = fields.take_entry("window");
    let memory = match (window, half_life) {
        (None, Some(half_life)) => {
            let findings = &mut context.findings;
            let ms = scalar::exact_ms(&half_life.value, "`half-life`", findings);
            if ms == Some(0) {
                let message = "`half-life` is longer than nothing";
                findings.error("range", half_life.value.span, message, "expected more than 0");
            }
            ms.filter(|ms| *ms > 0).map(|ms| Memory::HalfLife { ms })
        }
        (Some(_), Some(half_life)) => {
            let message = "both `window` and `half-life`";
            let label = "one of them: points leave at once or fade";
            context.findings.error("pressure", half_life.key_span, message, label);
            None
        }
        (Some(_), None) => window::window(&mut fields, context).map(Memory::Window),
        (None, None) => {
            let label = "how long does a contact weigh?";
            let message = "`pressure` needs `window` or `half-life`";
            context.findings.error("missing-key", fields.head(), message, label);
            None
        }
    };
    fields.close(&mut context.findings);
    Some(Pressure {
        limits: limits?,
        memory: memory?,
    })
}
