//! Which rules can be about an intent: by class, channel and division, so that the time of a judgement grows with the rules
//! that can match it and not with the file.
//!
//! The index only leaves out rules of which their selector, or the class's `obeys`, proves that they do not govern the
//! intent; all others are asked as before. They come in the order in which they decide: by step, then by id.

use crate::message::Name;
use crate::policy::model::{Class, Rule};
use crate::policy::selector::{Field, Pattern, Selector, Term};
use std::collections::HashMap;

/// A rule's place in the order in which rules decide.
type Rank = u32;

/// The rules of a policy, ready to be looked up.
#[derive(Debug)]
pub struct RuleIndex {
    /// By rank: position in `Policy::rules`.
    order: Vec<usize>,
    by_class: Vec<ByChannel>,
    /// Whether any condition reads what changes with time alone.
    depends_on_time: bool,
    pub(super) reads_fatigue: bool,
}

/// The rules that one class obeys.
#[derive(Debug, Default)]
struct ByChannel {
    any: ByDivision,
    named: HashMap<Name, ByDivision>,
}

/// Ranks, ascending.
#[derive(Debug, Default)]
struct ByDivision {
    any: Vec<Rank>,
    named: HashMap<Name, Vec<Rank>>,
}

impl RuleIndex {
    /// The index of these rules for these classes.
    pub fn new(rules: &[Rule], classes: &[Class]) -> Self {
        let mut order: Vec<usize> = (0..rules.len()).collect();
        order.sort_by_key(|position| (rules[*position].kind.reason().step(), &rules[*position].id));
        let by_class = classes.iter().map(|class| {
            let mut by_channel = ByChannel::default();
            for (rank, position) in (0..).zip(&order) {
                let rule = &rules[*position];
                if class.obeys.rule(rule) {
                    by_channel.enter(rank, &rule.governs, &class.name);
                }
            }
            by_channel
        });
        Self {
            by_class: by_class.collect(),
            depends_on_time: rules.iter().any(Rule::depends_on_time),
            reads_fatigue: rules.iter().any(Rule::reads_fatigue),
            order,
        }
    }

    /// Whether any rule reads facts that change with time alone.
    pub fn depends_on_time(&self) -> bool {
        self.depends_on_time
    }

    /// Positions in `Policy::rules` of the rules that may govern an intent of this class and division on this channel.
    pub fn candidates(&self, class: usize, channel: &str, division: &str) -> impl Iterator<Item = usize> {
        let by_channel = self.by_class.get(class);
        let buckets = [
            by_channel.map(|by_channel| &by_channel.any),
            by_channel.and_then(|by_channel| by_channel.named.get(channel)),
        ];
        let mut lists: [&[Rank]; 4] = [&[]; 4];
        for (index, bucket) in buckets.into_iter().flatten().enumerate() {
            lists[2 * index] = &bucket.any;
            lists[2 * index + 1] = bucket.named.get(division).map_or(&[], Vec::as_slice);
        }
        InOrder { lists }.filter_map(|rank| self.order.get(usize::try_from(rank).ok()?).copied())
    }
}

impl ByChannel {
    fn enter(&mut self, rank: Rank, governs: &Selector, class: &Name) {
        if exact_values(governs, Field::Class).is_some_and(|classes| !classes.contains(&class)) {
            return;
        }
        match exact_values(governs, Field::Channel) {
            None => self.any.enter(rank, governs),
            Some(channels) => channels
                .into_iter()
                .for_each(|channel| self.named.entry(channel.clone()).or_default().enter(rank, governs)),
        }
    }
}

impl ByDivision {
    fn enter(&mut self, rank: Rank, governs: &Selector) {
        match exact_values(governs, Field::Division) {
            None => self.any.push(rank),
            Some(divisions) => divisions
                .into_iter()
                .for_each(|division| self.named.entry(division.clone()).or_default().push(rank)),
        }
    }
}

/// The values, each once, of which a subject must have one to be selected; none: the selector does not say so.
fn exact_values(selector: &Selector, wanted: Field) -> Option<Vec<&Name>> {
    selector.terms.iter().find_map(|term| match term {
        Term::AnyOf { field, patterns } if *field == wanted => {
            let exact = patterns.iter().map(|pattern| match pattern {
                Pattern::Exact(value) => Some(value),
                Pattern::Prefix(_) => None,
            });
            let mut values = exact.collect::<Option<Vec<_>>>()?;
            values.sort_unstable();
            values.dedup();
            Some(values)
        }
        _ => None,
    })
}

/// Merges ascending lists that share no rank.
struct InOrder<'a> {
    lists: [&'a [Rank]; 4],
}

