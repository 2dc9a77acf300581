//! Kafka's wire protocol, as far as a relay has to know it: where a frame ends, what was asked, and which answer belongs to it.
//! Pure: bytes in, frames and treatments out.

use std::collections::HashMap;
use std::time::Duration;

/// No frame is larger; a length above it means that this is not Kafka's protocol.
const FRAME_LIMIT_BYTES: usize = 256 << 20;

/// A kind of request, by its number in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Api {
    pub key: i16,
    pub name: &'static str,
}

impl Api {
    const fn new(key: i16, name: &'static str) -> Self {
        Self { key, name }
    }

    pub const PRODUCE: Self = Self::new(0, "Produce");
    pub const LIST_OFFSETS: Self = Self::new(2, "ListOffsets");
    pub const ADD_PARTITIONS_TO_TXN: Self = Self::new(24, "AddPartitionsToTxn");
    pub const ADD_OFFSETS_TO_TXN: Self = Self::new(25, "AddOffsetsToTxn");
    pub const END_TXN: Self = Self::new(26, "EndTxn");
    pub const TXN_OFFSET_COMMIT: Self = Self::new(28, "TxnOffsetCommit");
}

/// Bytes of one direction, cut into frames. A frame keeps its length in front.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
}

impl Frames {
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame, if it is there.
    ///
    /// # Errors
    /// The length that no frame has.
    pub fn next(&mut self) -> Result<Option<Vec<u8>>, i64> {
        let Some(head) = self.bytes.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = i32::from_be_bytes(*head);
        let body = usize::try_from(length).map_err(|_| i64::from(length))?;
        if body > FRAME_LIMIT_BYTES {
            return Err(i64::from(length));
        }
        if self.bytes.len() < 4 + body {
            return Ok(None);
        }
        let rest = self.bytes.split_off(4 + body);
        Ok(Some(std::mem::replace(&mut self.bytes, rest)))
    }
}

/// What was asked on one connection and is not answered yet.
#[derive(Debug, Default)]
pub struct Conversation {
    /// Kind of request by correlation id.
    asked: HashMap<i32, i16>,
}

impl Conversation {
    /// Remembers a request: its kind.
    pub fn asks(&mut self, frame: &[u8]) -> Option<i16> {
        let key = i16::from_be_bytes(*frame.get(4..)?.first_chunk()?);
        let correlation_id = i32::from_be_bytes(*frame.get(8..)?.first_chunk()?);
        self.asked.insert(correlation_id, key);
        Some(key)
    }

    /// What this answer is an answer to.
    pub fn answers(&mut self, frame: &[u8]) -> Option<i16> {
        let correlation_id = i32::from_be_bytes(*frame.get(4..)?.first_chunk()?);
        self.asked.remove(&correlation_id)
    }
}

/// What is done to the requests or the answers of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// The broker does what it was asked; its answer never arrives, and the connection stays.
    LoseAnswer,
    /// The broker does what it was asked; instead of its answer comes the end of the connection.
    CutBeforeAnswer,
    /// The answer comes late.
    DelayAnswer(Duration),
    /// The connection ends before the broker has got the request.
    CutBeforeRequest,
    /// The connection ends, and the request arrives all the same, later: after the client has asked again.
    LateRequest(Duration),
}

/// One order to the relays of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub api: Api,
    pub harm: Harm,
    /// How many frames are still to be harmed.
    pub left: u32,
    /// How many were.
    pub done: u32,
}

/// What a relay does with one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    Pass,
    /// The frame is dropped.
    Swallow,
    /// The frame is dropped and the connection ends.
    Cut,
    /// The frame and all behind it wait.
    Wait(Duration),
    /// The client's side of the connection ends now; the frame goes on after this time.
    CutAndHold(Duration),
}

impl Order {
    pub fn new(api: Api, harm: Harm, times: u32) -> Self {
        Self {
            api,
            harm,
            left: times,
            done: 0,
        }
    }

    /// A request goes by.
    pub fn on_request(&mut self, key: i16) -> Treatment {
        match self.harm {
            Harm::CutBeforeRequest => self.treat(key, Treatment::Cut),
            Harm::LateRequest(late) => self.treat(key, Treatment::CutAndHold(late)),
            _ => Treatment::Pass,
        }
    }

