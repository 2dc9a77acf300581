//! Field by field: each record of the room, written and read. The order of fields is the format; new ones go to the end.
//!
//! Times inside a list are written as the distance to the one before, which is what makes a ledger small.

use super::wire::{Read, Reader, Writer};
use super::{CodecError, MonthCount, Numbered};
use crate::customer::Customer;
use crate::customer::bounds::Overflow;
use crate::customer::record::*;
use crate::message::{AttributeValue, Basis, EventKind, Name};

pub fn write_head(writer: &mut Writer, customer: &Customer, months: &[MonthCount], contacts: &[Contact]) {
    writer.record(13, |w| {
        w.i64(customer.standing.number());
        write_profile(w, &customer.profile);
        write_preferences(w, &customer.preferences);
        w.list(&customer.consents, write_consent);
        w.list(&customer.suppressions, write_suppression);
        w.list(months, |w, month| {
            w.record(2, |w| {
                w.i64(i64::from(month.month));
                w.i64(i64::from(month.count));
            });
        });
        write_contacts(w, contacts);
        write_events(w, &customer.events);
        w.list(&customer.waiting, write_waiting);
        write_remembered(w, &customer.remembered);
        w.list(&customer.recent_event_ids, |w, id| w.u64(*id));
        write_overflow(w, &customer.overflow);
        w.optional_i64(customer.unconfirmed_due_ms);
    });
}

pub fn read_head(reader: &mut Reader, id: Name) -> Read<(Customer, Vec<MonthCount>)> {
    reader.record(|r| {
        let mut customer = Customer::new(id);
        customer.standing = r.field(number)?;
        customer.profile = r.field(read_profile)?;
        customer.preferences = r.field(read_preferences)?;
        customer.consents = r.field(|r| r.list(read_consent))?;
        customer.suppressions = r.field(|r| r.list(read_suppression))?;
        let months = r.field(|r| {
            r.list(|r| {
                r.record(|r| {
                    Ok(MonthCount {
                        month: r.field(Reader::narrow)?,
                        count: r.field(Reader::narrow)?,
                    })
                })
            })
        })?;
        customer.contacts = r.field(read_contacts)?;
        customer.events = r.field(read_events)?;
        customer.waiting = r.field(|r| r.list(read_waiting))?;
        customer.remembered = r.field(read_remembered)?;
        customer.recent_event_ids = r.field(|r| r.list(Reader::u64))?;
        customer.overflow = r.field(read_overflow)?;
        customer.unconfirmed_due_ms = r.field(Reader::optional_i64)?;
        Ok((customer, months))
    })
}

pub fn write_contacts(writer: &mut Writer, contacts: &[Contact]) {
    let mut before_ms = 0;
    writer.list(contacts, |w, contact| {
        w.record(16, |w| {
            w.i64(contact.at_ms.wrapping_sub(before_ms));
            w.i64(contact.state.number());
            w.option(
                Some(contact.reported_at_ms).filter(|reported| *reported != 0),
                |w, reported_at_ms| {
                    w.i64(reported_at_ms.wrapping_sub(contact.at_ms));
                },
            );
            w.u64(contact.intent_hash);
            w.option(contact.decision.as_ref(), write_coordinates);
            w.name(&contact.channel);
            w.name(&contact.division);
            w.name(&contact.class);
            w.name(&contact.message_type);
            w.optional_name(&contact.campaign);
            w.optional_name(&contact.category);
            w.optional_name(&contact.topic);
            w.optional_name(&contact.offer);
            w.names(&contact.tags);
            w.i64(contact.cost_micros);
            w.optional_u64(contact.endpoint_hash);
        });
        before_ms = contact.at_ms;
    });
}

pub fn read_contacts(reader: &mut Reader) -> Read<Vec<Contact>> {
    let mut before_ms = 0_i64;
    reader.list(|r| {
        r.record(|r| {
            let at_ms = before_ms.wrapping_add(r.field(Reader::i64)?);
            before_ms = at_ms;
            Ok(Contact {
                at_ms,
                state: r.field(number)?,
                reported_at_ms: match r.field(Reader::optional_i64)? {
                    Some(later_ms) => at_ms.wrapping_add(later_ms),
                    None => 0,
                },
                intent_hash: r.field(Reader::u64)?,
                decision: r.field(|r| r.option(read_coordinates))?,
                channel: r.field(Reader::name)?,
                division: r.field(Reader::name)?,
                class: r.field(Reader::name)?,
                message_type: r.field(Reader::name)?,
                campaign: r.field(Reader::optional_name)?,
                category: r.field(Reader::optional_name)?,
                topic: r.field(Reader::optional_name)?,
                offer: r.field(Reader::optional_name)?,
                tags: r.field(Reader::names)?,
                cost_micros: r.field(Reader::i64)?,
                endpoint_hash: r.field(Reader::optional_u64)?,
            })
        })
    })
}

