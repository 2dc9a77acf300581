//! The CBOR that values are made of: records, lists, and names by their number in the value's own table.
//!
//! A record is an array of its fields. A reader reads the fields that it knows and skips the rest (so a later writer may
//! add fields at the end), and a field that was added later has a value for records that lack it ([`Reader::later`]).
//! A list is an array of elements. Nothing is allocated for a length that the bytes merely claim.

use crate::message::Name;
use minicbor::data::Type;
use minicbor::{Decoder, Encoder};
use std::collections::HashMap;

/// Why bytes could not be read. Names a place in the format, never a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Not what any writer wrote: the store is to be set aside and rebuilt from the changelog.
    #[error("the state bytes are damaged ({0}); set the store aside and rebuild it from the changelog")]
    Corrupt(&'static str),
    /// Written by a later version that says so.
    #[error(
        "the state is written in format {format}, which needs a reader of format {oldest_reader} or later; this version \
         reads up to {reader}: run the version that wrote it (or a later one) on this partition"
    )]
    TooNew { format: u8, oldest_reader: u8, reader: u8 },
}

impl From<minicbor::decode::Error> for CodecError {
    fn from(_: minicbor::decode::Error) -> CodecError {
        CodecError::Corrupt("not the expected CBOR")
    }
}

/// Result of reading.
pub type Read<T> = Result<T, CodecError>;

/// Writes one value: first its content, then (in [`Writer::finish`]) the table of names before it.
pub struct Writer {
    content: Encoder<Vec<u8>>,
    numbers: HashMap<Name, u32>,
    names: Vec<Name>,
    /// Tests only: fields that a later version would add at the end of every record.
    #[cfg(test)]
    pub(crate) later_fields: u64,
}

impl Writer {
    pub fn new() -> Writer {
        Writer {
            content: Encoder::new(Vec::with_capacity(512)),
            numbers: HashMap::new(),
            names: Vec::new(),
            #[cfg(test)]
            later_fields: 0,
        }
    }

    /// Appends `[names, content]` to the bytes.
    pub fn finish(self, into: &mut Vec<u8>) {
        let mut table = Encoder::new(into);
        vec_cannot_fail(table.array(2));
        vec_cannot_fail(table.array(self.names.len() as u64));
        for name in &self.names {
            vec_cannot_fail(table.str(name));
        }
        table.writer_mut().extend_from_slice(self.content.writer());
    }

    /// A record: `fields` must write exactly that many items.
    pub fn record(&mut self, count: u64, fields: impl FnOnce(&mut Writer)) {
        #[cfg(test)]
        let later_fields = self.later_fields;
        #[cfg(not(test))]
        let later_fields = 0;
        vec_cannot_fail(self.content.array(count + later_fields));
        fields(self);
        for _ in 0..later_fields {
            vec_cannot_fail(self.content.array(2));
            vec_cannot_fail(self.content.str("later"));
            vec_cannot_fail(self.content.u64(7));
        }
    }

    pub fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Writer, &T)) {
        vec_cannot_fail(self.content.array(items.len() as u64));
        for item in items {
            write(self, item);
        }
    }

    pub fn option<T>(&mut self, item: Option<T>, write: impl FnOnce(&mut Writer, T)) {
        match item {
            Some(item) => write(self, item),
            None => vec_cannot_fail(self.content.null()),
        }
    }

    pub fn name(&mut self, name: &Name) {
        let number = match self.numbers.get(name) {
            Some(number) => *number,
            None => {
                let number = self.names.len() as u32;
                self.names.push(name.clone());
                self.numbers.insert(name.clone(), number);
                number
            }
        };
        vec_cannot_fail(self.content.u32(number));
    }

    pub fn optional_name(&mut self, name: &Option<Name>) {
        self.option(name.as_ref(), Writer::name);
    }

    pub fn names(&mut self, names: &[Name]) {
        self.list(names, Writer::name);
    }

    pub fn i64(&mut self, number: i64) {
        vec_cannot_fail(self.content.i64(number));
    }

    pub fn optional_i64(&mut self, number: Option<i64>) {
        self.option(number, Writer::i64);
    }

    pub fn u64(&mut self, number: u64) {
        vec_cannot_fail(self.content.u64(number));
    }

    pub fn optional_u64(&mut self, number: Option<u64>) {
        self.option(number, Writer::u64);
    }

    pub fn f64(&mut self, number: f64) {
        vec_cannot_fail(self.content.f64(number));
    }

    pub fn bool(&mut self, truth: bool) {
        vec_cannot_fail(self.content.bool(truth));
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        vec_cannot_fail(self.content.bytes(bytes));
    }
}

/// Reads one value.
pub struct Reader<'b> {
    decoder: Decoder<'b>,
    names: Vec<Name>,
    /// Fields of the current record that were not read yet.
    fields_left: u64,
}

