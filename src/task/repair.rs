//! The way out of a refused partition: a marker that says, on the operator's word, where to go on.
//!
//! Nothing else is touched. The repaired marker wins over whatever offsets are committed, once: the next transaction of the
//! partition commits offsets that agree with it. An instance that holds the blocked partition finds it by itself, within
//! seconds.

use crate::commit::kafka::{CallClock, KafkaLog};
use crate::commit::log::{Changelog, ChangelogPolled, Log, Outgoing, Producer, Transaction};
use crate::commit::marker::Marker;
use crate::customer::keys::marker_key;
use crate::intake::kafka::Onlooker;
use crate::intake::source::{Committed, Inputs};
use crate::task::reconcile::reconcile;
use crate::task::supervisor::EngineSettings;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the operator believes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// The positions in the newest marker of the state topic. What lies behind them is judged, with the state as it is.
    AcceptMarker,
    /// The group's committed offsets. What lies below them counts as judged, though the state may not know of it: its
    /// contacts are missing from the counts.
    AcceptOffsets,
}

const READ_WITHIN: Duration = Duration::from_secs(600);

/// Repairs one partition and says what was done.
///
/// # Errors
/// A partition that needs no repair or does not exist; offsets that are not there to be accepted; a cluster that does not
/// answer.
pub fn run(settings: &EngineSettings, partition: i32, accept: Repair, now_ms: i64) -> Result<String, String> {
    if partition >= settings.inputs.partition_count {
        return Err(format!(
            "there are partitions 0 to {} only",
            settings.inputs.partition_count - 1
        ));
    }
    let onlooker = Onlooker::new(&settings.kafka, settings.inputs.clone()).map_err(|error| error.to_string())?;
    let committed = onlooker.committed(partition).map_err(|error| error.to_string())?;
    let mut log = KafkaLog {
        settings: settings.kafka.clone(),
        // A transactional id of its own: a running worker is not fenced by it.
        worker: usize::MAX,
        inputs: settings.inputs.clone(),
        state_topic: settings.topics.state.to_string(),
        statistics: None,
        call_clock: Arc::new(CallClock::default()),
        origin: Instant::now(),
    };
    let found = newest_marker(&mut log, partition)?;
    if reconcile(&settings.inputs, found.as_ref(), &committed).is_ok() {
        return Err(format!(
            "partition {partition} needs no repair: its marker and its committed offsets agree"
        ));
    }
    let marker = repaired(&settings.inputs, found.as_ref(), &committed, accept, now_ms)?;
    let said = format!(
        "partition {partition} goes on after transaction {} at {}",
        marker.seq,
        marker
            .positions
            .iter()
            .map(|(topic, offset)| format!("{topic}/{offset}"))
            .collect::<Vec<_>>()
            .join(", ")
    );
    let mut records = vec![Outgoing {
        topic: settings.topics.state.clone(),
        partition: Some(partition),
        key: Some(marker_key(partition)),
        value: Some(marker.encode()),
        headers: Vec::new(),
        timestamp_ms: None,
    }];
    records.extend(settings.topics.decisions.clone().map(|topic| Outgoing {
        topic,
        partition: None,
        key: None,
        value: Some(repair_record(&marker, partition, accept, now_ms)),
        headers: Vec::new(),
        timestamp_ms: None,
    }));
    let transaction = Transaction {
        records,
        offsets: Vec::new(),
    };
    let group = onlooker.group().map_err(|error| error.to_string())?;
    let mut producer = log.producer().map_err(|error| error.to_string())?;
    producer
        .commit(&transaction, &group, &settings.topics.state)
        .map_err(|error| error.to_string())?;
    Ok(said)
}

fn repaired(
    inputs: &Inputs,
    found: Option<&Marker>,
    committed: &[Option<Committed>],
    accept: Repair,
    now_ms: i64,
) -> Result<Marker, String> {
    let marker = match (found, accept) {
        (Some(marker), _) => marker.clone(),
        (None, Repair::AcceptMarker) => {
            return Err("the state topic holds no marker for this partition; only --accept offsets is possible".into());
        }
        (None, Repair::AcceptOffsets) => Marker {
            seq: 0,
            lineage: rand::random(),
            partition_count: inputs.partition_count,
            now_ms,
            positions: Vec::new(),
            repaired: true,
            deferred: 0,
            timed_by: None,
        },
    };
    if marker.partition_count != inputs.partition_count {
        return Err(
            "the partition count changed since the state was written: no repair can make up for that; \
                    create the topics anew with the old count, or begin with new topics and a new group"
                .into(),
        );
    }
    let positions = match accept {
        Repair::AcceptMarker => marker.positions.clone(),
        Repair::AcceptOffsets => {
            let known = inputs.topics.iter().zip(committed);
            known
                .filter_map(|((topic, _), offset)| Some((topic.to_string(), offset.as_ref()?.offset)))
                .collect()
        }
    };
    // Newer than anything that the changelog and the offsets name.
    let committed_seqs = committed
        .iter()
        .flatten()
        .filter_map(|offset| crate::commit::marker::parse_metadata(&offset.metadata).map(|(_, seq)| seq));
    let seq = committed_seqs.chain([marker.seq]).max().unwrap_or(0).saturating_add(1);
    Ok(Marker {
        seq,
        positions,
        repaired: true,
        ..marker
    })
}