pub fn write_waiting_body(writer: &mut Writer, body: &WaitingBody) {
    writer.record(3, |w| {
        w.i64(body.timestamp_ms);
        w.bytes(&body.value);
        w.list(&body.headers, |w, (name, value)| {
            w.record(2, |w| {
                w.name(&Name::from(name.as_str()));
                w.option(value.as_deref(), Writer::bytes);
            });
        });
    });
}

pub fn read_waiting_body(reader: &mut Reader) -> Read<WaitingBody> {
    reader.record(|r| {
        Ok(WaitingBody {
            timestamp_ms: r.field(Reader::i64)?,
            value: r.field(Reader::bytes)?.to_vec(),
            headers: r.field(|r| {
                r.list(|r| {
                    r.record(|r| {
                        let name = r.field(Reader::name)?.to_string();
                        let value = r.field(|r| r.option(Reader::bytes))?;
                        Ok((name, value.map(<[u8]>::to_vec)))
                    })
                })
            })?,
        })
    })
}

fn number<T: Numbered>(reader: &mut Reader) -> Read<T> {
    T::from_number(reader.i64()?)
}

fn write_coordinates(writer: &mut Writer, coordinates: &DecisionCoordinates) {
    writer.record(4, |w| {
        w.name(&coordinates.topic);
        w.i64(i64::from(coordinates.partition));
        w.i64(coordinates.offset);
        w.i64(i64::from(coordinates.attempt));
    });
}

fn read_coordinates(reader: &mut Reader) -> Read<DecisionCoordinates> {
    reader.record(|r| {
        Ok(DecisionCoordinates {
            topic: r.field(Reader::name)?,
            partition: r.field(Reader::narrow)?,
            offset: r.field(Reader::i64)?,
            attempt: r.field(Reader::narrow)?,
        })
    })
}

fn write_profile(writer: &mut Writer, profile: &Profile) {
    writer.record(5, |w| {
        w.optional_name(&profile.timezone);
        w.optional_name(&profile.jurisdiction);
        w.names(&profile.segments);
        w.list(&profile.attributes, |w, (name, value)| {
            w.record(3, |w| {
                w.name(name);
                match value {
                    AttributeValue::Text(text) => {
                        w.i64(TEXT);
                        w.name(text);
                    }
                    AttributeValue::Number(number) => {
                        w.i64(NUMBER);
                        w.f64(*number);
                    }
                    AttributeValue::Truth(truth) => {
                        w.i64(TRUTH);
                        w.bool(*truth);
                    }
                }
            });
        });
        w.optional_i64(profile.since_ms);
    });
}

fn read_profile(reader: &mut Reader) -> Read<Profile> {
    reader.record(|r| {
        Ok(Profile {
            timezone: r.field(Reader::optional_name)?,
            jurisdiction: r.field(Reader::optional_name)?,
            segments: r.field(Reader::names)?,
            attributes: r.field(|r| r.list(read_attribute))?,
            since_ms: r.field(Reader::optional_i64)?,
        })
    })
}

fn read_attribute(reader: &mut Reader) -> Read<(Name, AttributeValue)> {
    reader.record(|r| {
        let name = r.field(Reader::name)?;
        let value = match r.field(Reader::i64)? {
            TEXT => AttributeValue::Text(r.field(Reader::name)?),
            NUMBER => AttributeValue::Number(r.field(Reader::f64)?),
            TRUTH => AttributeValue::Truth(r.field(Reader::bool)?),
            _ => return Err(CodecError::Corrupt("an attribute of no kind")),
        };
        Ok((name, value))
    })
}

fn write_preferences(writer: &mut Writer, preferences: &Preferences) {
    writer.record(5, |w| {
        w.names(&preferences.refused_topics);
        w.option(preferences.only_topics.as_deref(), Writer::names);
        w.names(&preferences.refused_channels);
        w.optional_i64(preferences.max_per_week.map(i64::from));
        w.optional_i64(preferences.paused_until_ms);
    });
}

