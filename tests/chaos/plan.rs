//! What happens in a round, drawn from its seed alone: the cluster, the instances, the load, and which faults come when.
//! Pure: the same seed is the same schedule on every machine.

use crate::frames::{Api, Harm};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::fmt;
use std::time::Duration;

/// The session of the instances. What is frozen for longer is taken for dead by the group.
pub const SESSION_MS: u64 = 6_000;

/// What the round runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One broker, `transaction.version` 1.
    SingleOld,
    /// One broker, `transaction.version` 2.
    SingleNew,
    /// Three brokers, `transaction.version` 2.
    Three,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::SingleOld => "1 broker v1",
            Self::SingleNew => "1 broker v2",
            Self::Three => "3 brokers v2",
        }
    }
}

/// How a store is damaged while its process is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// Nothing is left.
    Wiped,
    /// An older copy is put back.
    Stale,
    /// Bytes of table files are flipped.
    Tables,
    /// Bytes of write-ahead logs are flipped.
    Logs,
}

/// One fault. Instances and nodes are meant modulo their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// kill -9, and the start after a while.
    Kill {
        instance: usize,
        down: Duration,
    },
    /// SIGSTOP for longer than the session, then SIGCONT.
    Freeze {
        instance: usize,
        time: Duration,
    },
    /// SIGTERM, a clean end, and the start.
    Restart {
        instance: usize,
    },
    BrokerKill {
        node: usize,
        down: Duration,
    },
    BrokerFreeze {
        node: usize,
        time: Duration,
    },
    /// The node that leads the most is stopped, so that others lead, and comes back.
    LeaderMove,
    /// Every connection of the instances ends, so often.
    Cut {
        times: u32,
    },
    /// The instances reach no broker.
    Outage {
        time: Duration,
    },
    /// Requests or answers of one kind are harmed on their way.
    Wire {
        api: Api,
        harm: Harm,
        times: u32,
    },
    State {
        instance: usize,
        damage: Damage,
    },
    /// No space is left where the first instance has its state.
    FullDisk {
        time: Duration,
    },
    /// The instances are restarted one after the other, each with a new policy.
    Rollout,
}

/// Every name of [`Fault::name`], in the order of the table.
pub const NAMES: &[&str] = &[
    "instance killed",
    "instance frozen",
    "clean restart",
    "broker killed",
    "broker frozen",
    "leaders moved",
    "connections cut",
    "network outage",
    "EndTxn answer lost",
    "EndTxn answer delayed",
    "EndTxn request cut",
    "EndTxn request late",
    "other answer lost",
    "other answer delayed",
    "other request cut",
    "other request late",
    "state wiped",
    "state stale",
    "tables flipped",
    "WAL flipped",
    "disk full",
    "policy rollout",
];

impl Fault {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Kill { .. } => "instance killed",
            Self::Freeze { .. } => "instance frozen",
            Self::Restart { .. } => "clean restart",
            Self::BrokerKill { .. } => "broker killed",
            Self::BrokerFreeze { .. } => "broker frozen",
            Self::LeaderMove => "leaders moved",
            Self::Cut { .. } => "connections cut",
            Self::Outage { .. } => "network outage",
            Self::Wire { api, harm, .. } => match (*api == Api::END_TXN, harm) {
                (true, Harm::LoseAnswer | Harm::CutBeforeAnswer) => "EndTxn answer lost",
                (true, Harm::DelayAnswer(_)) => "EndTxn answer delayed",
                (true, Harm::CutBeforeRequest) => "EndTxn request cut",
                (true, Harm::LateRequest(_)) => "EndTxn request late",
                (false, Harm::LoseAnswer | Harm::CutBeforeAnswer) => "other answer lost",
                (false, Harm::DelayAnswer(_)) => "other answer delayed",
                (false, Harm::CutBeforeRequest) => "other request cut",
                (false, Harm::LateRequest(_)) => "other request late",
            },
            Self::State { damage, .. } => match damage {
                Damage::Wiped => "state wiped",
                Damage::Stale => "state stale",
                Damage::Tables => "tables flipped",
                Damage::Logs => "WAL flipped",
            },
            Self::FullDisk { .. } => "disk full",
            Self::Rollout => "policy rollout",
        }
    }

    /// While it lasts, an instance that starts may not reach the cluster and give up.
    pub fn takes_the_cluster_away(&self) -> bool {
        matches!(
            self,
            Self::BrokerKill { .. } | Self::BrokerFreeze { .. } | Self::LeaderMove | Self::Outage { .. }
        )
    }

    /// The next fault may come before this one is over: nothing has to be looked at in between.
    fn may_overlap(&self) -> bool {
        matches!(
            self,
            Self::Kill { .. }
                | Self::Restart { .. }
                | Self::Freeze { .. }
                | Self::Cut { .. }
                | Self::Outage { .. }
                | Self::Wire { .. }
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())?;
        match self {
            Self::Kill { instance, down } => write!(formatter, " #{instance} {}ms", down.as_millis()),
            Self::Freeze { instance, time } => write!(formatter, " #{instance} {}ms", time.as_millis()),
            Self::Restart { instance } | Self::State { instance, .. } => write!(formatter, " #{instance}"),
            Self::BrokerKill { node, down: time } | Self::BrokerFreeze { node, time } => {
                write!(formatter, " #{node} {}ms", time.as_millis())
            }
            Self::Cut { times } => write!(formatter, " x{times}"),
            Self::Outage { time } | Self::FullDisk { time } => write!(formatter, " {}ms", time.as_millis()),
            Self::Wire { api, harm, times } => {
                let how = match harm {
                    Harm::LoseAnswer => "lost".to_owned(),
                    Harm::CutBeforeAnswer => "lost, cut".to_owned(),
                    Harm::DelayAnswer(time) => format!("{}ms", time.as_millis()),
                    Harm::CutBeforeRequest => "cut".to_owned(),
                    Harm::LateRequest(time) => format!("{}ms late", time.as_millis()),
                };
                write!(formatter, " ({} {how} x{times})", api.name)
            }
            Self::LeaderMove | Self::Rollout => Ok(()),
        }
    }
}

