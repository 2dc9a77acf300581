//! What one decision costs: `judge` alone over policies and ledgers of several sizes, the whole `step` with its records, and
//! the codecs around it. Nanoseconds of one core; compare rows of one run.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use forbear::customer::{CapacityUse, Contact, ContactState, Customer, DecisionCoordinates, codec};
use forbear::message::{Intent, Name, decode_event, decode_intent};
use forbear::policy::judge::{Situation, judge};
use forbear::policy::judgement::Verdict;
use forbear::policy::model::Policy;
use forbear::verdict::step::{self, Arrival, Effects, StepContext};
use forbear::verdict::{Received, SourceCoordinates, Stamp, TopicNames};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::hint::black_box;

/// 2026-03-10T15:00:00Z: a Tuesday, in the middle of the day in New York.
const NOW_MS: i64 = 1_773_154_800_000;
const HOUR_MS: i64 = 3_600_000;
const DIVISIONS: usize = 20;
const CHANNELS: [&str; 4] = ["email", "sms", "push", "phone"];

const HEAD: &str = "forbear: 1
name: bench
timezone: America/New_York
channels:
  email: { consent: opt-out }
  sms: { consent: opt-out }
  push: { consent: opt-out }
  phone: { consent: opt-out }
classes:
  marketing: { rank: 1, obeys: all, counts: true }
rules:
";

/// Which of the rules can be about one intent.
#[derive(Clone, Copy)]
enum Reach {
    /// Every rule governs everything.
    All,
    /// Each rule is of one division and one channel, so that most are about somebody else.
    OneDivision,
}

/// A policy of so many rules of the usual kinds, none of which is ever hit.
fn policy(rules: usize, reach: Reach) -> Policy {
    let mut text = HEAD.to_owned();
    for number in 0..rules {
        let governs = match reach {
            Reach::All => "class: marketing".to_owned(),
            Reach::OneDivision => format!(
                "class: marketing, division: division-{}, channel: {}",
                number % DIVISIONS,
                CHANNELS[(number / DIVISIONS) % CHANNELS.len()]
            ),
        };
        let kind = match number % 5 {
            0 => "cap: { limit: 100000, window: 7d }",
            1 => "cap: { limit: 100000, window: calendar-day, timezone: customer }",
            2 => "gap: 1s",
            3 => "send-window: { open: [ { days: mon-sun, from: \"00:00\", to: \"24:00\" } ] }",
            _ => "cool-off: { after: [complained], for: 90d }",
        };
        let condition = match number % 10 {
            3 => ", when: '!(\"vip\" in customer.segments)'",
            _ => "",
        };
        writeln!(
            text,
            "  - {{ id: rule-{number}, {kind}, for: {{ {governs} }}{condition} }}"
        )
        .expect("a line");
    }
    match Policy::load(text.as_bytes(), "bench.yaml", None) {
        Ok((policy, _)) => policy,
        Err(errors) => panic!("{}", errors.to_text(false)),
    }
}

fn intent_bytes() -> Vec<u8> {
    let mut text = String::from(
        r#"{"intent_id":"cards-2026-03-000001","customer_id":"customer-0000042","channel":"email","division":"division-3","class":"marketing","campaign":"spring","category":"promo","tags":["spring","cards"],"expires_at":"2026-03-12T18:00:00Z","payload":{"template":"spring-7","text":""#,
    );
    while text.len() < 397 {
        text.push('x');
    }
    text.push_str("\"}}");
    text.into_bytes()
}

fn intent(value: &[u8]) -> Intent {
    decode_intent(Some(value), &[], NOW_MS, 983_040, false).expect("an intent")
}

/// A customer with so many contacts, one every 50 hours.
fn customer(contacts: usize) -> Customer {
    let mut customer = Customer::new("customer-0000042".into());
    customer.profile.timezone = Some("America/Los_Angeles".into());
    customer.contacts = (0..contacts)
        .rev()
        .map(|number| {
            let at_ms = NOW_MS - 50 * HOUR_MS * (i64::try_from(number).expect("a small number") + 1);
            contact(at_ms, number)
        })
        .collect();
    customer
}

fn contact(at_ms: i64, number: usize) -> Contact {
    let division: Name = format!("division-{}", number % DIVISIONS).into();
    Contact {
        at_ms,
        state: ContactState::Delivered,
        reported_at_ms: at_ms,
        intent_hash: u64::try_from(number).expect("a small number"),
        decision: Some(DecisionCoordinates {
            topic: "forbear.intents".into(),
            partition: 3,
            offset: 1_000,
            attempt: 0,
        }),
        channel: CHANNELS[number % CHANNELS.len()].into(),
        division,
        class: "marketing".into(),
        message_type: "campaign".into(),
        campaign: Some("winter".into()),
        category: Some("promo".into()),
        topic: None,
        offer: None,
        tags: Vec::new(),
        cost_micros: 2_000,
        endpoint_hash: None,
    }
}

