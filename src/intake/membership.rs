//! Finds partitions that nobody in the group has.
//!
//! A static member that is killed after it gave a partition back, and before the group has handed it on, comes back as who it
//! was: the coordinator answers with the assignment of the generation that stands, in which that partition is nobody's, and
//! starts no new round (KIP-345; KIP-429 leaves the second round of a cooperative hand-over to the member that gave
//! something back). Until the group changes for another reason nobody judges it, and nobody's state says so. So each process
//! looks at the group now and then, and where the same partitions are missing for long, one member leaves and joins anew,
//! which makes the group hand everything out again.

use crate::intake::answers::transient;
use crate::intake::client::KafkaSettings;
use crate::intake::source::{Inputs, SourceError};
use crate::message::Name;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// A hand-over takes two rounds of the group, each as long as its slowest member needs to get to the end of a batch: what
/// lasts longer than this is none.
const UNOWNED_AFTER: Duration = Duration::from_secs(20);
/// How long each member has to do something about it before the next one does.
const TURN: Duration = Duration::from_secs(20);

/// Longest wait for an answer: whoever ends the process waits for it, too.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// A member as the coordinator describes it: its id (`<group.instance.id>-<uuid>`), and its assignment in the bytes of the
/// consumer protocol.
type Described = (String, Vec<u8>);

/// Partitions that no member has had for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unowned {
    /// Numbers, ascending.
    pub partitions: Vec<i32>,
    /// Index of the worker of this process whose turn it is to join anew.
    pub turn_of: Option<usize>,
}

/// Looks at the group of the workers.
pub struct MembershipProbe {
    client: BaseConsumer,
    group_id: String,
    /// Each worker's member name, by index.
    workers: Vec<String>,
    topic: Name,
    partition_count: i32,
    seen: Option<(Vec<Described>, Instant)>,
}

impl MembershipProbe {
    /// Does not connect yet. Of the inputs the first topic is looked at: it is the one that the members subscribe to.
    ///
    /// # Errors
    /// A configuration that librdkafka refuses.
    pub fn new(settings: &KafkaSettings, workers: usize, inputs: &Inputs) -> Result<Self, SourceError> {
        let (topic, _) = inputs
            .topics
            .first()
            .ok_or_else(|| SourceError::Fatal("there is no intents topic".into()))?;
        Ok(Self {
            client: settings.changelog().create().map_err(transient)?,
            group_id: settings.group_id.clone(),
            workers: (0..workers).map(|worker| settings.member_name(worker)).collect(),
            topic: topic.clone(),
            partition_count: inputs.partition_count,
            seen: None,
        })
    }

    /// What nobody has had for long, while the group stood still; none otherwise. No answer is no news: a cluster that is away
    /// shows elsewhere.
    pub fn look(&mut self) -> Option<Unowned> {
        let members = self.members();
        let missing = members
            .as_ref()
            .map(|members| unowned(members, &self.topic, self.partition_count))
            .unwrap_or_default();
        let members = members.filter(|_| !missing.is_empty());
        let Some(members) = members else {
            self.seen = None;
            return None;
        };
        let since = match &self.seen {
            Some((before, since)) if *before == members => *since,
            _ => Instant::now(),
        };
        let lasted = since.elapsed();
        let ids: Vec<&str> = members.iter().map(|(id, _)| id.as_str()).collect();
        let turn_of = turn(&ids, lasted).and_then(|id| worker_of(&self.workers, id));
        self.seen = Some((members, since));
        (lasted >= UNOWNED_AFTER).then(|| Unowned {
            partitions: missing.into_iter().collect(),
            turn_of,
        })
    }

    /// The members of the group while it stands still, ordered.
    fn members(&self) -> Option<Vec<Described>> {
        let groups = self
            .client
            .fetch_group_list(Some(&self.group_id), ANSWERED_WITHIN)
            .ok()?;
        let group = groups.groups().iter().find(|group| group.name() == self.group_id)?;
        if group.state() != "Stable" {
            return None;
        }
        let mut members: Vec<Described> = group
            .members()
            .iter()
            .map(|member| (member.id().to_owned(), member.assignment().unwrap_or_default().to_vec()))
            .collect();
        members.sort();
        Some(members)
    }
}

/// The partitions that none of these members has. None where an assignment cannot be read: in doubt the group is left alone.
fn unowned(members: &[Described], topic: &str, partition_count: i32) -> BTreeSet<i32> {
    let mut missing: BTreeSet<i32> = (0..partition_count).collect();
    for (_, assignment) in members {
        match assigned(assignment, topic) {
            Some(partitions) => partitions.iter().for_each(|partition| {
                missing.remove(partition);
            }),
            None => return BTreeSet::new(),
        }
    }
    missing
}

