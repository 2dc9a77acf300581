//! What is wrong, said at its place.

use super::Lowering;
use crate::policy::condition::compile::Problem;
use crate::policy::file::diagnostic::{expected, floor_boundary, nearest};
use cel::common::ast::{Expr, IdedExpr};

impl Lowering<'_> {
    pub(super) fn unknown<T>(&mut self, place: &IdedExpr, what: &str, name: &str, known: &[&str]) -> Option<T> {
        let near = nearest(name, known.iter().copied());
        let label = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => expected(known),
        };
        self.problem(place, format!("unknown {what} `{name}`"), label);
        if let Some(problem) = self.problems.last_mut() {
            let text = &self.text[problem.start..problem.end];
            problem.suggestion = near.map(|near| text.replace(name, near));
        }
        None
    }

    pub(super) fn refuse<T>(
        &mut self,
        place: &IdedExpr,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> Option<T> {
        self.problem(place, message.into(), label.into());
        None
    }

    pub(super) fn problem(&mut self, place: &IdedExpr, message: String, label: String) {
        let (start, end) = self.extent(place).unwrap_or((0, self.text.len()));
        self.problems.push(Problem {
            start,
            end,
            message,
            label,
            suggestion: None,
        });
    }

    /// Where an expression stands, in bytes: from its first part to its last.
    pub(super) fn extent(&self, expression: &IdedExpr) -> Option<(usize, usize)> {
        let own = self.places.offset_for(expression.id).map(|(start, stop)| {
            let start = floor_boundary(self.text, start as usize);
            (start, floor_boundary(self.text, stop as usize + 1).max(start))
        });
        let parts: Vec<&IdedExpr> = match &expression.expr {
            Expr::Select(select) => vec![&select.operand],
            Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
            Expr::Comprehension(unfolded) => vec![&unfolded.iter_range],
            _ => Vec::new(),
        };
        let extents = parts.into_iter().filter_map(|part| self.extent(part));
        let (start, mut end) = own
            .into_iter()
            .chain(extents)
            .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
        if let Expr::Call(call) = &expression.expr
            && self.text[..start].ends_with(&call.func_name)
            && call.target.is_none()
        {
            // The place of a call is its bracket.
            return Some((start - call.func_name.len(), end));
        }
        if let Expr::Select(select) = &expression.expr {
            // The place of a selection is its dot; the field follows.
            let rest = &self.text[end..];
            let blank = rest.len() - rest.trim_start().len();
            if rest.trim_start().starts_with(&select.field) {
                end += blank + select.field.len();
            }
        }
        Some((start, end))
    }
}