fn read_preferences(reader: &mut Reader) -> Read<Preferences> {
    reader.record(|r| {
        Ok(Preferences {
            refused_topics: r.field(Reader::names)?,
            only_topics: r.field(|r| r.option(Reader::names))?,
            refused_channels: r.field(Reader::names)?,
            max_per_week: r.field(|r| r.option(Reader::narrow))?,
            paused_until_ms: r.field(Reader::optional_i64)?,
        })
    })
}

fn write_consent(writer: &mut Writer, statement: &ConsentStatement) {
    writer.record(7, |w| {
        w.bool(statement.granted);
        w.optional_name(&statement.channel);
        w.optional_name(&statement.purpose);
        w.optional_name(&statement.division);
        w.optional_i64(statement.basis.map(Basis::number));
        w.i64(statement.occurred_at_ms);
        w.optional_i64(statement.expires_at_ms);
    });
}

fn read_consent(reader: &mut Reader) -> Read<ConsentStatement> {
    reader.record(|r| {
        Ok(ConsentStatement {
            granted: r.field(Reader::bool)?,
            channel: r.field(Reader::optional_name)?,
            purpose: r.field(Reader::optional_name)?,
            division: r.field(Reader::optional_name)?,
            basis: r.field(|r| r.option(number))?,
            occurred_at_ms: r.field(Reader::i64)?,
            expires_at_ms: r.field(Reader::optional_i64)?,
        })
    })
}

fn write_suppression(writer: &mut Writer, suppression: &Suppression) {
    let (kind, channel, hash, at_ms) = match suppression {
        Suppression::Complaint { channel, at_ms } => (COMPLAINT, channel.as_ref(), None, at_ms),
        Suppression::Endpoint {
            channel,
            endpoint_hash,
            at_ms,
        } => (ENDPOINT, channel.as_ref(), Some(*endpoint_hash), at_ms),
        Suppression::Channel {
            channel,
            known_endpoint_hash,
            at_ms,
        } => (CHANNEL, Some(channel), *known_endpoint_hash, at_ms),
    };
    writer.record(4, |w| {
        w.i64(kind);
        w.option(channel, Writer::name);
        w.optional_u64(hash);
        w.i64(*at_ms);
    });
}

fn read_suppression(reader: &mut Reader) -> Read<Suppression> {
    reader.record(|r| {
        let kind = r.field(Reader::i64)?;
        let channel = r.field(Reader::optional_name)?;
        let hash = r.field(Reader::optional_u64)?;
        let at_ms = r.field(Reader::i64)?;
        match (kind, channel, hash) {
            (COMPLAINT, channel, None) => Ok(Suppression::Complaint { channel, at_ms }),
            (ENDPOINT, channel, Some(endpoint_hash)) => Ok(Suppression::Endpoint {
                channel,
                endpoint_hash,
                at_ms,
            }),
            (CHANNEL, Some(channel), known_endpoint_hash) => Ok(Suppression::Channel {
                channel,
                known_endpoint_hash,
                at_ms,
            }),
            _ => Err(CodecError::Corrupt("a suppression of no kind")),
        }
    })
}

fn write_events(writer: &mut Writer, events: &[PastEvent]) {
    let mut before_ms = 0;
    writer.list(events, |w, event| {
        w.record(14, |w| {
            w.i64(event.at_ms.wrapping_sub(before_ms));
            w.i64(event.kind.number());
            w.bool(event.machine);
            w.optional_u64(event.intent_hash);
            w.optional_name(&event.issue_id);
            w.optional_name(&event.channel);
            w.optional_name(&event.division);
            w.optional_name(&event.campaign);
            w.optional_name(&event.category);
            w.optional_name(&event.topic);
            w.optional_name(&event.offer);
            w.names(&event.tags);
            w.optional_name(&event.class);
            w.optional_name(&event.message_type);
        });
        before_ms = event.at_ms;
    });
}

