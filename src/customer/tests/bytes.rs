use super::*;
use crate::customer::codec::{self, LATER_FIELDS};
use crate::customer::keys::*;
use proptest::prelude::*;

#[test]
fn what_was_stored_loads_as_the_same_customer() {
    let mut values = Values::new();
    let mut customer = full();
    store(&mut customer, &mut values);
    let loaded = load(&values);
    assert_eq!(loaded, customer);
    let read = &mut |key: &[u8]| Ok::<_, ()>(values.get(key).cloned());
    assert_eq!(loaded.waiting_body(&coordinates(7), read), Ok(Some(body())));
}

#[test]
fn a_customer_that_did_not_change_writes_nothing() {
    let mut values = Values::new();
    let mut customer = full();
    store(&mut customer, &mut values);
    assert_eq!(store(&mut customer, &mut values), Vec::<Vec<u8>>::new());
    assert_eq!(store(&mut load(&values), &mut values), Vec::<Vec<u8>>::new());
    assert_eq!(store(&mut fresh(), &mut values), Vec::<Vec<u8>>::new());
}

#[test]
fn todays_reader_skips_what_a_later_writer_adds_to_records() {
    let mut values = Values::new();
    let mut customer = full();
    LATER_FIELDS.set(2);
    store(&mut customer, &mut values);
    LATER_FIELDS.set(0);
    let loaded = load(&values);
    assert_eq!(loaded, customer);
    let read = &mut |key: &[u8]| Ok::<_, ()>(values.get(key).cloned());
    assert_eq!(loaded.waiting_body(&coordinates(7), read), Ok(Some(body())));
}

