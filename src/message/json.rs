//! The JSON of a record, read one level at a time.
//!
//! A value is first taken apart into its members as raw, borrowed text. That checks the syntax of the whole and
//! interprets nothing, so what nobody reads (`payload`, unknown members) costs a scan and no allocation. Only then are the
//! members that are read interpreted, each by its own reader (`field`).
//!
//! Nesting is bounded before anything is parsed: no depth of input reaches a stack.

use super::limits::NESTING;
use super::{Malformed, MalformedKind};
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// Most members that one kind of object may read.
pub(super) const MOST_MEMBERS: usize = 32;

/// The members of one kind of object that are read. Others pass unread.
pub(super) trait Member: Copy {
    /// The member of this name.
    fn find(name: &str) -> Option<Self>;
    fn name(self) -> &'static str;
    fn index(self) -> usize;
}

/// Declares an enum of the members that are read, with their names.
macro_rules! members {
    ($name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum $name { $($variant),+ }

        impl $crate::message::json::Member for $name {
            fn find(name: &str) -> Option<Self> {
                match name { $($text => Some($name::$variant),)+ _ => None }
            }
            fn name(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }
            fn index(self) -> usize {
                self as usize
            }
        }

        const _: () = assert!([$($text),+].len() <= $crate::message::json::MOST_MEMBERS);
    };
}
pub(super) use members;

/// An object whose syntax is right and whose keys are unique, with the members that are read as raw text.
pub(super) struct Object<'a, M> {
    members: [Option<&'a str>; MOST_MEMBERS],
    kind: PhantomData<M>,
}

impl<'a, M: Member> Object<'a, M> {
    /// The member's raw text, `null` included.
    pub(super) fn named(&self, member: M) -> Option<&'a str> {
        self.members[member.index()]
    }
}

/// Refuses bytes that are no UTF-8 or that nest too deep. What passes may be parsed.
pub(super) fn bounded_text(value: &[u8]) -> Result<&str, Malformed> {
    let text = std::str::from_utf8(value)
        .map_err(|error| not_json(format!("invalid UTF-8 after byte {}", error.valid_up_to())))?;
    if nests_deeper_than(value, NESTING) {
        return Err(not_json(format!("nesting deeper than {NESTING}")));
    }
    Ok(text)
}

/// Takes an object apart. `text` has to come from [`bounded_text`].
pub(super) fn parse_object<M: Member>(text: &str) -> Result<Object<'_, M>, Malformed> {
    let mut members = [None; MOST_MEMBERS];
    let mut repeated = None;
    let mut unread = Vec::new();
    for_each_member(text, |key, value| match M::find(&key) {
        Some(member) => {
            if members[member.index()].replace(value).is_some() {
                repeated = Some(member);
            }
        }
        None => unread.push(key),
    })?;
    if let Some(member) = repeated {
        return Err(bad_field(member.name(), "to occur once"));
    }
    if has_repetition(&mut unread) {
        return Err(Malformed::new(
            MalformedKind::BadField,
            "expected every key to occur once",
        ));
    }
    Ok(Object {
        members,
        kind: PhantomData,
    })
}

/// All members of an object as (key, raw text), in their order; none if a key is repeated or it is no object.
pub(super) fn all_members(text: &str) -> Option<Vec<(Cow<'_, str>, &str)>> {
    let mut members = Vec::new();
    for_each_member(text, |key, value| members.push((key, value))).ok()?;
    let mut keys: Vec<&str> = members.iter().map(|(key, _)| key.as_ref()).collect();
    (!has_repetition(&mut keys)).then_some(members)
}

/// The elements of an array as raw text; none if it is no array.
pub(super) fn elements(text: &str) -> Option<Vec<&str>> {
    let raw: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    Some(raw.into_iter().map(RawValue::get).collect())
}