impl<'b> Reader<'b> {
    /// Opens `[names, content]`.
    pub fn open(bytes: &'b [u8]) -> Read<Reader<'b>> {
        let mut decoder = Decoder::new(bytes);
        if definite(decoder.array()?)? != 2 {
            return Err(CodecError::Corrupt("a value that is not names and content"));
        }
        let count = definite(decoder.array()?)?;
        let mut names = Vec::with_capacity(believable(count));
        for _ in 0..count {
            names.push(Name::from(decoder.str()?));
        }
        Ok(Reader {
            decoder,
            names,
            fields_left: 0,
        })
    }

    pub fn record<T>(&mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        let count = definite(self.decoder.array()?)?;
        let outer = std::mem::replace(&mut self.fields_left, count);
        let record = read(self)?;
        for _ in 0..self.fields_left {
            self.decoder.skip()?;
        }
        self.fields_left = outer;
        Ok(record)
    }

    /// A field that every writer wrote.
    pub fn field<T>(&mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        self.fields_left = self
            .fields_left
            .checked_sub(1)
            .ok_or(CodecError::Corrupt("a record that ends too soon"))?;
        read(self)
    }

    /// A field that was added after the first version, and what records without it mean.
    #[cfg_attr(
        not(test),
        expect(
            dead_code,
            reason = "no field has been added yet; the tests fix what adding one means"
        )
    )]
    pub fn later<T>(&mut self, absent: T, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        if self.fields_left == 0 {
            return Ok(absent);
        }
        self.field(read)
    }

    pub fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        let count = definite(self.decoder.array()?)?;
        let mut items = Vec::with_capacity(believable(count));
        for _ in 0..count {
            items.push(read(self)?);
        }
        Ok(items)
    }

    pub fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<Option<T>> {
        if self.decoder.datatype()? == Type::Null {
            self.decoder.null()?;
            return Ok(None);
        }
        read(self).map(Some)
    }

    pub fn name(&mut self) -> Read<Name> {
        let number = self.decoder.u32()? as usize;
        let name = self.names.get(number);
        name.cloned()
            .ok_or(CodecError::Corrupt("a name that is not in the table"))
    }

    pub fn optional_name(&mut self) -> Read<Option<Name>> {
        self.option(Self::name)
    }

    pub fn names(&mut self) -> Read<Vec<Name>> {
        self.list(Self::name)
    }

    pub fn i64(&mut self) -> Read<i64> {
        Ok(self.decoder.i64()?)
    }

    pub fn optional_i64(&mut self) -> Read<Option<i64>> {
        self.option(Self::i64)
    }

    pub fn u64(&mut self) -> Read<u64> {
        Ok(self.decoder.u64()?)
    }

    pub fn optional_u64(&mut self) -> Read<Option<u64>> {
        self.option(Self::u64)
    }

    /// A number that fits a narrower type.
    pub fn narrow<T: TryFrom<i64>>(&mut self) -> Read<T> {
        T::try_from(self.decoder.i64()?).map_err(|_| CodecError::Corrupt("a number out of range"))
    }

    pub fn f64(&mut self) -> Read<f64> {
        Ok(self.decoder.f64()?)
    }

    pub fn bool(&mut self) -> Read<bool> {
        Ok(self.decoder.bool()?)
    }

    pub fn bytes(&mut self) -> Read<&'b [u8]> {
        Ok(self.decoder.bytes()?)
    }

    /// Ends the value: nothing may follow it.
    pub fn finish(self) -> Read<()> {
        if self.decoder.position() == self.decoder.input().len() {
            Ok(())
        } else {
            Err(CodecError::Corrupt("bytes after the end of the value"))
        }
    }
}

fn definite(length: Option<u64>) -> Read<u64> {
    length.ok_or(CodecError::Corrupt("a length that is not given"))
}

/// How much to reserve for a claimed length.
fn believable(count: u64) -> usize {
    count.min(64) as usize
}

/// Writing to a vector has no error to report.
fn vec_cannot_fail<T>(written: Result<T, minicbor::encode::Error<std::convert::Infallible>>) {
    debug_assert!(written.is_ok(), "writing CBOR to a vector failed");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Read<(i64, i64)> {
        let mut reader = Reader::open(bytes)?;
        reader.record(|r| Ok((r.field(Reader::i64)?, r.later(42, Reader::i64)?)))
    }

    fn written(fields: &[i64]) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.record(fields.len() as u64, |w| fields.iter().for_each(|field| w.i64(*field)));
        let mut bytes = Vec::new();
        writer.finish(&mut bytes);
        bytes
    }

    #[test]
    fn a_field_that_yesterdays_writer_did_not_know_has_its_default() {
        assert_eq!(read(&written(&[1])), Ok((1, 42)));
        assert_eq!(read(&written(&[1, 2])), Ok((1, 2)));
        assert_eq!(read(&written(&[1, 2, 3])), Ok((1, 2)));
    }

    #[test]
    fn a_record_without_a_field_of_the_first_version_is_damaged() {
        assert!(read(&written(&[])).is_err());
    }

    #[test]
    fn a_claimed_length_allocates_nothing() {
        let mut bytes = vec![0x82, 0x9b];
        bytes.extend([0xff; 8]);
        assert!(Reader::open(&bytes).is_err());
    }
}
