//! From a policy file to the compiled [`Policy`]: every name is resolved, every expression checked, every mistake reported
//! with its place, all of them at once. A policy exists only if there was no error.

mod back_off;
mod cap;
mod capacity;
mod channel;
mod class;
mod cool_off;
mod holdout;
mod limit;
mod mix;
mod pressure;
mod redundant;
mod rule;
mod selector;
mod sequence;
mod spend;
mod top;
mod window;

#[cfg(test)]
mod tests;

pub(in crate::policy) use rule::KINDS as RULE_KINDS;

use super::condition::{Condition, Expression, Problem, Score, Vocabulary};
use super::file::document::ReadFile;
use super::file::{Diagnostic, Diagnostics, Document, Findings, Node, Span, Value};
use super::lint::lint;
use super::model::Policy;
use super::rules::Experiment;
use crate::message::EventKind;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;

/// What the parts of a file need of each other while it is compiled.
struct Context<'n> {
    findings: Findings,
    source: &'n str,
    /// For warnings about what is already over; none: no such warnings.
    today_ms: Option<i64>,
    zone: TimeZone,
    week_start: Weekday,
    channels: Vec<&'n str>,
    classes: Vec<&'n str>,
    rules: Vec<&'n str>,
    experiments: Vec<Experiment>,
    calendars: Vec<Calendar<'n>>,
}

/// A named list of dates.
struct Calendar<'n> {
    name: &'n str,
    place: Span,
    dates: Vec<Date>,
    used: bool,
}

impl Policy {
    /// The policy of a single file, with warnings; or everything that is wrong with it. Pure: `today_ms` is the only clock, and
    /// only decides whether something that is already over is warned about.
    pub fn load(bytes: &[u8], file_name: &str, today_ms: Option<i64>) -> Result<(Self, Diagnostics), Box<Diagnostics>> {
        let mut nothing_else = |_: &str| Err("a policy that is loaded by itself includes nothing".to_owned());
        Self::load_with(bytes, file_name, today_ms, &mut nothing_else)
    }

    /// The same of a policy that may include other files, which `read` reads.
    pub fn load_with(
        bytes: &[u8],
        file_name: &str,
        today_ms: Option<i64>,
        read: ReadFile,
    ) -> Result<(Self, Diagnostics), Box<Diagnostics>> {
        Self::compile(&Document::read(file_name, bytes, read)?, today_ms)
    }

    /// The same of a policy that was read.
    pub fn compile(document: &Document, today_ms: Option<i64>) -> Result<(Self, Diagnostics), Box<Diagnostics>> {
        let mut context = Context {
            findings: Findings::default(),
            source: document.sources.text(),
            today_ms,
            zone: TimeZone::UTC,
            week_start: Weekday::Monday,
            channels: Vec::new(),
            classes: Vec::new(),
            rules: Vec::new(),
            experiments: Vec::new(),
            calendars: Vec::new(),
        };
        let policy = top::policy(&document.root, document.text(), &mut context);
        top::reviews(&document.reviews, &mut context);
        let has_errors = context.findings.has_errors();
        if let Some(policy) = policy.as_ref().filter(|_| !has_errors) {
            lint(policy, &document.root, today_ms, &mut context.findings);
        }
        let diagnostics = context.findings.into_diagnostics(&document.sources);
        match policy {
            Some(policy) if !has_errors => Ok((policy, diagnostics)),
            _ => Err(Box::new(diagnostics)),
        }
    }
}

impl Context<'_> {
    /// A condition; one that does not depend on anything is warned about.
    fn condition(&mut self, node: &Node) -> Option<Condition> {
        let text = super::file::scalar::text(node, "a condition", &mut self.findings)?;
        let compiled = Condition::compile(text, self.vocabulary());
        match compiled {
            Ok((condition, constant)) => {
                if let Some(constant) = constant {
                    let message = match constant {
                        true => "this condition is always true",
                        false => "this condition is never true",
                    };
                    let label = "whatever the intent and the customer are";
                    self.findings
                        .push(Diagnostic::warning("constant-condition", node.span, message, label));
                }
                Some(condition)
            }
            Err(problems) => self.report(node, text, problems),
        }
    }

    /// An integer expression, and its value if it does not depend on anything.
    fn expression(&mut self, node: &Node) -> Option<(Expression, Option<i64>)> {
        let text = super::file::scalar::text(node, "an expression", &mut self.findings)?;
        let compiled = Expression::compile(text, self.vocabulary());
        match compiled {
            Ok(compiled) => Some(compiled),
            Err(problems) => self.report(node, text, problems),
        }
    }

    /// An expression that orders competitors; one that does not depend on anything orders nothing, and is warned about.
    fn score(&mut self, node: &Node) -> Option<Score> {
        let text = super::file::scalar::text(node, "a score", &mut self.findings)?;
        let compiled = Score::compile(text, self.vocabulary());
        match compiled {
            Ok((score, constant)) => {
                if constant.is_some() {
                    let message = "this score is the same for every message";
                    let label = "whatever the intent and the customer are";
                    self.findings
                        .push(Diagnostic::warning("constant-score", node.span, message, label));
                }
                Some(score)
            }
            Err(problems) => self.report(node, text, problems),
        }
    }

    fn vocabulary(&self) -> Vocabulary<'_> {
        Vocabulary {
            channels: &self.channels,
            classes: &self.classes,
            experiments: &self.experiments,
        }
    }

    fn report<T>(&mut self, node: &Node, text: &str, problems: Vec<Problem>) -> Option<T> {
        // Inside the scalar, where what is written is the text itself; else the scalar as a whole.
        let written = self.source.get(node.span.start..node.span.end).unwrap_or_default();
        let shift = match &node.value {
            Value::Scalar { plain: true, .. } if written.starts_with(text) => Some(0),
            Value::Scalar { plain: false, .. } if written.get(1..).is_some_and(|inner| inner.starts_with(text)) => {
                Some(1)
            }
            _ => None,
        };
        for problem in problems {
            let place = match shift {
                Some(shift) => {
                    let base = node.span.start + shift;
                    Span::new(base + problem.start, base + problem.end)
                }
                None => node.span,
            };
            let suggestion = problem.suggestion.filter(|_| shift.is_some());
            let diagnostic = Diagnostic::error("expression", place, problem.message, problem.label);
            self.findings.push(diagnostic.suggest(suggestion));
        }
        None
    }
}

/// The engagement types that a policy can name, as they are written in the events.
const EVENTS: &[(&str, EventKind)] = &[
    ("sent", EventKind::Sent),
    ("delivered", EventKind::Delivered),
    ("failed", EventKind::Failed),
    ("bounced_soft", EventKind::BouncedSoft),
    ("bounced_hard", EventKind::BouncedHard),
    ("opened", EventKind::Opened),
    ("clicked", EventKind::Clicked),
    ("replied", EventKind::Replied),
    ("converted", EventKind::Converted),
    ("declined", EventKind::Declined),
    ("complained", EventKind::Complained),
    ("unsubscribed", EventKind::Unsubscribed),
    ("resubscribed", EventKind::Resubscribed),
    ("contacted_elsewhere", EventKind::ContactedElsewhere),
    ("inbound_contact", EventKind::InboundContact),
    ("issue_opened", EventKind::IssueOpened),
    ("issue_closed", EventKind::IssueClosed),
];
