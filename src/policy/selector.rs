//! Selectors: which intents a rule governs and which contacts or events fill it. A conjunction of terms; a list inside a
//! term means any of.

use crate::customer::{Contact, PastEvent, Profile};
use crate::message::{Intent, Name};

/// A key of a selector, and what `per`, `distinct` and `key` may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    Channel,
    Division,
    Campaign,
    Category,
    Topic,
    Class,
    /// `type` in a selector.
    MessageType,
    Tags,
    Offer,
    /// The customer's.
    Jurisdiction,
    /// Any of the customer's segments.
    Segment,
}

/// All terms must hold; without terms it matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector {
    pub terms: Vec<Term>,
}

/// One condition of a selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Term {
    /// The field (any of its values, where it has several) matches any of the patterns; a missing field matches none.
    AnyOf {
        field: Field,
        patterns: Vec<Pattern>,
    },
    /// `tags: { all: [...] }`: each pattern is matched by some tag.
    AllTags(Vec<Pattern>),
    Not(Selector),
}

/// A value to compare with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    Exact(Name),
    /// Written with a trailing `*`, which is not part of it.
    Prefix(Name),
}

/// Something that has the fields of a message: an intent with the channel and class it is judged as, a contact, an event.
pub trait Described {
    /// The value of a field with at most one value; `None` where it is missing. Not asked for tags and segments.
    fn text(&self, field: Field) -> Option<&str>;
    /// The tags; no tag is an empty list.
    fn tags(&self) -> &[Name];
    /// What is known of the customer: segments, attributes, jurisdiction.
    fn profile(&self) -> &Profile;
}

/// An intent as it is judged: on one channel, as one class.
#[derive(Debug, Clone, Copy)]
pub struct JudgedIntent<'a> {
    pub intent: &'a Intent,
    pub channel: &'a Name,
    pub class: &'a Name,
    pub profile: &'a Profile,
}

/// A contact of the ledger, with the customer that it belongs to.
#[derive(Debug, Clone, Copy)]
pub struct LedgerContact<'a> {
    pub contact: &'a Contact,
    pub profile: &'a Profile,
}

/// A past event, with the contact that it is about, whose fields it inherits.
#[derive(Debug, Clone, Copy)]
pub struct LedgerEvent<'a> {
    pub event: &'a PastEvent,
    pub contact: Option<&'a Contact>,
    pub profile: &'a Profile,
}

impl Selector {
    /// Whether the subject is selected.
    pub fn matches(&self, subject: &impl Described) -> bool {
        self.terms.iter().all(|term| term.holds(subject))
    }
}

impl Selector {
    /// Whether it asks for a class, in whatever way.
    pub fn names_a_class(&self) -> bool {
        self.terms.iter().any(Term::names_a_class)
    }

    /// Whether whatever it selects is certainly selected by the other one too.
    pub fn is_within(&self, other: &Self) -> bool {
        let implied = |wanted: &Term| self.terms.iter().any(|term| term.implies(wanted));
        other.terms.iter().all(implied)
    }
}

impl Term {
    /// Whether it asks for a class, in whatever way.
    pub fn names_a_class(&self) -> bool {
        match self {
            Self::AnyOf { field, .. } => *field == Field::Class,
            Self::AllTags(_) => false,
            Self::Not(inner) => inner.names_a_class(),
        }
    }

    fn implies(&self, wanted: &Self) -> bool {
        match (self, wanted) {
            (
                Self::AnyOf { field, patterns },
                Self::AnyOf {
                    field: wanted_field,
                    patterns: wanted,
                },
            ) => field == wanted_field && patterns.iter().all(|one| wanted.iter().any(|other| other.covers(one))),
            (Self::AllTags(tags), Self::AnyOf { field, patterns }) => {
                *field == Field::Tags && tags.iter().any(|one| patterns.iter().any(|other| other.covers(one)))
            }
            (Self::AllTags(tags), Self::AllTags(wanted)) => {
                wanted.iter().all(|other| tags.iter().any(|one| other.covers(one)))
            }
            (Self::Not(inner), Self::Not(wanted)) => wanted.is_within(inner),
            _ => false,
        }
    }

    fn holds(&self, subject: &impl Described) -> bool {
        match self {
            Self::AnyOf {
                field: Field::Tags,
                patterns,
            } => any_of(patterns, subject.tags()),
            Self::AnyOf {
                field: Field::Segment,
                patterns,
            } => any_of(patterns, &subject.profile().segments),
            Self::AnyOf { field, patterns } => subject
                .text(*field)
                .is_some_and(|value| patterns.iter().any(|pattern| pattern.matches(value))),
            Self::AllTags(patterns) => patterns
                .iter()
                .all(|pattern| subject.tags().iter().any(|tag| pattern.matches(tag))),
            Self::Not(inner) => !inner.matches(subject),
        }
    }
}