/// A fault and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// After the step before.
    pub after: Duration,
    pub fault: Fault,
    /// Whether all partitions have to run before the next step.
    pub settles: bool,
}

/// One round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub seed: u64,
    pub kind: Kind,
    /// 1 to 3.
    pub instances: usize,
    /// Of each instance: 1 or 2.
    pub workers: usize,
    /// The stricter of the two policies comes first.
    pub strict_first: bool,
    /// Between two portions of the load.
    pub pause: Duration,
    pub steps: Vec<Step>,
}

type Draw = fn(&mut ChaCha8Rng, Kind) -> Fault;

/// What is drawn from, with its weight.
const DRAWS: &[(u32, Draw)] = &[
    (10, |random, _| Fault::Kill {
        instance: random.random_range(0..3),
        down: millis(random, &[0, 0, 300, 2_000, SESSION_MS + 1_500]),
    }),
    (8, |random, _| Fault::Freeze {
        instance: random.random_range(0..3),
        time: Duration::from_millis(random.random_range(SESSION_MS + 1_000..SESSION_MS + 3_000)),
    }),
    (5, |random, _| Fault::Restart {
        instance: random.random_range(0..3),
    }),
    (7, |random, _| Fault::BrokerKill {
        node: random.random_range(0..3),
        down: millis(random, &[0, 500, 2_000, 5_000]),
    }),
    (6, |random, _| Fault::BrokerFreeze {
        node: random.random_range(0..3),
        time: Duration::from_millis(random.random_range(1_500..8_000)),
    }),
    (12, |random, kind| match kind {
        Kind::Three => Fault::LeaderMove,
        _ => Fault::Restart {
            instance: random.random_range(0..3),
        },
    }),
    (5, |random, _| Fault::Cut {
        times: random.random_range(1..5),
    }),
    (4, |random, _| Fault::Outage {
        time: Duration::from_millis(random.random_range(1_500..7_500)),
    }),
    (28, |random, _| wire(random, Api::END_TXN)),
    (20, |random, _| {
        let apis = [
            Api::PRODUCE,
            Api::ADD_PARTITIONS_TO_TXN,
            Api::ADD_OFFSETS_TO_TXN,
            Api::TXN_OFFSET_COMMIT,
            Api::LIST_OFFSETS,
        ];
        let api = *apis.choose(random).expect("one of them");
        wire(random, api)
    }),
    (18, |random, _| {
        let kinds = [Damage::Wiped, Damage::Stale, Damage::Tables, Damage::Logs];
        Fault::State {
            instance: random.random_range(0..3),
            damage: *kinds.choose(random).expect("one of them"),
        }
    }),
    (5, |random, _| Fault::FullDisk {
        time: Duration::from_millis(random.random_range(500..3_000)),
    }),
    (6, |_, _| Fault::Rollout),
];

fn millis(random: &mut ChaCha8Rng, choices: &[u64]) -> Duration {
    Duration::from_millis(*choices.choose(random).expect("one of them"))
}

fn wire(random: &mut ChaCha8Rng, api: Api) -> Fault {
    let harm = match random.random_range(0..100) {
        0..30 => Harm::CutBeforeAnswer,
        30..38 => Harm::LoseAnswer,
        38..57 => Harm::DelayAnswer(millis(random, &[300, 900, 1_500, 4_000, 7_000])),
        57..75 => Harm::CutBeforeRequest,
        _ => Harm::LateRequest(millis(random, &[100, 300, 600, 1_500, 4_000])),
    };
    let times = match harm {
        // The client waits for each for a long time.
        Harm::LoseAnswer => 1,
        _ => random.random_range(1..4),
    };
    Fault::Wire { api, harm, times }
}

