//! A queue of our own in front of several input partitions, read in batches: the only `unsafe` code of `intake`.
//!
//! Why: the safe client has one queue for everything, so engagement (which must be read ahead, the consent barrier) would
//! stand behind whatever intents were fetched first; and its end-of-partition event does not say which topic ended.
//! Facts about the calls: <https://docs.confluent.io/platform/current/clients/librdkafka/html/rdkafka_8h.html>.
//!
//! What must stay true: a queue never outlives the client it was made from (it holds the owner), it is polled from one thread at
//! a time (`&mut self`), and every message that a batch call hands out is destroyed exactly once, by [`Message`]'s drop.

#![allow(unsafe_code)]

use crate::intake::source::Headers;
use rdkafka::bindings as sys;
use rdkafka::types::RDKafkaRespErr;
use std::ffi::{CStr, CString, c_void};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

/// Gives the native handle of a client, valid as long as the value lives.
pub trait NativeClient {
    /// Valid as long as `self` lives, and always the same.
    fn native_handle(&self) -> *mut sys::rd_kafka_t;
}

/// A batch-polled queue that input partitions are forwarded to.
pub struct Queue<C: NativeClient> {
    raw: *mut sys::rd_kafka_queue_t,
    owner: Arc<C>,
    batch: Vec<*mut sys::rd_kafka_message_t>,
}

// SAFETY: librdkafka's queues may be used from any thread; the pointers in `batch` are only alive inside `poll`.
unsafe impl<C: NativeClient + Send + Sync> Send for Queue<C> {}

/// One message, or one event about a partition (`error`).
pub struct Message {
    raw: *mut sys::rd_kafka_message_t,
}

impl<C: NativeClient> Queue<C> {
    /// A new, empty queue of this client.
    pub fn new(owner: Arc<C>) -> Self {
        // SAFETY: the handle is valid while `owner` lives, and this queue keeps it alive.
        let raw = unsafe { sys::rd_kafka_queue_new(owner.native_handle()) };
        Self {
            raw,
            owner,
            batch: Vec::new(),
        }
    }

    /// Sends what is fetched of one partition here. Has to be called at every assignment: an unassignment takes the
    /// forward away but keeps its flag, and the partition would deliver nowhere.
    pub fn forward(&self, topic: &str, partition: i32) {
        let Ok(topic) = CString::new(topic) else { return };
        // SAFETY: the handle and `self.raw` are valid; the partition queue's reference is given back right after.
        unsafe {
            let from = sys::rd_kafka_queue_get_partition(self.owner.native_handle(), topic.as_ptr(), partition);
            if !from.is_null() {
                sys::rd_kafka_queue_forward(from, self.raw);
                sys::rd_kafka_queue_destroy(from);
            }
        }
    }

    /// Hands up to `most` messages to `take`. Waits at most `wait` for the first, and not at all for more.
    pub fn poll(&mut self, most: usize, wait: Duration, mut take: impl FnMut(Message)) -> usize {
        let mut taken = 0;
        if !wait.is_zero() {
            taken += self.poll_once(1, wait, &mut take);
            if taken == 0 {
                return 0;
            }
        }
        while taken < most {
            let got = self.poll_once((most - taken).min(1_000), Duration::ZERO, &mut take);
            if got == 0 {
                break;
            }
            taken += got;
        }
        taken
    }

    fn poll_once(&mut self, most: usize, wait: Duration, take: &mut impl FnMut(Message)) -> usize {
        self.batch.clear();
        self.batch.resize(most, ptr::null_mut());
        let wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: `batch` has room for `most` pointers; the call fills a prefix of it with messages that are ours.
        let got = unsafe { sys::rd_kafka_consume_batch_queue(self.raw, wait_ms, self.batch.as_mut_ptr(), most) };
        let got = usize::try_from(got).unwrap_or(0);
        for raw in self.batch.drain(..).take(got) {
            take(Message { raw });
        }
        got
    }
}

impl<C: NativeClient> Drop for Queue<C> {
    fn drop(&mut self) {
        // SAFETY: made by `rd_kafka_queue_new`, destroyed once, before the owner.
        unsafe { sys::rd_kafka_queue_destroy(self.raw) };
    }
}

impl Message {
    /// Set where this is not a record but an event about the partition (its end, an error).
    pub fn error(&self) -> Option<RDKafkaRespErr> {
        // SAFETY: `raw` is a live message.
        let error = unsafe { (*self.raw).err };
        (error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).then_some(error)
    }

    /// The partition that it was read from.
    pub fn partition(&self) -> i32 {
        // SAFETY: as above.
        unsafe { (*self.raw).partition }
    }

    /// Its offset; of an end of partition, the offset where the next record will stand.
    pub fn offset(&self) -> i64 {
        // SAFETY: as above.
        unsafe { (*self.raw).offset }
    }

    /// Empty where the event names no topic.
    pub fn topic(&self) -> &str {
        // SAFETY: as above; the topic handle lives as long as the message, its name is valid UTF-8 (Kafka's charset).
        unsafe {
            if (*self.raw).rkt.is_null() {
                return "";
            }
            CStr::from_ptr(sys::rd_kafka_topic_name((*self.raw).rkt))
                .to_str()
                .unwrap_or("")
        }
    }

    /// The time that the record carries; -1: none.
    pub fn timestamp_ms(&self) -> i64 {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: as above; `kind` is written only.
        unsafe { sys::rd_kafka_message_timestamp(self.raw, &mut kind) }
    }

    /// The time is that of the append, which the broker gives, and not the producer's.
    pub fn has_append_time(&self) -> bool {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: as above; `kind` is written only.
        unsafe { sys::rd_kafka_message_timestamp(self.raw, &mut kind) };
        kind == sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME
    }

    /// The key; none: null.
    pub fn key(&self) -> Option<&[u8]> {
        // SAFETY: the key stands in the fetch buffer, which lives as long as the message.
        unsafe { bytes((*self.raw).key, (*self.raw).key_len) }
    }

    /// The value; none: null.
    pub fn value(&self) -> Option<&[u8]> {
        // SAFETY: as for the key. (On an event the payload is an error text; callers look at `error` first.)
        unsafe { bytes((*self.raw).payload, (*self.raw).len) }
    }

    /// A copy of the headers, in order. A name that is not UTF-8 is read with replacement characters.
    pub fn headers(&self) -> Headers {
        let mut headers = Vec::new();
        let mut raw = ptr::null_mut();
        // SAFETY: `raw` stays owned by the message; names and values live as long as it does, and are copied here.
        unsafe {
            if sys::rd_kafka_message_headers(self.raw, &mut raw) != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                return headers;
            }
            let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            while sys::rd_kafka_header_get_all(raw, headers.len(), &mut name, &mut value, &mut size)
                == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
            {
                let name = CStr::from_ptr(name).to_string_lossy().into_owned();
                headers.push((name, bytes(value, size).map(<[u8]>::to_vec)));
            }
        }
        headers
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: handed out once by the batch call, destroyed once.
        unsafe { sys::rd_kafka_message_destroy(self.raw) };
    }
}

/// # Safety
/// `data` is null or points to `size` bytes that live as long as the caller's borrow.
unsafe fn bytes<'a>(data: *const c_void, size: usize) -> Option<&'a [u8]> {
    // SAFETY: not null, and the bytes live as long as the caller says.
    (!data.is_null()).then(|| unsafe { std::slice::from_raw_parts(data.cast::<u8>(), size) })
}