fn measure_judge(
    criterion: &mut Criterion,
    group: &str,
    name: impl std::fmt::Display,
    policy: &Policy,
    contacts: usize,
) {
    let value = intent_bytes();
    let (intent, customer) = (intent(&value), customer(contacts));
    let capacity = CapacityUse::default();
    let situation = Situation {
        first_deferred_ms: None,
        partition_count: 12,
        capacity: &capacity,
    };
    let judgement = judge(policy, &customer, &intent, NOW_MS, &situation);
    assert_eq!(judgement.verdict, Verdict::Approved, "{:?}", judgement.blocked_by);
    criterion
        .benchmark_group(group)
        .bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| {
                judge(
                    black_box(policy),
                    black_box(&customer),
                    black_box(&intent),
                    NOW_MS,
                    &situation,
                )
            });
        });
}

fn by_rules(criterion: &mut Criterion) {
    for rules in [3, 10, 50, 200] {
        let all = policy(rules, Reach::All);
        measure_judge(criterion, "judge, all rules match, 10 contacts", rules, &all, 10);
        let few = policy(rules, Reach::OneDivision);
        measure_judge(
            criterion,
            "judge, rules of 20 divisions and 4 channels, 10 contacts",
            rules,
            &few,
            10,
        );
    }
}

fn by_contacts(criterion: &mut Criterion) {
    let policy = policy(5, Reach::All);
    for contacts in [0, 10, 100, 1_000] {
        measure_judge(criterion, "judge, 5 rules, contacts", contacts, &policy, contacts);
    }
}

fn whole_step(criterion: &mut Criterion) {
    let policy = policy(5, Reach::All);
    let topics = TopicNames {
        approved_prefix: "approved.".into(),
        suppressed_prefix: "suppressed.".into(),
        decisions: Some("forbear.decisions".into()),
        dead_letter: "forbear.dead-letter".into(),
        reroute: "forbear.reroute".into(),
        state: "forbear.state".into(),
        policies: "forbear.policies".into(),
    };
    let barrier: [(Name, i64); 2] = [("forbear.engagement".into(), 5_512), ("forbear.reroute".into(), 17)];
    let value = intent_bytes();
    let intent = intent(&value);
    let context = StepContext {
        policy: &policy,
        topics: &topics,
        stamp: Stamp {
            decided_at_ms: NOW_MS,
            policy: &policy.label,
            barrier: &barrier,
        },
        partition_count: 12,
        max_intent_bytes: 983_040,
    };
    let secret = [7; 16];
    criterion.bench_function(
        "step: approve with records and changed state, 5 rules, 10 contacts",
        |bencher| {
            bencher.iter_batched_ref(
                || customer(10),
                |customer| {
                    let arrival = Arrival {
                        source: SourceCoordinates {
                            topic: "forbear.intents".into(),
                            partition: 3,
                            offset: 81_723,
                        },
                        timestamp_ms: NOW_MS - 40,
                        received: Received {
                            key: Some(b"customer-0000042"),
                            value: Some(&value),
                            headers: &[],
                        },
                        intent: &intent,
                    };
                    let mut effects = Effects::default();
                    let mut read = |_: &[u8]| Ok::<_, Infallible>(None);
                    step::arrival(&context, customer, &arrival, &mut read, &mut effects).expect("a step");
                    (effects, customer.changes(&secret))
                },
                criterion::BatchSize::SmallInput,
            );
        },
    );
}

fn codecs(criterion: &mut Criterion) {
    let value = intent_bytes();
    assert_eq!(value.len(), 400);
    criterion.bench_function("decode an intent of 400 bytes", |bencher| {
        bencher.iter(|| decode_intent(Some(black_box(&value)), &[], NOW_MS, 983_040, false));
    });
    let event = br#"{"event_id":"e-0000001","customer_id":"customer-0000042","type":"delivered","intent_id":"cards-2026-03-000001","channel":"email","occurred_at":"2026-03-10T14:59:58.123Z"}"#;
    criterion.bench_function("decode an engagement event", |bencher| {
        bencher.iter(|| decode_event(Some(black_box(event)), &[], 983_040, false));
    });
    let customer = customer(10);
    let head = codec::encode_head(&customer, &[], &customer.contacts);
    println!("a head with 10 contacts has {} bytes", head.len());
    criterion.bench_function("encode a head with 10 contacts", |bencher| {
        bencher.iter(|| codec::encode_head(black_box(&customer), &[], &customer.contacts));
    });
    criterion.bench_function("decode a head with 10 contacts", |bencher| {
        bencher.iter(|| codec::decode_head("customer-0000042".into(), black_box(&head)));
    });
}

criterion_group!(benches, by_rules, by_contacts, whole_step, codecs);
criterion_main!(benches);
