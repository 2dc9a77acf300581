//! What is wrong with a text that is no YAML, for a person who does not know what a scalar is. The parser tells where it could
//! not go on; the slip is often a little earlier.

use super::diagnostic::{Diagnostic, Span, floor_boundary, shortened};

/// The finding. `at`: where the parser stopped, `info`: what it said.
pub(super) fn unreadable(text: &str, at: usize, info: &str) -> Diagnostic {
    let at = floor_boundary(text, at);
    let found = odd_blank(text)
        .or_else(|| tab(text, at, info))
        .or_else(|| unclosed_quote(text, at, info))
        .or_else(|| unclosed_bracket(text, at, info))
        .or_else(|| after_a_quote(text, at, info))
        .or_else(|| without_colon(text, at, info))
        .or_else(|| out_of_place(text, at, info));
    let (start, what, label) = found.unwrap_or_else(|| (at, info.to_owned(), "here".to_owned()));
    let length = text[start..].chars().next().map_or(1, char::len_utf8);
    Diagnostic::error(
        "yaml",
        Span::new(start, start + length),
        format!("this is not YAML: {what}"),
        label,
    )
}

/// Where, what, and what to do.
type Slip = (usize, String, String);

fn slip(at: usize, what: impl Into<String>, label: impl Into<String>) -> Option<Slip> {
    Some((at, what.into(), label.into()))
}

/// Blanks as word processors and chat programs make them.
fn odd_blank(text: &str) -> Option<Slip> {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let is_blank = |c: &char| c.is_whitespace() || matches!(c, '\u{200b}' | '\u{feff}');
        let mut blanks = line.char_indices().take_while(|(_, c)| is_blank(c));
        if let Some((offset, odd)) = blanks.find(|(_, c)| !matches!(c, ' ' | '\t' | '\r' | '\n')) {
            let what = format!("a blank that is no space (U+{:04X})", u32::from(odd));
            return slip(start + offset, what, "write the blanks in front of this line again");
        }
        start += line.len();
    }
    None
}

fn tab(text: &str, at: usize, info: &str) -> Option<Slip> {
    if !info.contains("tab") && !text[at..].starts_with('\t') {
        return None;
    }
    // In front of where it stopped, in the same line; or after it.
    let line = line_start(text, at);
    let before = text[line..at].find('\t').map(|offset| line + offset);
    let at = before.or_else(|| text[at..].find('\t').map(|offset| at + offset))?;
    slip(at, "a tab", "write spaces in its place")
}

fn unclosed_quote(text: &str, at: usize, info: &str) -> Option<Slip> {
    if !info.contains("quoted scalar") || info.contains("trailing") {
        return None;
    }
    let (_, quote) = open_marks(text, text.len());
    let start = quote.unwrap_or(at);
    slip(start, "a quote that is not closed", "it begins here")
}

fn unclosed_bracket(text: &str, at: usize, info: &str) -> Option<Slip> {
    if !["flow", "unclosed", "':' indicator"]
        .iter()
        .any(|word| info.contains(word))
    {
        return None;
    }
    let (brackets, _) = open_marks(text, at);
    let (start, bracket) = *brackets.last()?;
    let closing = if bracket == '{' { '}' } else { ']' };
    let on_its_line = !text[start..at].contains('\n');
    if on_its_line {
        let label = format!("a `,` or the `{closing}` is missing in front of this");
        return slip(
            at,
            format!("inside `{bracket} … {closing}`, something is missing"),
            label,
        );
    }
    let what = format!("a `{bracket}` that is not closed");
    slip(start, what, format!("its `{closing}` is missing"))
}

fn after_a_quote(text: &str, at: usize, info: &str) -> Option<Slip> {
    if !info.contains("trailing content") {
        return None;
    }
    let rest = text[at..].lines().next().unwrap_or_default().trim();
    let label = "put the whole value in single quotes, `'…'`; or a quote is missing further to the left";
    slip(at, format!("`{}` after the closing quote", shortened(rest)), label)
}

fn without_colon(text: &str, at: usize, info: &str) -> Option<Slip> {
    if !info.contains("expect ':'") && !info.contains("expected ':'") && !info.contains("expect a ':'") {
        return None;
    }
    // The parser has read on to the next line.
    let before = text[..at].trim_end();
    let line = line_start(text, before.len());
    let start = line + (before[line..].len() - before[line..].trim_start().len());
    let what = format!("`{}` has no `:`", shortened(before[start..].trim()));
    slip(start, what, "expected `key: value`, with a space after the colon")
}

