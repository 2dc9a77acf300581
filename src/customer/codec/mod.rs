//! State bytes: what the values of a customer look like in the store and in the changelog.
//!
//! Every value begins with two bytes: the format that wrote it and the oldest reader that may read it. A reader older than
//! that refuses, because guessing would be worse than stopping (P7). A writer that only adds fields at the end of records
//! leaves the oldest reader as it is; one that adds a kind, a state or another meaning raises it.
//!
//! | value | after the prefix |
//! |---|---|
//! | head | 8 bytes: the earliest due instant (big-endian; the greatest number: none), then `[names, head]` |
//! | history segment | `[names, contacts]` |
//! | waiting body | `[names, record]` |
//! | erased | `[names, record]`, nothing in it today |

mod parts;
mod wire;

use crate::customer::record::{Contact, WaitingBody};
use crate::customer::{Customer, record};
use crate::message::Name;
pub use wire::CodecError;
use wire::{Read, Reader, Writer};

/// The format that this version writes.
pub const FORMAT: u8 = 1;
/// The oldest reader that may read what this version writes.
pub const OLDEST_READER: u8 = 1;

/// One month of the ledger that lies outside the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MonthCount {
    /// UTC month, counted from January 1970.
    pub month: i32,
    /// Contacts in its segment.
    pub count: u32,
}

/// The head value. `months` are the segments that hold the older contacts; `contacts` are the ones of the head.
pub fn encode_head(customer: &Customer, months: &[MonthCount], contacts: &[Contact]) -> Vec<u8> {
    let mut bytes = prefix(512);
    bytes.extend_from_slice(&customer.next_due_ms().unwrap_or(i64::MAX).to_be_bytes());
    let mut writer = new_writer();
    parts::write_head(&mut writer, customer, months, contacts);
    writer.finish(&mut bytes);
    bytes
}

/// Reads a head value: the customer with the contacts of the head only, and the segments that hold the others.
pub fn decode_head(id: Name, bytes: &[u8]) -> Result<(Customer, Vec<MonthCount>), CodecError> {
    let body = after_prefix(bytes)?;
    let (_, body) = body
        .split_first_chunk::<8>()
        .ok_or(CodecError::Corrupt("a head without due instant"))?;
    whole(body, |reader| parts::read_head(reader, id))
}

/// The earliest due instant in a head value; none: nothing waits, or these are not the bytes of a head.
pub fn head_due_ms(value: &[u8]) -> Option<i64> {
    let (due, _) = after_prefix(value).ok()?.split_first_chunk::<8>()?;
    Some(i64::from_be_bytes(*due)).filter(|due_ms| *due_ms != i64::MAX)
}

/// One month's segment of the ledger.
pub fn encode_segment(contacts: &[Contact]) -> Vec<u8> {
    let mut bytes = prefix(64 * contacts.len());
    let mut writer = new_writer();
    parts::write_contacts(&mut writer, contacts);
    writer.finish(&mut bytes);
    bytes
}

/// Reads a segment.
pub fn decode_segment(bytes: &[u8]) -> Result<Vec<Contact>, CodecError> {
    whole(after_prefix(bytes)?, parts::read_contacts)
}

/// The record of a waiting intent.
pub fn encode_waiting_body(body: &WaitingBody) -> Vec<u8> {
    let mut bytes = prefix(body.value.len() + 128);
    let mut writer = new_writer();
    parts::write_waiting_body(&mut writer, body);
    writer.finish(&mut bytes);
    bytes
}

/// Reads the record of a waiting intent.
pub fn decode_waiting_body(bytes: &[u8]) -> Result<WaitingBody, CodecError> {
    whole(after_prefix(bytes)?, parts::read_waiting_body)
}

/// What stays of an erased customer.
pub fn encode_erased() -> Vec<u8> {
    let mut bytes = prefix(4);
    let mut writer = new_writer();
    writer.record(0, |_| ());
    writer.finish(&mut bytes);
    bytes
}

