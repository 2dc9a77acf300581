//! Whether the state of a partition is proven complete: the marker in the changelog against the group's committed offsets.
//! Pure. Whatever does not match is refused with the reason; `forbear repair` is the way out.

use crate::commit::marker::{Lineage, Marker, parse_metadata};
use crate::intake::source::{Committed, Inputs, StartAt};

/// Where a task goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resume {
    /// Nothing was ever committed: begin, with a new lineage.
    Fresh,
    At {
        seq: u64,
        lineage: Lineage,
        now_ms: i64,
        deferred: u64,
        timed_by: Option<[u8; 32]>,
        positions: Vec<StartAt>,
    },
}

/// Compares the newest marker of the restored state with the committed offsets (in the order of the inputs).
///
/// # Errors
/// Why the state cannot be proven, as a sentence for `/readyz` and the log.
pub fn reconcile(inputs: &Inputs, marker: Option<&Marker>, committed: &[Option<Committed>]) -> Result<Resume, String> {
    let Some(marker) = marker else {
        return match committed.iter().any(Option::is_some) {
            true => Err(
                "offsets are committed, but the changelog holds no marker: the state topic lost its records \
                         or was made anew"
                    .into(),
            ),
            false => Ok(Resume::Fresh),
        };
    };
    if marker.partition_count != inputs.partition_count {
        return Err(format!(
            "the partition count was {} when the state was written and is {} now: customers would change owners",
            marker.partition_count, inputs.partition_count
        ));
    }
    let position = |topic: &str| {
        marker
            .positions
            .iter()
            .find(|(name, _)| name == topic)
            .map(|(_, offset)| *offset)
    };
    let nothing_committed = committed.iter().all(Option::is_none);
    let mut later = vec![None; committed.len()];
    if !nothing_committed && !marker.repaired {
        for (index, ((topic, _), committed)) in inputs.topics.iter().zip(committed).enumerate() {
            later[index] = agree(topic, marker, position(topic), committed.as_ref())?;
        }
    }
    // Nothing committed at all: the offsets expired (or an embedded broker keeps none), and the marker is the proof.
    let positions = inputs
        .topics
        .iter()
        .zip(later)
        .map(|((topic, _), later)| position(topic).or(later).map_or(StartAt::Beginning, StartAt::Offset))
        .collect();
    Ok(Resume::At {
        seq: marker.seq,
        lineage: marker.lineage,
        now_ms: marker.now_ms,
        deferred: marker.deferred,
        timed_by: marker.timed_by,
        positions,
    })
}