impl Plan {
    /// The schedule of a seed.
    pub fn of(seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let kind = match random.random_range(0..100) {
            0..35 => Kind::SingleOld,
            35..70 => Kind::SingleNew,
            _ => Kind::Three,
        };
        let mut plan = Self {
            seed,
            kind,
            instances: random.random_range(1..=3),
            workers: random.random_range(1..=2),
            strict_first: random.random_bool(0.3),
            pause: millis(&mut random, &[100, 150, 300, 600]),
            steps: Vec::new(),
        };
        let count = [1, 2, 2, 2, 3].choose(&mut random).expect("one of them");
        for _ in 0..*count {
            let fault = plan.draw(&mut random);
            let after = Duration::from_millis(random.random_range(0..1_200));
            let settles = !(fault.may_overlap() && random.random_bool(0.35));
            plan.steps.push(Step { after, fault, settles });
        }
        if let Some(last) = plan.steps.last_mut() {
            last.settles = true;
        }
        plan
    }

    /// A fault that this round does not have yet: a second one of its kind would show little.
    fn draw(&self, random: &mut ChaCha8Rng) -> Fault {
        loop {
            let (_, draw) = DRAWS
                .choose_weighted(random, |(weight, _)| *weight)
                .expect("weights that are not zero");
            let fault = draw(random, self.kind);
            let taken = self.steps.iter().any(|step| step.fault.name() == fault.name());
            if !taken {
                return fault;
            }
        }
    }

    /// How long the client waits before it asks again: the default of Forbear in half of the rounds, in the others librdkafka's,
    /// under which what is asked again, and what comes late then, is a matter of a tenth of a second.
    pub fn backoff_ms(&self) -> u64 {
        if self.seed.is_multiple_of(2) { 100 } else { 1_000 }
    }

    /// The state of the first instance lies on a disk that can be filled.
    pub fn has_small_disk(&self) -> bool {
        let fills = |step: &Step| matches!(step.fault, Fault::FullDisk { .. });
        self.steps.iter().any(fills)
    }

    /// One line that starts this round again.
    pub fn reproduction(&self) -> String {
        format!(
            "FORBEAR_CHAOS_SEED={} FORBEAR_CHAOS_ROUNDS=1 cargo test --test chaos -- --nocapture",
            self.seed
        )
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = if self.strict_first { "strict" } else { "usual" };
        write!(
            formatter,
            "{}, {}x{} workers, {policy} policy, load every {} ms",
            self.kind.name(),
            self.instances,
            self.workers,
            self.pause.as_millis()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_seed_is_always_the_same_schedule_and_another_seed_another_one() {
        assert_eq!(Plan::of(7), Plan::of(7));
        let distinct = (0..100).filter(|seed| Plan::of(*seed).steps != Plan::of(seed + 1).steps);
        assert!(distinct.count() > 95);
    }

    #[test]
    fn the_rounds_of_every_test_run_have_lost_ends_of_transactions_under_both_protocols_a_kill_and_a_freeze() {
        let plans: Vec<Plan> = crate::SHORT_RUN.iter().map(|seed| Plan::of(*seed)).collect();
        let has = |kind: Option<Kind>, name: &str| {
            let fits = |plan: &&Plan| kind.is_none_or(|kind| plan.kind == kind);
            plans
                .iter()
                .filter(fits)
                .flat_map(|plan| &plan.steps)
                .any(|step| step.fault.name() == name)
        };
        assert!(has(Some(Kind::SingleOld), "EndTxn answer lost"), "{plans:#?}");
        assert!(has(Some(Kind::SingleOld), "EndTxn request late"), "{plans:#?}");
        assert!(has(Some(Kind::SingleNew), "EndTxn request cut"), "{plans:#?}");
        assert!(
            has(None, "instance killed") && has(None, "instance frozen"),
            "{plans:#?}"
        );
        // Three brokers take longer to start than the rest of it.
        assert!(plans.iter().all(|plan| plan.kind != Kind::Three), "{plans:#?}");
    }

    #[test]
    fn two_hundred_rounds_have_every_fault_and_every_kind_of_cluster_several_times() {
        for first in [0, 1_000, 77_777] {
            let plans: Vec<Plan> = (first..first + 200).map(Plan::of).collect();
            let mut faults: BTreeMap<&str, usize> = BTreeMap::new();
            let mut kinds: BTreeMap<Kind, usize> = BTreeMap::new();
            for plan in &plans {
                *kinds.entry(plan.kind).or_default() += 1;
                for step in &plan.steps {
                    assert!(NAMES.contains(&step.fault.name()), "{}", step.fault);
                    *faults.entry(step.fault.name()).or_default() += 1;
                }
                assert!((1..=3).contains(&plan.instances) && (1..=2).contains(&plan.workers));
                assert!(plan.steps.last().is_some_and(|step| step.settles));
            }
            for name in NAMES {
                assert!(faults.get(name).is_some_and(|count| *count >= 3), "{name}: {faults:?}");
            }
            assert!(kinds.len() == 3 && kinds.values().all(|count| *count > 30), "{kinds:?}");
        }
    }
}