/// Checks the value of an erased entry.
pub fn decode_erased(bytes: &[u8]) -> Result<(), CodecError> {
    whole(after_prefix(bytes)?, |reader| reader.record(|_| Ok(())))
}

/// The error that says so, where a later version wrote the value and this one must not read it; whatever else the value is.
pub fn newer_format(value: &[u8]) -> Option<CodecError> {
    after_prefix(value)
        .err()
        .filter(|error| matches!(error, CodecError::TooNew { .. }))
}

fn prefix(room: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16 + room);
    bytes.extend_from_slice(&[FORMAT, OLDEST_READER]);
    bytes
}

fn after_prefix(bytes: &[u8]) -> Read<&[u8]> {
    let ([format, oldest_reader], body) = bytes
        .split_first_chunk::<2>()
        .ok_or(CodecError::Corrupt("a value without format"))?;
    if *oldest_reader > FORMAT {
        return Err(CodecError::TooNew {
            format: *format,
            oldest_reader: *oldest_reader,
            reader: FORMAT,
        });
    }
    if *oldest_reader == 0 || format < oldest_reader {
        return Err(CodecError::Corrupt("a format that does not exist"));
    }
    Ok(body)
}

fn whole<'b, T>(bytes: &'b [u8], read: impl FnOnce(&mut Reader<'b>) -> Read<T>) -> Read<T> {
    let mut reader = Reader::open(bytes)?;
    let value = read(&mut reader)?;
    reader.finish()?;
    Ok(value)
}

#[cfg(not(test))]
fn new_writer() -> Writer {
    Writer::new()
}

#[cfg(test)]
thread_local! {
    /// How many fields a pretended later version adds to every record that this thread writes.
    pub(crate) static LATER_FIELDS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
fn new_writer() -> Writer {
    let mut writer = Writer::new();
    writer.later_fields = LATER_FIELDS.get();
    writer
}

/// Numbers of enumerated values in the bytes: part of the format.
trait Numbered: Copy + 'static {
    const ALL: &'static [Self];
    fn number(self) -> i64;

    fn from_number(number: i64) -> Read<Self> {
        let found = Self::ALL.iter().find(|value| value.number() == number);
        found.copied().ok_or(CodecError::Corrupt("a kind that does not exist"))
    }
}

impl Numbered for record::Standing {
    const ALL: &'static [Self] = &[Self::Active, Self::DoNotContact, Self::Erased];
    fn number(self) -> i64 {
        match self {
            Self::Active => 0,
            Self::DoNotContact => 1,
            Self::Erased => 2,
        }
    }
}

impl Numbered for record::ContactState {
    const ALL: &'static [Self] = &[
        Self::Reserved,
        Self::Sent,
        Self::Delivered,
        Self::Released,
        Self::Failed,
    ];
    fn number(self) -> i64 {
        self as i64
    }
}

impl Numbered for crate::message::Basis {
    const ALL: &'static [Self] = &[Self::Express, Self::Purchase, Self::Inquiry];
    fn number(self) -> i64 {
        self as i64
    }
}

impl Numbered for crate::message::EventKind {
    const ALL: &'static [Self] = &[
        Self::Sent,
        Self::Delivered,
        Self::Failed,
        Self::BouncedSoft,
        Self::BouncedHard,
        Self::Opened,
        Self::Clicked,
        Self::Replied,
        Self::Converted,
        Self::Declined,
        Self::Complained,
        Self::Unsubscribed,
        Self::Resubscribed,
        Self::ConsentGranted,
        Self::ConsentWithdrawn,
        Self::PreferencesSet,
        Self::ProfileSet,
        Self::ContactedElsewhere,
        Self::InboundContact,
        Self::IssueOpened,
        Self::IssueClosed,
        Self::IntentCancelled,
        Self::Erased,
        Self::DoNotContact,
    ];
    fn number(self) -> i64 {
        self as i64
    }
}
