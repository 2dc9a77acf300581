//! What a record says, and when it was approved.

use super::*;

#[test]
fn a_swapped_header_is_found() {
    let mut world = right_run();
    let (partition, record) = world.records("approved.email").next().expect("an approval");
    record.headers.swap(0, 1);
    let at = format!("approved.email/{partition}/{}", record.offset);
    let report = world.audit();
    assert_names(&report, Promise::Contract, &at, "headers of the input");
    assert_names(&report, Promise::P5, &at, "");
}

#[test]
fn a_changed_byte_is_found() {
    let mut world = right_run();
    let (partition, record) = world.records("approved.email").next().expect("an approval");
    record.value.as_mut().expect("a value").push(b' ');
    let at = format!("approved.email/{partition}/{}", record.offset);
    assert_names(&world.audit(), Promise::Contract, &at, "byte for byte");
}

#[test]
fn an_approval_before_the_planned_time_is_found() {
    let mut world = right_run();
    let (partition, record) = world.records("approved.email").next().expect("an approval");
    let at = format!("approved.email/{partition}/{}", record.offset);
    let id = decision_id(record);
    let place: Vec<&str> = id.split('/').collect();
    let (topic, offset) = (place[0].to_owned(), place[2].parse::<i64>().expect("an offset"));
    let mut inputs = world.records(&topic);
    let is_it = |(partition, record): &(usize, &mut LogRecord)| {
        *partition == place[1].parse::<usize>().expect("a partition") && record.offset == offset
    };
    let (_, input) = inputs.find(is_it).expect("the intent");
    let text = String::from_utf8(input.value.clone().expect("a value")).expect("a text");
    input.value = Some(
        text.replacen('{', r#"{"not_before":"2999-01-01T00:00:00Z","#, 1)
            .into_bytes(),
    );
    drop(inputs);
    assert_names(&world.audit(), Promise::Contract, &at, "before its planned time");
}