/// Checks one topic. Answers its position where only the committed offset knows it.
fn agree(
    topic: &str,
    marker: &Marker,
    position: Option<i64>,
    committed: Option<&Committed>,
) -> Result<Option<i64>, String> {
    let Some(committed) = committed else {
        return match position {
            // A topic that joined the inputs since: it begins at its beginning.
            None => Ok(None),
            Some(_) => Err(format!(
                "{topic} has no committed offset although the changelog covers it: was it made anew, or the partition \
                 blocked for longer than the broker keeps offsets?"
            )),
        };
    };
    let Some((lineage, seq)) = parse_metadata(&committed.metadata) else {
        return Err(format!(
            "the committed offset of {topic} was set by something else than Forbear"
        ));
    };
    if lineage != marker.lineage {
        return Err(format!(
            "the committed offset of {topic} belongs to another changelog than the one found"
        ));
    }
    // A topic that instances with other settings do not know (a rolling deploy): their markers do not name it, and it
    // stands where the last one that knew it left it.
    if position.is_none() && seq <= marker.seq {
        return Ok(Some(committed.offset));
    }
    if seq != marker.seq {
        return Err(format!(
            "the committed offset of {topic} is of transaction {seq}, the changelog ends with transaction {}",
            marker.seq
        ));
    }
    if position != Some(committed.offset) {
        return Err(format!(
            "the committed offset of {topic} was moved since transaction {seq}"
        ));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::source::InputKind;

    fn inputs() -> Inputs {
        Inputs {
            topics: vec![
                ("intents".into(), InputKind::Intents),
                ("engagement".into(), InputKind::Engagement),
                ("reroute".into(), InputKind::Reroute),
            ],
            partition_count: 4,
        }
    }

    fn marker() -> Marker {
        Marker {
            seq: 7,
            lineage: [1; 16],
            partition_count: 4,
            now_ms: 1000,
            positions: vec![("intents".into(), 10), ("engagement".into(), 20)],
            repaired: false,
            deferred: 5,
            timed_by: None,
        }
    }

    fn offset(offset: i64, marker: &Marker) -> Option<Committed> {
        Some(Committed {
            offset,
            metadata: marker.metadata(),
        })
    }

    fn at() -> Result<Resume, String> {
        let positions = vec![StartAt::Offset(10), StartAt::Offset(20), StartAt::Beginning];
        Ok(Resume::At {
            seq: 7,
            lineage: [1; 16],
            now_ms: 1000,
            deferred: 5,
            timed_by: None,
            positions,
        })
    }

    #[test]
    fn nothing_committed_and_no_marker_is_a_fresh_start() {
        assert_eq!(reconcile(&inputs(), None, &[None, None, None]), Ok(Resume::Fresh));
    }

    #[test]
    fn a_marker_that_agrees_with_the_committed_offsets_is_where_to_go_on() {
        let marker = marker();
        let committed = [offset(10, &marker), offset(20, &marker), None];
        assert_eq!(reconcile(&inputs(), Some(&marker), &committed), at());
    }

    #[test]
    fn where_no_offset_is_committed_at_all_the_marker_wins() {
        assert_eq!(reconcile(&inputs(), Some(&marker()), &[None, None, None]), at());
    }

    #[test]
    fn a_repaired_marker_wins_over_whatever_is_committed() {
        let repaired = Marker {
            repaired: true,
            ..marker()
        };
        let strange = Some(Committed {
            offset: 3,
            metadata: "reset by hand".into(),
        });
        assert_eq!(reconcile(&inputs(), Some(&repaired), &[strange, None, None]), at());
    }

    #[test]
    fn a_topic_that_the_newest_instance_did_not_know_goes_on_where_it_was_left() {
        let marker = marker();
        let older = Marker {
            seq: 5,
            ..marker.clone()
        };
        let committed = [offset(10, &marker), offset(20, &marker), offset(3, &older)];
        let Ok(Resume::At { positions, .. }) = reconcile(&inputs(), Some(&marker), &committed) else {
            panic!("refused")
        };
        assert_eq!(positions[2], StartAt::Offset(3));
    }

    #[test]
    fn every_mismatch_is_refused_with_its_reason() {
        let marker = marker();
        let other_seq = Marker {
            seq: 8,
            ..marker.clone()
        };
        let other_lineage = Marker {
            lineage: [2; 16],
            ..marker.clone()
        };
        let good = offset(20, &marker);
        let by_hand = Some(Committed {
            offset: 10,
            metadata: String::new(),
        });
        let cases = [
            (None, [offset(10, &marker), None, None], "no marker"),
            (Some(&marker), [None, good.clone(), None], "made anew"),
            (
                Some(&marker),
                [offset(10, &other_seq), good.clone(), None],
                "ends with transaction 7",
            ),
            (
                Some(&marker),
                [offset(10, &other_lineage), good.clone(), None],
                "another changelog",
            ),
            (
                Some(&marker),
                [by_hand, good.clone(), None],
                "something else than Forbear",
            ),
            (Some(&marker), [offset(11, &marker), good, None], "was moved"),
        ];
        for (marker, committed, reason) in cases {
            let refused = reconcile(&inputs(), marker, &committed);
            assert!(
                refused.as_ref().is_err_and(|text| text.contains(reason)),
                "{refused:?} names no {reason:?}"
            );
        }
        let more = Inputs {
            partition_count: 8,
            ..inputs()
        };
        assert!(
            reconcile(&more, Some(&marker), &[None, None, None]).is_err_and(|text| text.contains("partition count"))
        );
    }
}
