//! The texts that findings point into. Several files (a policy, what it includes, files of tests) stand one after another in
//! one space of offsets, so that a [`Span`](super::Span) says in which file it lies, and nothing else has to.

use super::diagnostic::floor_boundary;

/// Files that were read together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sources {
    text: String,
    files: Vec<SourceFile>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct SourceFile {
    name: String,
    start: usize,
    end: usize,
}

/// A place as a person names it. Line and column count from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'s> {
    pub file: &'s str,
    pub line: usize,
    pub column: usize,
}

impl Sources {
    /// A single file.
    pub fn one(name: &str, text: &str) -> Self {
        let mut sources = Self::default();
        sources.add(name, text);
        sources
    }

    /// Adds a file; answers the offset at which it starts.
    pub fn add(&mut self, name: &str, text: &str) -> usize {
        let start = self.text.len();
        self.text.push_str(text);
        self.files.push(SourceFile {
            name: name.to_owned(),
            start,
            end: self.text.len(),
        });
        // The end of one file is a place too, and must not be the start of the next.
        self.text.push('\n');
        start
    }

    /// All texts, one after another.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The name of the first file.
    pub fn main_name(&self) -> &str {
        self.files.first().map_or("", |file| file.name.as_str())
    }

    /// File, line and column of an offset.
    pub fn place(&self, offset: usize) -> Place<'_> {
        let offset = floor_boundary(&self.text, offset);
        let Some(file) = self.file(offset) else {
            return Place {
                file: "",
                line: 1,
                column: 1,
            };
        };
        let before = &self.text[file.start..offset.clamp(file.start, file.end)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place {
            file: &file.name,
            line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// Start and end of the line that an offset lies in, without its newline.
    pub(super) fn line(&self, offset: usize) -> (usize, usize) {
        let offset = floor_boundary(&self.text, offset);
        let (first, last) = self.file(offset).map_or((0, 0), |file| (file.start, file.end));
        let offset = offset.clamp(first, last);
        let start = self.text[first..offset]
            .rfind('\n')
            .map_or(first, |newline| first + newline + 1);
        let end = self.text[offset..last]
            .find('\n')
            .map_or(last, |newline| offset + newline);
        (start, end)
    }

    fn file(&self, offset: usize) -> Option<&SourceFile> {
        let after = self.files.partition_point(|file| file.start <= offset);
        self.files.get(after.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_lies_in_the_file_that_it_was_read_from() {
        let mut sources = Sources::one("a.yaml", "é: 1\nb: 2");
        let second = sources.add("b.yaml", "x: 1");
        let place = |offset| {
            let place = sources.place(offset);
            (place.file, place.line, place.column)
        };
        assert_eq!(place(0), ("a.yaml", 1, 1));
        assert_eq!(place(2), ("a.yaml", 1, 2));
        assert_eq!(place(6), ("a.yaml", 2, 1));
        assert_eq!(place(10), ("a.yaml", 2, 5));
        assert_eq!(place(second), ("b.yaml", 1, 1));
        assert_eq!(place(second + 4), ("b.yaml", 1, 5));
        assert_eq!(place(9_999), ("b.yaml", 1, 5));
        assert_eq!(&sources.text()[sources.line(8).0..sources.line(8).1], "b: 2");
        assert_eq!(Sources::default().place(3).line, 1);
    }
}