/// Values as the first version wrote them. If this test fails, stores in the field became unreadable.
#[test]
fn the_first_format_stays_readable() {
    let segment = codec::decode_segment(&from_hex(SEGMENT_FORMAT_1)).expect("a segment of the first version");
    assert_eq!(segment, [contact("i", "email", 1_700_000_000_000)]);
    let mut written = full();
    written.changes(&SECRET);
    let head = from_hex(include_str!("head-format-1.hex").trim_end());
    let (head, months) = codec::decode_head(name("c1"), &head).expect("a head of the first version");
    let in_segments: u32 = months.iter().map(|month| month.count).sum();
    written.contacts.drain(..in_segments as usize);
    // The versions that wrote it forgot a refusal once a grant had lifted it.
    written.consents.remove(0);
    assert_eq!(head, written);
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .chars()
        .map(|digit| digit.to_digit(16).expect("hex") as u8)
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
fn a_value_that_needs_a_later_reader_is_refused_with_the_way_out() {
    let mut values = Values::new();
    store(&mut full(), &mut values);
    let head = values.get_mut(&head_key("c1")).expect("there is a head");
    head[0] = 3;
    head[1] = 2;
    let error = try_load(&values).expect_err("too new").to_string();
    assert!(
        error.contains("format 3") && error.contains("run the version that wrote it"),
        "{error}"
    );
    let head = values.get_mut(&head_key("c1")).expect("there is a head");
    head[1] = 1;
    assert!(try_load(&values).is_ok(), "a later format that today's reader may read");
}

#[test]
fn a_missing_or_shortened_segment_is_an_error_and_never_a_shorter_ledger() {
    let mut values = Values::new();
    store(&mut full(), &mut values);
    let segment = values
        .keys()
        .find(|key| matches!(parse_key(key), Some(Key::History { .. })))
        .cloned();
    let segment = segment.expect("old contacts lie in segments");
    let bytes = values.remove(&segment).expect("there");
    assert!(try_load(&values).is_err());
    values.insert(segment.clone(), bytes[..bytes.len() - 1].to_vec());
    assert!(try_load(&values).is_err());
    values.insert(segment, codec::encode_segment(&[]));
    assert!(try_load(&values).is_err());
}

#[test]
fn the_due_instant_is_read_from_the_head_value_without_decoding_it() {
    let mut values = Values::new();
    let mut customer = full();
    store(&mut customer, &mut values);
    let key = head_key("c1");
    assert_eq!(due_of(&key, &values[&key]), Some((NOW_MS + DAY_MS, "c1")));
    customer.remove_waiting(&coordinates(7));
    customer.unconfirmed_due_ms = None;
    store(&mut customer, &mut values);
    assert_eq!(due_of(&key, &values[&key]), None);
    assert_eq!(due_of(&marker_key(3), &values[&key]), None);
}

#[test]
fn months_are_calendar_months_in_utc() {
    for (at_ms, month) in [
        (0, 0),
        (-1, -1),
        (31 * DAY_MS - 1, 0),
        (31 * DAY_MS, 1),
        (951_782_400_000, 361),   // 2000-02-29
        (951_868_800_000, 362),   // 2000-03-01
        (1_767_225_599_999, 671), // 2025-12-31T23:59:59.999
        (1_767_225_600_000, 672), // 2026-01-01
    ] {
        assert_eq!(month_of(at_ms), month, "{at_ms}");
    }
}

#[test]
fn a_keyed_hash_is_hmac_sha_256_and_differs_by_secret() {
    assert_eq!(erased_hash(&SECRET, "c1"), erased_hash(&SECRET, "c1"));
    assert_ne!(erased_hash(&SECRET, "c1"), erased_hash(&SECRET, "c2"));
    assert_ne!(erased_hash(&SECRET, "c1"), erased_hash(&[0; 16], "c1"));
    // Computed with another implementation of HMAC.
    let hex: String = erased_hash(&[0; 16], "")
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(hex, "b613679a0814d9ec772f95d778c35fc5");
}

proptest! {
    #[test]
    fn a_key_parses_back_to_what_it_was_made_of(id in ".{0,40}", topic in "[a-z.]{1,20}", partition: i32, offset: i64, month: i32) {
        let origin = DecisionCoordinates { topic: name(&topic), partition, offset, attempt: 0 };
        let hash = erased_hash(&SECRET, &id);
        let made = [
            (head_key(&id), Key::Head { customer_id: &id }),
            (history_key(&id, month), Key::History { customer_id: &id, month }),
            (waiting_body_key(&id, &origin), Key::WaitingBody { customer_id: &id, origin: origin.clone() }),
            (marker_key(partition), Key::Marker { partition }),
            (erased_key(&SECRET, &id), Key::Erased { hash }),
            (capacity_key(partition, &id), Key::Capacity { partition, rule: &id }),
        ];
        for (key, expected) in &made {
            let parsed = parse_key(key);
            prop_assert_eq!(parsed.as_ref(), Some(expected));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), prefixed: bool) {
        let mut value = if prefixed { vec![1, 1] } else { Vec::new() };
        value.extend(&bytes);
        let _ = parse_key(&bytes);
        let _ = due_of(&bytes, &value);
        let _ = codec::decode_head(name("c1"), &value);
        let _ = codec::decode_segment(&value);
        let _ = codec::decode_waiting_body(&value);
        let _ = codec::decode_erased(&value);
    }

    #[test]
    fn damaged_values_never_panic(position in 0_usize..4_000, byte: u8, cut in 0_usize..4_000) {
        let mut values = Values::new();
        store(&mut full(), &mut values);
        for value in values.values_mut() {
            if let Some(place) = value.get_mut(position) {
                *place = byte;
            }
        }
        let _ = try_load(&values);
        for value in values.values_mut() {
            value.truncate(cut);
        }
        let _ = try_load(&values);
    }
}

const SEGMENT_FORMAT_1: &str = concat!(
    "010182896f666f72626561722e696e74656e747365656d61696c656361726473696d61726b6574696e676863616d706169676e66737072696e67",
    "64676f6c646161616281901b0000018bcfe5680000f61b2c022d030ff25ace8400031b0000018bcfe56800000102030405f6f606820708190",
    "7d0f6",
);