    /// An answer goes by.
    pub fn on_answer(&mut self, key: i16) -> Treatment {
        match self.harm {
            Harm::LoseAnswer => self.treat(key, Treatment::Swallow),
            Harm::CutBeforeAnswer => self.treat(key, Treatment::Cut),
            Harm::DelayAnswer(delay) => self.treat(key, Treatment::Wait(delay)),
            _ => Treatment::Pass,
        }
    }

    fn treat(&mut self, key: i16, treatment: Treatment) -> Treatment {
        if key != self.api.key || self.left == 0 {
            return Treatment::Pass;
        }
        self.left -= 1;
        self.done += 1;
        treatment
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request as a client writes it: length, kind, version, correlation id, and a body.
    fn request(key: i16, correlation_id: i32, body: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        frame.extend(i32::try_from(8 + body.len()).expect("small").to_be_bytes());
        frame.extend(key.to_be_bytes());
        frame.extend(3_i16.to_be_bytes());
        frame.extend(correlation_id.to_be_bytes());
        frame.extend(body);
        frame
    }

    fn answer(correlation_id: i32, body: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        frame.extend(i32::try_from(4 + body.len()).expect("small").to_be_bytes());
        frame.extend(correlation_id.to_be_bytes());
        frame.extend(body);
        frame
    }

    #[test]
    fn frames_are_found_however_the_bytes_are_cut() {
        let all = [
            request(26, 1, b"body"),
            answer(7, b""),
            request(0, 2, &[9; 300]),
            answer(1, b"x"),
        ];
        let bytes = all.concat();
        for cut in 1..bytes.len() {
            let mut frames = Frames::default();
            let mut found = Vec::new();
            for piece in bytes.chunks(cut) {
                frames.push(piece);
                while let Some(frame) = frames.next().expect("a frame") {
                    found.push(frame);
                }
            }
            assert_eq!(found, all);
        }
    }

    #[test]
    fn a_length_that_no_frame_has_is_an_error() {
        for head in [(-1_i32).to_be_bytes(), i32::MAX.to_be_bytes()] {
            let mut frames = Frames::default();
            frames.push(&head);
            assert_eq!(frames.next(), Err(i64::from(i32::from_be_bytes(head))));
        }
    }

    #[test]
    fn an_answer_is_known_by_what_was_asked_and_only_once() {
        let mut conversation = Conversation::default();
        assert_eq!(conversation.asks(&request(26, 11, b"end")), Some(26));
        assert_eq!(conversation.asks(&request(28, 12, b"offsets")), Some(28));
        assert_eq!(conversation.answers(&answer(12, b"ok")), Some(28));
        assert_eq!(conversation.answers(&answer(11, b"ok")), Some(26));
        assert_eq!(conversation.answers(&answer(11, b"ok")), None);
        assert_eq!(conversation.answers(&answer(99, b"ok")), None);
        assert_eq!(conversation.asks(&[0, 0, 0, 2, 0, 26]), None, "too short");
    }

    #[test]
    fn an_order_harms_its_own_kind_on_its_own_way_and_so_often() {
        let end = Api::END_TXN.key;
        let mut lose = Order::new(Api::END_TXN, Harm::LoseAnswer, 2);
        assert_eq!(lose.on_request(end), Treatment::Pass);
        assert_eq!(lose.on_answer(Api::PRODUCE.key), Treatment::Pass);
        let answers: Vec<_> = (0..3).map(|_| lose.on_answer(end)).collect();
        assert_eq!(answers, [Treatment::Swallow, Treatment::Swallow, Treatment::Pass]);
        assert_eq!((lose.left, lose.done), (0, 2));

        let late = Duration::from_secs(1);
        let mut held = Order::new(Api::END_TXN, Harm::LateRequest(late), 1);
        assert_eq!(held.on_answer(end), Treatment::Pass);
        assert_eq!(held.on_request(end), Treatment::CutAndHold(late));
        assert_eq!(held.on_request(end), Treatment::Pass);
        assert_eq!(held.done, 1);
    }
}