fn newest_marker(log: &mut KafkaLog, partition: i32) -> Result<Option<Marker>, String> {
    let mut changelog = log.changelog().map_err(|error| error.to_string())?;
    let (low, high) = changelog.bounds(partition).map_err(|error| error.to_string())?;
    let key = marker_key(partition);
    let (mut position, mut newest) = (low, None);
    if low < high {
        changelog.open(partition, low).map_err(|error| error.to_string())?;
    }
    let timer = Instant::now();
    while position < high {
        if timer.elapsed() > READ_WITHIN {
            return Err("the state topic could not be read to its end in ten minutes".into());
        }
        let mut polled = Vec::new();
        changelog
            .poll(&mut polled, 10_000, Duration::from_millis(100))
            .map_err(|error| error.to_string())?;
        for (_, polled) in polled {
            match polled {
                ChangelogPolled::Entry(entry) => {
                    position = entry.offset.saturating_add(1);
                    if entry.key == key {
                        newest = entry.value;
                    }
                }
                ChangelogPolled::End(offset) => position = position.max(offset),
                ChangelogPolled::OutOfRange => return Err("the state topic changed while it was read".into()),
            }
        }
    }
    newest
        .map(|bytes| Marker::decode(&bytes))
        .transpose()
        .map_err(|error| error.to_string())
}

fn repair_record(marker: &Marker, partition: i32, accept: Repair, now_ms: i64) -> Vec<u8> {
    let accepted = match accept {
        Repair::AcceptMarker => "marker",
        Repair::AcceptOffsets => "offsets",
    };
    let positions: serde_json::Map<String, serde_json::Value> = marker
        .positions
        .iter()
        .map(|(topic, offset)| (topic.clone(), (*offset).into()))
        .collect();
    let at = String::from_utf8_lossy(&crate::message::time::rfc3339(now_ms)).into_owned();
    serde_json::json!({
        "repair": { "partition": partition, "accepted": accepted, "seq": marker.seq, "positions": positions, "at": at }
    })
    .to_string()
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::source::{InputKind, StartAt};
    use crate::task::reconcile::Resume;

    fn inputs() -> Inputs {
        Inputs {
            topics: vec![
                ("intents".into(), InputKind::Intents),
                ("engagement".into(), InputKind::Engagement),
            ],
            partition_count: 2,
        }
    }

    fn marker() -> Marker {
        Marker {
            seq: 5,
            lineage: [1; 16],
            partition_count: 2,
            now_ms: 7,
            positions: vec![("intents".into(), 10)],
            repaired: false,
            deferred: 0,
            timed_by: None,
        }
    }

    fn by_hand() -> Vec<Option<Committed>> {
        vec![
            Some(Committed {
                offset: 3,
                metadata: String::new(),
            }),
            None,
        ]
    }

    fn positions_after(accept: Repair) -> Vec<StartAt> {
        let repaired = repaired(&inputs(), Some(&marker()), &by_hand(), accept, 9).unwrap();
        match reconcile(&inputs(), Some(&repaired), &by_hand()) {
            Ok(Resume::At { positions, .. }) => positions,
            other => panic!("not repaired: {other:?}"),
        }
    }

    #[test]
    fn an_accepted_marker_goes_on_where_the_changelog_ends() {
        assert_eq!(
            positions_after(Repair::AcceptMarker),
            [StartAt::Offset(10), StartAt::Beginning]
        );
    }

    #[test]
    fn accepted_offsets_go_on_where_the_group_stands() {
        assert_eq!(
            positions_after(Repair::AcceptOffsets),
            [StartAt::Offset(3), StartAt::Beginning]
        );
    }

    #[test]
    fn a_changed_partition_count_cannot_be_repaired() {
        let other = Marker {
            partition_count: 3,
            ..marker()
        };
        assert!(repaired(&inputs(), Some(&other), &by_hand(), Repair::AcceptMarker, 9).is_err());
    }

    #[test]
    fn without_a_marker_only_offsets_can_be_accepted() {
        assert!(repaired(&inputs(), None, &by_hand(), Repair::AcceptMarker, 9).is_err());
        assert!(repaired(&inputs(), None, &by_hand(), Repair::AcceptOffsets, 9).is_ok());
    }
}