/// Whose turn it is: the first member (by id) once it has lasted long enough, then the second, and so on, round and round.
fn turn<'a>(ids: &[&'a str], lasted: Duration) -> Option<&'a str> {
    let over = lasted.checked_sub(UNOWNED_AFTER)?;
    let turns = usize::try_from(over.as_millis() / TURN.as_millis()).ok()?;
    ids.get(turns.checked_rem(ids.len())?).copied()
}

/// Which of these workers the member with this id is.
fn worker_of(workers: &[String], id: &str) -> Option<usize> {
    // The coordinator appends a dash and a UUID of 36 characters.
    let name_bytes = id.len().checked_sub(37)?;
    workers
        .iter()
        .position(|name| Some(name.as_str()) == id.get(..name_bytes))
}

/// The partitions of `topic` in an assignment: version (i16), then an array of topics, each a name (i16 length) and an array of
/// i32; user data follows (`ConsumerProtocolAssignment.json` of Apache Kafka; big-endian). No bytes at all: nothing is
/// assigned. None where it ends too early.
fn assigned(bytes: &[u8], topic: &str) -> Option<Vec<i32>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let mut rest = bytes;
    let _version = take::<2>(&mut rest)?;
    let topics = i32::from_be_bytes(take(&mut rest)?);
    let mut found = Vec::new();
    for _ in 0..topics {
        let length = usize::try_from(i16::from_be_bytes(take(&mut rest)?)).ok()?;
        let (name, behind) = rest.split_at_checked(length)?;
        rest = behind;
        let count = i32::from_be_bytes(take(&mut rest)?);
        for _ in 0..count {
            let partition = i32::from_be_bytes(take(&mut rest)?);
            if name == topic.as_bytes() {
                found.push(partition);
            }
        }
    }
    Some(found)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::{TURN, UNOWNED_AFTER, assigned, turn, unowned, worker_of};
    use std::time::Duration;

    fn assignment(topics: &[(&str, &[i32])]) -> Vec<u8> {
        let mut bytes = vec![0, 3];
        bytes.extend((topics.len() as i32).to_be_bytes());
        for (name, partitions) in topics {
            bytes.extend((name.len() as i16).to_be_bytes());
            bytes.extend(name.as_bytes());
            bytes.extend((partitions.len() as i32).to_be_bytes());
            partitions
                .iter()
                .for_each(|partition| bytes.extend(partition.to_be_bytes()));
        }
        bytes.extend((-1_i32).to_be_bytes());
        bytes
    }

    #[test]
    fn what_no_member_was_assigned_is_unowned() {
        let members = [
            ("a/0-1".to_owned(), assignment(&[("intents", &[0, 3])])),
            ("b/0-1".to_owned(), assignment(&[("other", &[1]), ("intents", &[2])])),
            ("c/0-1".to_owned(), Vec::new()),
        ];
        assert_eq!(Vec::from_iter(unowned(&members, "intents", 5)), [1, 4]);
        assert!(unowned(&members, "intents", 1).is_empty());
    }

    #[test]
    fn an_assignment_that_cannot_be_read_leaves_the_group_alone() {
        let whole = assignment(&[("intents", &[0, 3])]);
        // Without the user data, which nobody reads.
        let read = whole.len() - 4;
        for length in 1..read {
            assert_eq!(assigned(&whole[..length], "intents"), None, "{length} bytes");
        }
        assert_eq!(assigned(&whole[..read], "intents"), Some(vec![0, 3]));
        let members = [("a".to_owned(), whole[..5].to_vec())];
        assert!(unowned(&members, "intents", 4).is_empty());
    }

    #[test]
    fn members_take_turns_in_joining_anew() {
        let ids = ["a", "b"];
        assert_eq!(turn(&ids, UNOWNED_AFTER - Duration::from_millis(1)), None);
        assert_eq!(turn(&ids, UNOWNED_AFTER), Some("a"));
        assert_eq!(turn(&ids, UNOWNED_AFTER + TURN), Some("b"));
        assert_eq!(turn(&ids, UNOWNED_AFTER + TURN * 2), Some("a"));
        assert_eq!(turn(&[], UNOWNED_AFTER), None);
    }

    #[test]
    fn a_member_is_known_by_the_whole_of_its_name() {
        let workers = ["box-1/0".to_owned(), "box-1/1".to_owned()];
        let uuid = "0b1c5a3e-0000-4000-8000-1234567890ab";
        assert_eq!(worker_of(&workers, &format!("box-1/1-{uuid}")), Some(1));
        assert_eq!(worker_of(&workers, &format!("box-1/11-{uuid}")), None);
        assert_eq!(worker_of(&workers, &format!("box-1/1-2-{uuid}")), None);
        assert_eq!(worker_of(&workers, "short"), None);
    }
}