fn any_of(patterns: &[Pattern], values: &[Name]) -> bool {
    values
        .iter()
        .any(|value| patterns.iter().any(|pattern| pattern.matches(value)))
}

impl Pattern {
    /// Whether it matches whatever the other one matches.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(one), Self::Exact(other)) => one == other,
            (Self::Prefix(prefix), Self::Exact(text) | Self::Prefix(text)) => text.starts_with(&**prefix),
            (Self::Exact(_), Self::Prefix(_)) => false,
        }
    }

    /// Whether the value is the one named, or begins with the prefix.
    pub fn matches(&self, value: &str) -> bool {
        match self {
            Self::Exact(name) => &**name == value,
            Self::Prefix(prefix) => value.starts_with(&**prefix),
        }
    }
}

/// Whether two subjects agree in every one of the fields. A missing field is a value of its own.
pub fn agree(fields: &[Field], left: &impl Described, right: &impl Described) -> bool {
    fields.iter().all(|field| match field {
        Field::Tags => left.tags() == right.tags(),
        // One customer's, on both sides.
        Field::Segment | Field::Jurisdiction => true,
        single => left.text(*single) == right.text(*single),
    })
}

impl Described for JudgedIntent<'_> {
    fn text(&self, field: Field) -> Option<&str> {
        match field {
            Field::Channel => Some(self.channel),
            Field::Division => Some(&self.intent.division),
            Field::Campaign => self.intent.campaign.as_deref(),
            Field::Category => self.intent.category.as_deref(),
            Field::Topic => self.intent.topic.as_deref(),
            Field::Class => Some(self.class),
            Field::MessageType => Some(&self.intent.message_type),
            Field::Offer => self.intent.offer.as_deref(),
            Field::Jurisdiction => self.profile.jurisdiction.as_deref(),
            Field::Tags | Field::Segment => None,
        }
    }

    fn tags(&self) -> &[Name] {
        &self.intent.tags
    }

    fn profile(&self) -> &Profile {
        self.profile
    }
}

impl Described for LedgerContact<'_> {
    fn text(&self, field: Field) -> Option<&str> {
        match field {
            Field::Jurisdiction => self.profile.jurisdiction.as_deref(),
            other => self.text_of_contact(other),
        }
    }

    fn tags(&self) -> &[Name] {
        &self.contact.tags
    }

    fn profile(&self) -> &Profile {
        self.profile
    }
}

impl Described for LedgerEvent<'_> {
    fn text(&self, field: Field) -> Option<&str> {
        let event = self.event;
        let own = match field {
            Field::Channel => event.channel.as_deref(),
            Field::Division => event.division.as_deref(),
            Field::Campaign => event.campaign.as_deref(),
            Field::Category => event.category.as_deref(),
            Field::Topic => event.topic.as_deref(),
            Field::Class => event.class.as_deref(),
            Field::MessageType => event.message_type.as_deref(),
            Field::Offer => event.offer.as_deref(),
            Field::Jurisdiction => self.profile.jurisdiction.as_deref(),
            Field::Tags | Field::Segment => None,
        };
        own.or_else(|| {
            let contact = self.contact?;
            let profile = self.profile;
            match field {
                Field::Jurisdiction => None,
                inherited => LedgerContact { contact, profile }.text_of_contact(inherited),
            }
        })
    }

    fn tags(&self) -> &[Name] {
        match self.contact {
            Some(contact) if self.event.tags.is_empty() => &contact.tags,
            _ => &self.event.tags,
        }
    }

    fn profile(&self) -> &Profile {
        self.profile
    }
}

impl<'a> LedgerContact<'a> {
    /// [`Described::text`] with the lifetime of the contact, so that an event can hand it on.
    fn text_of_contact(&self, field: Field) -> Option<&'a str> {
        let contact = self.contact;
        match field {
            Field::Channel => Some(&contact.channel),
            Field::Division => Some(&contact.division),
            Field::Campaign => contact.campaign.as_deref(),
            Field::Category => contact.category.as_deref(),
            Field::Topic => contact.topic.as_deref(),
            Field::Class => Some(&contact.class),
            Field::MessageType => Some(&contact.message_type),
            Field::Offer => contact.offer.as_deref(),
            Field::Jurisdiction | Field::Tags | Field::Segment => None,
        }
    }
}
