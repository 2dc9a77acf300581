//! What the cluster says of offsets, asked for a list of input partitions and read back in the order of the list; and what is
//! asked without being a member of the group.

use crate::intake::client::KafkaSettings;
use crate::intake::source::{Committed, Inputs, SourceError, TopicIndex};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, ConsumerGroupMetadata};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for an answer of the cluster in a call that the loop makes between batches.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Looks at a group's committed offsets without being a member.
pub struct Onlooker {
    consumer: BaseConsumer,
    inputs: Inputs,
}

impl Onlooker {
    /// Does not connect yet.
    ///
    /// # Errors
    /// A configuration that librdkafka refuses.
    pub fn new(settings: &KafkaSettings, inputs: Inputs) -> Result<Self, SourceError> {
        let mut config = settings.changelog();
        config.set("group.id", &settings.group_id);
        Ok(Self {
            consumer: config.create().map_err(fatal)?,
            inputs,
        })
    }

    /// The committed offset of every input of a partition, in the order of the inputs.
    ///
    /// # Errors
    /// No answer in time.
    pub fn committed(&self, partition: i32) -> Result<Vec<Option<Committed>>, SourceError> {
        let of: Vec<_> = (0..self.inputs.topics.len())
            .map(|topic| (topic as TopicIndex, partition))
            .collect();
        committed_of(&self.consumer, &self.inputs, &of)
    }

    /// A membership that stands for nobody: for a transaction without offsets.
    ///
    /// # Errors
    /// None is to be had.
    pub fn group(&self) -> Result<Arc<ConsumerGroupMetadata>, SourceError> {
        let group = self.consumer.group_metadata().map(Arc::new);
        group.ok_or_else(|| SourceError::Transient("the client knows no group".into()))
    }
}

/// The committed offsets of these places.
pub(crate) fn committed_of<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    inputs: &Inputs,
    of: &[(TopicIndex, i32)],
) -> Result<Vec<Option<Committed>>, SourceError> {
    let list = list_of(inputs, of, Offset::Invalid)?;
    let answer = consumer.committed_offsets(list, CALL_TIMEOUT).map_err(transient)?;
    in_order(inputs, of, &answer, |offset, metadata| {
        Ok(match offset {
            Offset::Offset(offset) => Some(Committed {
                offset,
                metadata: metadata.to_owned(),
            }),
            _ => None,
        })
    })
}

/// The bounds of a partition: low and high watermark.
///
/// librdkafka answers from what it last heard of the topic: a partition that had no leader then, or that a node which was
/// just starting did not list yet, stays an error for minutes, because nothing makes a client ask again that reads nothing
/// there. So after an error the topic is asked for anew, and the next call answers from that.
pub(crate) fn bounds_of<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partition: i32,
) -> Result<(i64, i64), SourceError> {
    consumer
        .fetch_watermarks(topic, partition, CALL_TIMEOUT)
        .map_err(|error| {
            // Whatever comes of it shows in the next call.
            let _ = consumer.fetch_metadata(Some(topic), CALL_TIMEOUT);
            transient(error)
        })
}

pub(crate) fn list_of(
    inputs: &Inputs,
    of: &[(TopicIndex, i32)],
    offset: Offset,
) -> Result<TopicPartitionList, SourceError> {
    let mut list = TopicPartitionList::with_capacity(of.len());
    for &(topic, partition) in of {
        let (name, _) = &inputs.topics[usize::from(topic)];
        list.add_partition_offset(name, partition, offset).map_err(transient)?;
    }
    Ok(list)
}

pub(crate) fn in_order<T>(
    inputs: &Inputs,
    of: &[(TopicIndex, i32)],
    answer: &TopicPartitionList,
    mut read: impl FnMut(Offset, &str) -> Result<T, SourceError>,
) -> Result<Vec<T>, SourceError> {
    of.iter()
        .map(|&(topic, partition)| {
            let (name, _) = &inputs.topics[usize::from(topic)];
            let element = answer
                .find_partition(name, partition)
                .ok_or_else(|| SourceError::Transient(format!("no answer for {name}/{partition}")))?;
            element.error().map_err(transient)?;
            read(element.offset(), element.metadata())
        })
        .collect()
}

pub(crate) fn transient(error: KafkaError) -> SourceError {
    SourceError::Transient(error.to_string())
}

pub(crate) fn fatal(error: KafkaError) -> SourceError {
    SourceError::Fatal(error.to_string())
}