fn read_events(reader: &mut Reader) -> Read<Vec<PastEvent>> {
    let mut before_ms = 0_i64;
    reader.list(|r| {
        r.record(|r| {
            let at_ms = before_ms.wrapping_add(r.field(Reader::i64)?);
            before_ms = at_ms;
            Ok(PastEvent {
                at_ms,
                kind: r.field(number::<EventKind>)?,
                machine: r.field(Reader::bool)?,
                intent_hash: r.field(Reader::optional_u64)?,
                issue_id: r.field(Reader::optional_name)?,
                channel: r.field(Reader::optional_name)?,
                division: r.field(Reader::optional_name)?,
                campaign: r.field(Reader::optional_name)?,
                category: r.field(Reader::optional_name)?,
                topic: r.field(Reader::optional_name)?,
                offer: r.field(Reader::optional_name)?,
                tags: r.field(Reader::names)?,
                class: r.field(Reader::optional_name)?,
                message_type: r.field(Reader::optional_name)?,
            })
        })
    })
}

fn write_waiting(writer: &mut Writer, waiting: &Waiting) {
    writer.record(14, |w| {
        write_coordinates(w, &waiting.decision);
        w.u64(waiting.intent_hash);
        w.optional_i64(waiting.first_deferred_ms);
        w.optional_i64(waiting.wake_at_ms);
        w.optional_i64(waiting.due_at_ms);
        w.i64(i64::from(waiting.reason));
        w.optional_name(&waiting.rule);
        w.i64(i64::from(waiting.size_bytes));
        w.i64(i64::from(waiting.class_rank));
        w.i64(i64::from(waiting.priority));
        w.f64(waiting.score);
        w.optional_i64(waiting.expires_at_ms);
        w.i64(waiting.created_at_ms);
        w.name(&waiting.intent_id);
    });
}

fn read_waiting(reader: &mut Reader) -> Read<Waiting> {
    reader.record(|r| {
        Ok(Waiting {
            decision: r.field(read_coordinates)?,
            intent_hash: r.field(Reader::u64)?,
            first_deferred_ms: r.field(Reader::optional_i64)?,
            wake_at_ms: r.field(Reader::optional_i64)?,
            due_at_ms: r.field(Reader::optional_i64)?,
            reason: r.field(Reader::narrow)?,
            rule: r.field(Reader::optional_name)?,
            size_bytes: r.field(Reader::narrow)?,
            class_rank: r.field(Reader::narrow)?,
            priority: r.field(Reader::narrow)?,
            score: r.field(Reader::f64)?,
            expires_at_ms: r.field(Reader::optional_i64)?,
            created_at_ms: r.field(Reader::i64)?,
            intent_id: r.field(Reader::name)?,
        })
    })
}

fn write_remembered(writer: &mut Writer, remembered: &[RememberedIntent]) {
    let mut before_ms = 0;
    writer.list(remembered, |w, intent| {
        w.record(3, |w| {
            w.u64(intent.intent_hash);
            w.i64(intent.at_ms.wrapping_sub(before_ms));
            write_coordinates(w, &intent.decision);
        });
        before_ms = intent.at_ms;
    });
}

fn read_remembered(reader: &mut Reader) -> Read<Vec<RememberedIntent>> {
    let mut before_ms = 0_i64;
    reader.list(|r| {
        r.record(|r| {
            let intent_hash = r.field(Reader::u64)?;
            let at_ms = before_ms.wrapping_add(r.field(Reader::i64)?);
            before_ms = at_ms;
            Ok(RememberedIntent {
                intent_hash,
                at_ms,
                decision: r.field(read_coordinates)?,
            })
        })
    })
}

fn write_overflow(writer: &mut Writer, overflow: &Overflow) {
    writer.record(6, |w| {
        w.optional_i64(overflow.ledger_from_ms);
        w.optional_i64(overflow.inexact_until_ms);
        w.bool(overflow.consents);
        w.bool(overflow.suppressions);
        w.bool(overflow.preferences);
        w.bool(overflow.profile);
    });
}

fn read_overflow(reader: &mut Reader) -> Read<Overflow> {
    reader.record(|r| {
        Ok(Overflow {
            ledger_from_ms: r.field(Reader::optional_i64)?,
            inexact_until_ms: r.field(Reader::optional_i64)?,
            consents: r.field(Reader::bool)?,
            suppressions: r.field(Reader::bool)?,
            preferences: r.field(Reader::bool)?,
            profile: r.field(Reader::bool)?,
        })
    })
}

const TEXT: i64 = 0;
const NUMBER: i64 = 1;
const TRUTH: i64 = 2;

const COMPLAINT: i64 = 0;
const ENDPOINT: i64 = 1;
const CHANNEL: i64 = 2;