/// The text that a raw JSON string stands for; none if it is no string (or names half a surrogate pair).
pub(super) fn string(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str::<String>(raw).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

pub(super) fn not_json(detail: impl Into<String>) -> Malformed {
    Malformed::new(MalformedKind::NotJson, detail)
}

pub(super) fn bad_field(name: &str, expected: &str) -> Malformed {
    Malformed::new(MalformedKind::BadField, format!("{name}: expected {expected}"))
}

/// Calls `each` with every member, in order, then checks that nothing follows the object.
fn for_each_member<'a>(text: &'a str, each: impl FnMut(Cow<'a, str>, &'a str)) -> Result<(), Malformed> {
    let mut parser = serde_json::Deserializer::from_str(text);
    let parsed = parser.deserialize_map(Members(each)).and_then(|()| parser.end());
    parsed.map_err(|error| {
        // A value that is valid JSON but no object is told apart; the parser's own words could repeat it.
        match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) if !text.trim_start().starts_with('{') => not_json("expected a JSON object"),
            _ => not_json(format!(
                "invalid JSON at line {} column {}",
                error.line(),
                error.column()
            )),
        }
    })
}

/// Sorts, so that the cost stays bounded whatever the number of keys.
fn has_repetition<K: Ord>(keys: &mut [K]) -> bool {
    keys.sort_unstable();
    keys.windows(2).any(|pair| pair[0] == pair[1])
}

/// Whether brackets outside strings nest deeper. On bytes that are no JSON the answer may be either.
fn nests_deeper_than(value: &[u8], most: usize) -> bool {
    // Nearly every record has fewer opening brackets than that in all, wherever they stand: one pass without branches.
    if opening_brackets(value) <= most {
        return false;
    }
    let mut depth = 0usize;
    let mut in_string = false;
    let mut bytes = value.iter();
    while let Some(byte) = bytes.next() {
        match (in_string, byte) {
            (_, b'"') => in_string = !in_string,
            (true, b'\\') => drop(bytes.next()),
            (false, b'{' | b'[') => {
                depth += 1;
                if depth > most {
                    return true;
                }
            }
            (false, b'}' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Brackets that open, inside strings too.
fn opening_brackets(value: &[u8]) -> usize {
    // A byte can count no more than 255; counting in bytes is what lets the compiler use wide registers.
    let in_chunk = |chunk: &[u8]| {
        chunk
            .iter()
            .map(|byte| u8::from(matches!(byte, b'{' | b'[')))
            .sum::<u8>()
    };
    value.chunks(255).map(|chunk| usize::from(in_chunk(chunk))).sum()
}

/// Hands every member of a JSON object to a function.
struct Members<F>(F);

impl<'de, F: FnMut(Cow<'de, str>, &'de str)> Visitor<'de> for Members<F> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Key<'de>>()? {
            let value: &'de RawValue = map.next_value()?;
            (self.0)(key.0, value.get());
        }
        Ok(())
    }
}

/// A key, borrowed where it holds no escape.
struct Key<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_inside_strings_do_not_nest() {
        let text = format!(r#"{{"a":"{}\"{}"}}"#, "[".repeat(200), "{".repeat(200));
        assert!(!nests_deeper_than(text.as_bytes(), 128));
    }

    #[test]
    fn arrays_side_by_side_do_not_nest() {
        let text = format!(r#"{{"a":[{}1]}}"#, "[1],".repeat(300));
        assert!(!nests_deeper_than(text.as_bytes(), 128));
    }

    #[test]
    fn every_opening_bracket_is_counted_however_many_stand_side_by_side() {
        assert_eq!(opening_brackets(&[b'['; 1000]), 1000);
        assert_eq!(opening_brackets(b"{}[]\"{\""), 3);
    }

    #[test]
    fn a_depth_of_128_is_accepted_and_one_more_is_not() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(bounded_text(nested(128).as_bytes()).is_ok());
        assert_eq!(
            bounded_text(nested(129).as_bytes()).unwrap_err().detail,
            "nesting deeper than 128"
        );
    }

    #[test]
    fn an_escaped_string_is_unescaped_and_half_a_surrogate_pair_is_no_string() {
        assert_eq!(string(r#""plain""#).as_deref(), Some("plain"));
        assert_eq!(string(r#""\u00e9\n""#).as_deref(), Some("é\n"));
        assert_eq!(string(r#""\ud800""#), None);
        assert_eq!(string("12"), None);
        assert_eq!(string(r#"""#), None);
    }
}
