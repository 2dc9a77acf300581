//! From the text of an expression to something that runs: parsed by `cel`, checked and lowered by `lower`.
//!
//! A text is short and not deep, so that no parser can be made to work long or to exhaust the stack.

use super::constant::always;
use super::lower::{Lowering, Wanted};
use super::program::{Computed, Node, Scope};
use super::{Condition, ConditionError, Expression, Reads, Score};
use crate::policy::file::diagnostic::shortened;
use crate::policy::rules::Experiment;

/// The longest expression, in bytes.
const TEXT_BYTES: usize = 2_000;
/// How deep brackets and operators may nest.
const DEPTH: u16 = 32;

/// The names of the policy that an expression may mention.
#[derive(Debug, Clone, Copy, Default)]
pub struct Vocabulary<'a> {
    pub channels: &'a [&'a str],
    pub classes: &'a [&'a str],
    pub experiments: &'a [Experiment],
}

/// What is wrong with an expression, and where in its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Bytes of the expression.
    pub start: usize,
    pub end: usize,
    pub message: String,
    /// What was expected.
    pub label: String,
    pub suggestion: Option<String>,
}

impl Condition {
    /// A condition from its text; beside it, its value if that is always the same (a failure counts as false).
    pub fn compile(text: &str, vocabulary: Vocabulary<'_>) -> Result<(Self, Option<bool>), Vec<Problem>> {
        let (node, reads) = checked(text, vocabulary, Wanted::Truth)?;
        let constant = always(&node, text, vocabulary);
        let condition = Self::reading(text, reads, move |facts| node.truth(&Scope::new(Some(facts))));
        Ok((condition, constant))
    }
}

impl Expression {
    /// An integer expression from its text; beside it, its value if it does not depend on anything.
    pub fn compile(text: &str, vocabulary: Vocabulary<'_>) -> Result<(Self, Option<i64>), Vec<Problem>> {
        let (node, reads) = checked(text, vocabulary, Wanted::Whole)?;
        let constant = whole(&node, &Scope::new(None)).ok();
        let expression = Self::reading(text, reads, move |facts| whole(&node, &Scope::new(Some(facts))));
        Ok((expression, constant))
    }
}

impl Score {
    /// A number from its text; beside it, its value if it does not depend on anything.
    pub fn compile(text: &str, vocabulary: Vocabulary<'_>) -> Result<(Self, Option<f64>), Vec<Problem>> {
        let (node, reads) = checked(text, vocabulary, Wanted::Number)?;
        let constant = number(&node, &Scope::new(None)).ok();
        let score = Self::reading(text, reads, move |facts| number(&node, &Scope::new(Some(facts))));
        Ok((score, constant))
    }
}

fn number<'a>(node: &'a Node, scope: &Scope<'a>) -> Result<f64, ConditionError> {
    match node.evaluate(scope)? {
        Computed::Int(number) => Ok(number as f64),
        Computed::Double(number) => Ok(number),
        _ => Err(ConditionError {
            what: "a value that is not a number",
        }),
    }
}

fn whole<'a>(node: &'a Node, scope: &Scope<'a>) -> Result<i64, ConditionError> {
    match node.evaluate(scope)? {
        Computed::Int(number) => Ok(number),
        _ => Err(ConditionError {
            what: "a value that is not a whole number",
        }),
    }
}

fn checked(text: &str, vocabulary: Vocabulary<'_>, wanted: Wanted) -> Result<(Node, Reads), Vec<Problem>> {
    if text.len() > TEXT_BYTES {
        let message = format!("an expression of {} bytes", text.len());
        return Err(vec![whole_text(text, message, format!("at most {TEXT_BYTES} bytes"))]);
    }
    if nesting(text) > usize::from(DEPTH) {
        let message = "an expression that nests too deep".to_owned();
        return Err(vec![whole_text(text, message, format!("at most {DEPTH} levels"))]);
    }
    let parser = cel::parser::Parser::new()
        .max_recursion_depth(DEPTH)
        .error_recovery_limit(4);
    let (expression, places) = parser.parse_with_source_info(text).map_err(|errors| {
        let mut problems: Vec<Problem> = errors
            .errors
            .iter()
            .map(|error| syntax(text, error.pos, &error.msg))
            .collect();
        // What follows the first is mostly its echo.
        problems.truncate(1);
        problems
    })?;
    let mut lowering = Lowering::new(text, &places, vocabulary);
    let lowered = lowering.root(&expression, wanted);
    match lowered {
        Some(node) if lowering.problems.is_empty() => Ok((node, lowering.reads)),
        _ => Err(lowering.problems),
    }
}

fn whole_text(text: &str, message: String, label: String) -> Problem {
    Problem {
        start: 0,
        end: text.len(),
        message,
        label,
        suggestion: None,
    }
}

fn syntax(text: &str, (line, column): (isize, isize), message: &str) -> Problem {
    let line = usize::try_from(line).unwrap_or(1).max(1);
    let before: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let rest = text.get(before..).unwrap_or_default();
    let column = usize::try_from(column).unwrap_or(1).max(1);
    let start = before
        + rest
            .char_indices()
            .nth(column - 1)
            .map_or(rest.len(), |(offset, _)| offset);
    let end = text[start..]
        .chars()
        .next()
        .map_or(start, |character| start + character.len_utf8());
    let single_equals = text[..start].ends_with('=') || text[start..].starts_with('=');
    let label = if single_equals && !text.contains("==") {
        "to compare, write `==`".to_owned()
    } else {
        in_words(message)
    };
    Problem {
        start,
        end,
        message: "this expression cannot be read".to_owned(),
        label,
        suggestion: None,
    }
}

/// What the parser found, without the names of its tokens: they are its own, and no reader of a policy knows them.
fn in_words(message: &str) -> String {
    let quoted = |after: &str| {
        let (_, rest) = message.split_once(after)?;
        let (quoted, _) = rest.strip_prefix('\'')?.split_once('\'')?;
        Some(quoted)
    };
    if message.contains("'<EOF>'") && !message.contains("missing") {
        return "something is missing at the end".to_owned();
    }
    if let Some(missing) = quoted("missing ") {
        return format!("`{missing}` is missing");
    }
    let found = [
        "recognition error at: ",
        "extraneous input ",
        "mismatched input ",
        "at input ",
    ]
    .into_iter()
    .find_map(quoted);
    let operator = |word: &str| match word.to_ascii_lowercase().as_str() {
        "and" => Some("&&"),
        "or" => Some("||"),
        "not" => Some("!"),
        "is" | "equals" => Some("=="),
        _ => None,
    };
    match found {
        Some(found) if operator(found.trim()).is_some() => {
            format!(
                "`{}` is written `{}`",
                found.trim(),
                operator(found.trim()).unwrap_or_default()
            )
        }
        Some(found) => format!("`{}` has no meaning here", shortened(found.trim())),
        None => "it does not follow the grammar of CEL".to_owned(),
    }
}

/// The deepest bracket, and the longest run of prefix operators: both make a parser recurse.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest, mut run) = (0_usize, 0_usize, 0_usize);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        run = if matches!(byte, b'!' | b'-' | b'?') { run + 1 } else { 0 };
        deepest = deepest.max(depth).max(run);
    }
    deepest
}
