//! `back-off:`.

use super::Context;
use crate::policy::file::{Fields, Node, scalar};
use crate::policy::rules::BackOff;

/// Without `max`, a gap grows until it is longer than the history.
const LONGEST_MS: i64 = 3_653 * 86_400_000;

/// The rule of this kind.
pub(super) fn back_off(node: &Node, context: &mut Context<'_>) -> Option<BackOff> {
    let findings = &mut context.findings;
    let mut fields = Fields::open(node, "`back-off`", findings)?;
    let after = fields.require("after", findings);
    let after = after.and_then(|node| scalar::integer(node, "`after`", 1..=10_000, findings));
    let gap = fields.require("gap", findings);
    let gap_ms = gap.and_then(|node| scalar::exact_ms(node, "`gap`", findings));
    let factor = fields.take("factor");
    let factor_milli = factor.map_or(Some(1_000), |node| scalar::decimal(node, "`factor`", 3, findings));
    if let (Some(node), Some(..1_000)) = (factor, factor_milli) {
        let label = "expected 1 or more: a wait that gets shorter is no back-off";
        findings.error("range", node.span, "`factor` is less than 1", label);
    }
    let max = fields.take("max");
    let max_ms = max.map_or(Some(LONGEST_MS), |node| scalar::exact_ms(node, "`max`", findings));
    if let (Some(node), Some(max_ms), Some(gap_ms)) = (max, max_ms, gap_ms)
        && max_ms < gap_ms
    {
        findings.error(
            "range",
            node.span,
            "`max` is shorter than `gap`",
            "expected at least the gap",
        );
    }
    const RESETS: &[(&str, bool)] = &[("any-channel", false), ("same-channel", true)];
    let same_channel = fields
        .take("reset-by")
        .map_or(Some(false), |node| scalar::word(node, "way to reset", RESETS, findings));
    fields.close(findings);
    Some(BackOff {
        after: after?,
        gap_ms: gap_ms?,
        factor_milli: factor_milli?,
        max_ms: max_ms?,
        same_channel: same_channel?,
    })
}
