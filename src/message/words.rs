//! The spelling of the closed sets, in both directions. These words are public: they stand on the wire and in policies.

use super::{Basis, EventKind, Malformed, MalformedKind};

/// Names of headers that begin so are ours; an input that carries one is a dead letter. Kafka's header names are
/// case-sensitive, and so is this.
const RESERVED_PREFIX: &str = "forbear-";

/// Whether only Forbear itself may write a header of this name.
pub fn is_reserved_header(name: &str) -> bool {
    name.starts_with(RESERVED_PREFIX)
}

impl EventKind {
    /// Every kind, in the order of its code.
    pub const ALL: [EventKind; 24] = [
        EventKind::Sent,
        EventKind::Delivered,
        EventKind::Failed,
        EventKind::BouncedSoft,
        EventKind::BouncedHard,
        EventKind::Opened,
        EventKind::Clicked,
        EventKind::Replied,
        EventKind::Converted,
        EventKind::Declined,
        EventKind::Complained,
        EventKind::Unsubscribed,
        EventKind::Resubscribed,
        EventKind::ConsentGranted,
        EventKind::ConsentWithdrawn,
        EventKind::PreferencesSet,
        EventKind::ProfileSet,
        EventKind::ContactedElsewhere,
        EventKind::InboundContact,
        EventKind::IssueOpened,
        EventKind::IssueClosed,
        EventKind::IntentCancelled,
        EventKind::Erased,
        EventKind::DoNotContact,
    ];

    /// The word in `type` of an event and in a policy.
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Sent => "sent",
            EventKind::Delivered => "delivered",
            EventKind::Failed => "failed",
            EventKind::BouncedSoft => "bounced_soft",
            EventKind::BouncedHard => "bounced_hard",
            EventKind::Opened => "opened",
            EventKind::Clicked => "clicked",
            EventKind::Replied => "replied",
            EventKind::Converted => "converted",
            EventKind::Declined => "declined",
            EventKind::Complained => "complained",
            EventKind::Unsubscribed => "unsubscribed",
            EventKind::Resubscribed => "resubscribed",
            EventKind::ConsentGranted => "consent_granted",
            EventKind::ConsentWithdrawn => "consent_withdrawn",
            EventKind::PreferencesSet => "preferences_set",
            EventKind::ProfileSet => "profile_set",
            EventKind::ContactedElsewhere => "contacted_elsewhere",
            EventKind::InboundContact => "inbound_contact",
            EventKind::IssueOpened => "issue_opened",
            EventKind::IssueClosed => "issue_closed",
            EventKind::IntentCancelled => "intent_cancelled",
            EventKind::Erased => "erased",
            EventKind::DoNotContact => "do_not_contact",
        }
    }

    /// The kind that the word names.
    pub fn parse(word: &str) -> Option<EventKind> {
        EventKind::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// The kind of a stored code (`kind as u8`).
    pub fn from_code(code: u8) -> Option<EventKind> {
        EventKind::ALL.get(usize::from(code)).copied()
    }
}

impl Basis {
    /// Every basis, in the order of its code.
    pub const ALL: [Basis; 3] = [Basis::Express, Basis::Purchase, Basis::Inquiry];

    /// The word in `basis` of an event and in a policy.
    pub fn as_str(self) -> &'static str {
        match self {
            Basis::Express => "express",
            Basis::Purchase => "purchase",
            Basis::Inquiry => "inquiry",
        }
    }

    /// The basis that the word names.
    pub fn parse(word: &str) -> Option<Basis> {
        Basis::ALL.into_iter().find(|basis| basis.as_str() == word)
    }

    /// The basis of a stored code (`basis as u8`).
    pub fn from_code(code: u8) -> Option<Basis> {
        Basis::ALL.get(usize::from(code)).copied()
    }
}

impl MalformedKind {
    /// Every kind, for the metric's labels.
    pub const ALL: [MalformedKind; 8] = [
        MalformedKind::NotJson,
        MalformedKind::MissingField,
        MalformedKind::BadField,
        MalformedKind::TooLarge,
        MalformedKind::UnknownType,
        MalformedKind::UnknownChannel,
        MalformedKind::ReservedHeader,
        MalformedKind::RerouteFailed,
    ];

    /// The value of the header `forbear-error`.
    pub fn as_str(self) -> &'static str {
        match self {
            MalformedKind::NotJson => "not_json",
            MalformedKind::MissingField => "missing_field",
            MalformedKind::BadField => "bad_field",
            MalformedKind::TooLarge => "too_large",
            MalformedKind::UnknownType => "unknown_type",
            MalformedKind::UnknownChannel => "unknown_channel",
            MalformedKind::ReservedHeader => "reserved_header",
            MalformedKind::RerouteFailed => "reroute_failed",
        }
    }
}

impl Malformed {
    /// `detail` must not contain anything that the record contains.
    pub fn new(kind: MalformedKind, detail: impl Into<String>) -> Malformed {
        let detail = detail.into();
        Malformed { kind, detail }
    }

    /// An intent for a channel that the policy does not declare.
    pub fn unknown_channel() -> Malformed {
        Malformed::new(
            MalformedKind::UnknownChannel,
            "channel: expected a channel that the policy declares",
        )
    }

    /// A record of the re-route topic that lies on the wrong partition even there.
    pub fn stray_again() -> Malformed {
        Malformed::new(
            MalformedKind::RerouteFailed,
            "the record lies on a partition that does not own its customer, even after a re-route",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_event_kind_is_found_again_by_its_word_and_by_its_code() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::parse(kind.as_str()), Some(kind));
            assert_eq!(EventKind::from_code(kind as u8), Some(kind));
        }
        assert_eq!(EventKind::parse("identity_merged"), None);
        assert_eq!(EventKind::from_code(24), None);
        let words: BTreeSet<_> = EventKind::ALL.map(EventKind::as_str).into();
        assert_eq!(words.len(), EventKind::ALL.len());
    }

    #[test]
    fn every_basis_is_found_again_by_its_word_and_by_its_code() {
        for basis in Basis::ALL {
            assert_eq!(Basis::parse(basis.as_str()), Some(basis));
            assert_eq!(Basis::from_code(basis as u8), Some(basis));
        }
        assert_eq!(Basis::parse("Express"), None);
    }

    #[test]
    fn the_words_for_dead_letters_are_those_of_the_contract() {
        assert_eq!(
            MalformedKind::ALL.map(MalformedKind::as_str),
            [
                "not_json",
                "missing_field",
                "bad_field",
                "too_large",
                "unknown_type",
                "unknown_channel",
                "reserved_header",
                "reroute_failed"
            ]
        );
    }
}