fn out_of_place(text: &str, at: usize, info: &str) -> Option<Slip> {
    let same_column = "begin it in the same column as the line that it belongs with";
    if info.contains("unknown anchor") {
        let label = "a text that begins with `*` stands in quotes";
        return slip(at, "a reference to something that is not there", label);
    }
    if info.contains("'-' indicator") || info.contains("block mapping") || info.contains("block collection") {
        return slip(at, "this line is indented unlike those above it", same_column);
    }
    if !info.contains("mapping values are not allowed") {
        return None;
    }
    // This line and the one above: a dash that sticks to its word makes a text of what should be an entry.
    let mut start = line_start(text, at);
    for _ in 0..2 {
        let line = text[start..].lines().next().unwrap_or_default();
        let indent = line.len() - line.trim_start().len();
        let rest = &line[indent..];
        if rest.starts_with('-') && !rest.starts_with("- ") && !rest.starts_with("---") && rest.len() > 1 {
            return slip(start + indent, "a `-` without a space after it", "write `- `");
        }
        start = line_start(text, start.saturating_sub(1));
    }
    let line = line_start(text, at);
    let is_second = text[line..at].contains(": ");
    if is_second {
        let label = "a text with `: ` in it stands in quotes";
        return slip(at, "a second `:` in one line", label);
    }
    slip(
        line + text[line..at].len() - text[line..at].trim_start().len(),
        "this line is indented unlike those above it",
        same_column,
    )
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// The brackets that are open at an offset, and the quote that is.
fn open_marks(text: &str, end: usize) -> (Vec<(usize, char)>, Option<usize>) {
    let mut brackets = Vec::new();
    let mut quote: Option<(usize, char)> = None;
    let mut before = ' ';
    let mut is_comment = false;
    for (at, c) in text[..end].char_indices() {
        match (quote, c) {
            (_, '\n') => is_comment = false,
            _ if is_comment => {}
            (Some((_, mark)), c) if c == mark && !(mark == '"' && before == '\\') => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') if !before.is_alphanumeric() => quote = Some((at, c)),
            (None, '#') if before.is_whitespace() => is_comment = true,
            (None, '{' | '[') => brackets.push((at, c)),
            (None, '}' | ']') => drop(brackets.pop()),
            _ => {}
        }
        before = c;
    }
    (brackets, quote.map(|(at, _)| at))
}

#[cfg(test)]
mod tests {
    use super::super::Findings;
    use super::super::tree::parse;

    fn said(text: &str) -> String {
        let mut findings = Findings::default();
        assert!(parse(text, 0, &mut findings).is_none(), "{text}");
        let sources = super::super::sources::Sources::one("p.yaml", text);
        findings.into_diagnostics(&sources).to_string()
    }

    #[test]
    fn a_slip_of_the_hand_is_told_where_it_is_and_what_to_do() {
        for (text, expected) in [
            ("a: 1\nb 2\nc: 3\n", "2:1: this is not YAML: `b 2` has no `:`"),
            (
                "a:\n  - b: 1\n   c: 2\n",
                "3:4: this is not YAML: this line is indented unlike those above it",
            ),
            (
                "a:\n  - b: 1\n\tc: 2\n",
                "3:1: this is not YAML: a tab (write spaces in its place)",
            ),
            (
                "a:\n  -b: 1\n    c: 2\n",
                "2:3: this is not YAML: a `-` without a space after it",
            ),
            ("a: { b: 1\nc: 2\n", "1:4: this is not YAML: a `{` that is not closed"),
            ("a: [ 1, 2\nc: 2\n", "1:4: this is not YAML: a `[` that is not closed"),
            ("a: { b: \"}\", c: [1 }\nd: 2\n", "this is not YAML"),
            (
                "a: \"x\" in b\n",
                "1:8: this is not YAML: `in b` after the closing quote",
            ),
            ("a: 'x\nb: 2\n", "1:4: this is not YAML: a quote that is not closed"),
            (
                "a: *x\n",
                "1:4: this is not YAML: a reference to something that is not there",
            ),
            (
                "a:\n  - b: 1\n\u{a0}\u{a0}\u{a0}\u{a0}c: 2\n  - d: 3\n",
                "3:1: this is not YAML: a blank that is no space (U+00A0)",
            ),
            ("why: note: this\n", "1:10: this is not YAML: a second `:` in one line"),
        ] {
            let found = said(text);
            assert!(found.contains(expected), "expected {expected}\nfound {found}");
        }
    }
}