impl Iterator for InOrder<'_> {
    type Item = Rank;

    fn next(&mut self) -> Option<Rank> {
        let shortest = self.lists.iter_mut().filter(|list| !list.is_empty());
        let list = shortest.min_by_key(|list| list[0])?;
        let (first, rest) = list.split_first()?;
        *list = rest;
        Some(*first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::model::{Obeys, OnHit};
    use crate::policy::rules::{Gap, RuleKind};
    use crate::policy::window::{Span, ZoneChoice};
    use proptest::prelude::*;

    const CHANNELS: [&str; 3] = ["email", "sms", "push"];
    const DIVISIONS: [&str; 4] = ["cards", "loans", "cars", "elsewhere"];
    const CLASSES: [&str; 2] = ["marketing", "service"];

    fn rule(id: &str, governs: Selector) -> Rule {
        Rule {
            id: id.into(),
            when: None,
            counts: governs.clone(),
            governs,
            counts_by_class: true,
            per: Vec::new(),
            kind: RuleKind::Gap(Gap {
                length: Span::Exact { ms: 1 },
                zone: ZoneChoice::Company,
            }),
            on_hit: OnHit::SUPPRESS,
            shadow: false,
        }
    }

    fn class(name: &str) -> Class {
        Class {
            name: name.into(),
            rank: 1,
            obeys: Obeys::All,
            counts: true,
            hold_ms: 0,
            reserve: false,
        }
    }

    fn pattern(values: &'static [&'static str]) -> impl Strategy<Value = Pattern> {
        prop_oneof![
            4 => prop::sample::select(values).prop_map(|value| Pattern::Exact(value.into())),
            1 => Just(Pattern::Prefix("ca".into())),
        ]
    }

    fn term() -> impl Strategy<Value = Term> {
        let any_of = |field: Field, values| {
            prop::collection::vec(pattern(values), 1..3).prop_map(move |patterns| Term::AnyOf { field, patterns })
        };
        let plain = prop_oneof![
            any_of(Field::Channel, &CHANNELS),
            any_of(Field::Division, &DIVISIONS),
            any_of(Field::Class, &CLASSES),
        ];
        prop_oneof![3 => plain.clone(), 1 => plain.prop_map(|term| Term::Not(Selector { terms: vec![term] }))]
    }

    /// What the index stands for: every rule is asked, in order.
    fn matches(selector: &Selector, class: &str, channel: &str, division: &str) -> bool {
        selector.terms.iter().all(|term| match term {
            Term::AnyOf { field, patterns } => {
                let value = match field {
                    Field::Channel => channel,
                    Field::Division => division,
                    _ => class,
                };
                patterns.iter().any(|pattern| pattern.matches(value))
            }
            Term::Not(inner) => !matches(inner, class, channel, division),
            Term::AllTags(_) => false,
        })
    }

    proptest! {
        #[test]
        fn no_rule_that_governs_is_left_out_and_none_comes_twice_or_out_of_order(
            selectors in prop::collection::vec(prop::collection::vec(term(), 0..4), 0..30),
        ) {
            let rules: Vec<Rule> = selectors
                .into_iter()
                .enumerate()
                .map(|(index, terms)| rule(&format!("rule-{:02}", (index * 7) % 31), Selector { terms }))
                .collect();
            let classes = CLASSES.map(class);
            let index = RuleIndex::new(&rules, &classes);
            for (position, class) in CLASSES.iter().enumerate() {
                for channel in CHANNELS {
                    for division in DIVISIONS {
                        let found: Vec<usize> = index.candidates(position, channel, division).collect();
                        let ids: Vec<&Name> = found.iter().map(|position| &rules[*position].id).collect();
                        prop_assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
                        for (position, rule) in rules.iter().enumerate() {
                            let governs = matches(&rule.governs, class, channel, division);
                            prop_assert!(!governs || found.contains(&position), "{} is left out", rule.id);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn rules_of_other_divisions_and_channels_are_not_asked() {
        let term = |field, value: &str| Term::AnyOf {
            field,
            patterns: vec![Pattern::Exact(value.into())],
        };
        let rules: Vec<Rule> = (0..200)
            .map(|number| {
                let terms = vec![
                    term(Field::Division, &format!("division-{}", number % 20)),
                    term(Field::Channel, CHANNELS[number % 3]),
                ];
                rule(&format!("rule-{number:03}"), Selector { terms })
            })
            .collect();
        let index = RuleIndex::new(&rules, &[class("marketing")]);
        let asked = |division: &str| index.candidates(0, "email", division).count();
        assert_eq!(asked("division-0"), 4);
        assert_eq!(asked("unheard-of"), 0);
    }
}
