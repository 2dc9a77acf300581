//! Faults, done: each says what shows that it hit.

use crate::cluster::Cluster;
use crate::files;
use crate::fleet::{Baseline, Fleet, Trouble};
use crate::frames::{Api, Harm, Order};
use crate::harness::os;
use crate::plan::{Damage, Fault, SESSION_MS};
use crate::policies::Known;
use crate::scene::Scene;
use crate::small_disk::SmallDisk;
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What a fault acts on.
pub struct World<'a> {
    pub cluster: &'a Cluster,
    pub scene: Scene,
    pub fleet: Fleet<'a>,
    pub random: ChaCha8Rng,
    /// The disk of the first instance, and the file that takes its space.
    pub disk: Option<(SmallDisk, PathBuf)>,
    /// What a rollout brings.
    pub next_policy: Known,
    /// Waits for a fault to hit are so many times as long: more in a round that is repeated.
    pub patience: u32,
}

/// Whether a fault hit, and what shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hit {
    Yes(String),
    No(String),
    /// This machine does not allow it.
    Impossible(String),
}

/// What has to be looked at after the recovery.
enum Evidence {
    Now(Hit),
    /// This process must have replayed something.
    Replayed {
        instance: usize,
        what: String,
    },
    /// The instance must have opened stores of these partitions.
    Opened {
        instance: usize,
        partitions: BTreeSet<i64>,
        what: String,
    },
    /// Every instance must have this policy.
    Label(String),
}

/// A fault that is over.
pub struct Strike {
    pub ended: Instant,
    pub baseline: Baseline,
    evidence: Evidence,
}

/// How long a fault waits for what it is about to harm.
const LOOK: Duration = Duration::from_secs(10);

impl World<'_> {
    /// Does it, and comes back when it is over.
    pub fn strike(&mut self, fault: &Fault) -> Result<Strike, Trouble> {
        self.fleet.tend()?;
        self.fleet.cluster_was_away |= fault.takes_the_cluster_away();
        let evidence = match *fault {
            Fault::Kill { instance, down } => self.kill(instance, down),
            Fault::Freeze { instance, time } => self.freeze(instance, time),
            Fault::Restart { instance } => self.restart(instance)?,
            Fault::BrokerKill { node, down } => self.kill_broker(node, down),
            Fault::BrokerFreeze { node, time } => self.freeze_broker(node, time),
            Fault::LeaderMove => self.move_leaders(),
            Fault::Cut { times } => self.cut(times),
            Fault::Outage { time } => self.outage(time),
            Fault::Wire {
                api: api @ (Api::END_TXN | Api::TXN_OFFSET_COMMIT),
                harm: Harm::LateRequest(time),
                times,
            } => self.come_late(api, time, times),
            Fault::Wire { api, harm, times } => self.harm(api, harm, times),
            Fault::State { instance, damage } => self.damage(instance, damage)?,
            Fault::FullDisk { time } => self.fill_disk(time),
            Fault::Rollout => self.roll_out()?,
        };
        Ok(Strike {
            ended: Instant::now(),
            baseline: self.fleet.baseline(),
            evidence,
        })
    }

    /// What shows that it hit: looked at when all partitions run again.
    pub fn confirm(&self, strike: Strike) -> Hit {
        match strike.evidence {
            Evidence::Now(hit) => hit,
            Evidence::Replayed { instance, what } => {
                let member = &self.fleet.members[instance];
                let records = member.metric("forbear_restore_records_total", &[]);
                hit_if(records > 0.0, format!("{what}; {records} records replayed"))
            }
            Evidence::Opened {
                instance,
                partitions,
                what,
            } => {
                let member = &self.fleet.members[instance];
                let held: BTreeSet<i64> = member.partitions().into_keys().collect();
                let opened = held.intersection(&partitions).count();
                let noticed = member.process.log().matches("set aside").count();
                let replayed = member.metric("forbear_restore_records_total", &[]);
                let text = format!("{what}; {opened} opened, {noticed} set aside, {replayed} records replayed");
                hit_if(opened > 0, text)
            }
            Evidence::Label(label) => {
                let has = |member: &crate::member::Member| {
                    member.readiness().is_some_and(|body| body["policy"] == label.as_str())
                };
                let count = self.fleet.members.iter().filter(|member| has(member)).count();
                let all = self.fleet.members.len();
                hit_if(count == all, format!("{count} of {all} have it"))
            }
        }
    }

    fn kill(&mut self, instance: usize, down: Duration) -> Evidence {
        let index = self.fleet.index(instance);
        let killed = self.fleet.kill(index);
        std::thread::sleep(down);
        self.fleet.members[index].start_again();
        now(killed, "ended by SIGKILL")
    }

    fn freeze(&mut self, instance: usize, time: Duration) -> Evidence {
        let index = self.fleet.index(instance);
        let process = &mut self.fleet.members[index].process;
        process.sigstop();
        std::thread::sleep(time);
        let stopped = process.is_running() && os::is_stopped(process.id());
        process.sigcont();
        let long = time > Duration::from_millis(SESSION_MS);
        now(stopped && long, "held for longer than its session")
    }

    fn restart(&mut self, instance: usize) -> Result<Evidence, Trouble> {
        let index = self.fleet.index(instance);
        let clean = self.fleet.end(index)?;
        self.fleet.members[index].start_again();
        Ok(now(clean, "ended with 0"))
    }

    fn kill_broker(&mut self, node: usize, down: Duration) -> Evidence {
        let broker = &self.cluster.broker;
        let node = node % self.cluster.nodes();
        let process = broker.node_process(node);
        broker.kill9_node(node);
        let gone = process.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists());
        std::thread::sleep(down);
        broker.restart();
        now(gone, "the process is gone")
    }

    fn freeze_broker(&mut self, node: usize, time: Duration) -> Evidence {
        let broker = &self.cluster.broker;
        let node = node % self.cluster.nodes();
        broker.freeze_node(node);
        std::thread::sleep(time);
        let stopped = broker.node_process(node).is_some_and(os::is_stopped);
        broker.thaw_node(node);
        now(stopped, "held")
    }

    fn move_leaders(&mut self) -> Evidence {
        let (cluster, topic) = (self.cluster, self.scene.topics.intents[0].clone());
        let before = cluster.leaders(&topic);
        let mut led: BTreeMap<usize, usize> = BTreeMap::new();
        before
            .values()
            .flatten()
            .for_each(|node| *led.entry(*node).or_default() += 1);
        let Some(node) = led.iter().max_by_key(|(_, count)| **count).map(|(node, _)| *node) else {
            return now(false, "nobody leads");
        };
        cluster.broker.stop_node(node);
        let moved = within(LOOK * self.patience, || {
            let after = cluster.leaders(&topic);
            after.len() == before.len() && after.values().all(|leader| leader.is_some_and(|leader| leader != node))
        });
        cluster.broker.restart();
        let text = format!("{} partitions of the intents led by others", led[&node]);
        now(moved, &text)
    }

    fn cut(&mut self, times: u32) -> Evidence {
        let mut cut = 0;
        for _ in 0..times {
            cut += self.cluster.orders.cut_all();
            std::thread::sleep(Duration::from_millis(400));
        }
        now(cut > 0, &format!("{cut} connections cut"))
    }

    fn outage(&mut self, time: Duration) -> Evidence {
        let orders = &self.cluster.orders;
        orders.refuse(true);
        let cut = orders.cut_all();
        std::thread::sleep(time);
        let refused = orders.refuse(false);
        now(cut > 0 && refused > 0, &format!("{cut} cut, {refused} refused"))
    }

    fn harm(&mut self, api: Api, harm: Harm, times: u32) -> Evidence {
        let orders = &self.cluster.orders;
        orders.give(Order::new(api, harm, times));
        within(LOOK * self.patience, || orders.done() == times);
        let done = orders.withdraw();
        // What was held back is over, too.
        if let Harm::LateRequest(time) | Harm::DelayAnswer(time) = harm {
            std::thread::sleep(time);
        }
        now(done > 0, &format!("{done} of {times}"))
    }

    /// A late request to end a transaction, or to put positions into it, shows something only where it meets a later
    /// transaction that is open: what is written is answered slowly meanwhile, so that there is one.
    fn come_late(&mut self, api: Api, time: Duration, times: u32) -> Evidence {
        let orders = &self.cluster.orders;
        let (mut late, mut held) = (0, 0);
        for _ in 0..times {
            orders.give(Order::new(api, Harm::LateRequest(time), 1));
            within(LOOK * self.patience, || orders.done() == 1);
            late += orders.withdraw();
            if api == Api::TXN_OFFSET_COMMIT {
                // It was asked again; that transaction has to end before the late request can meet another one.
                orders.give(Order::new(Api::END_TXN, Harm::DelayAnswer(Duration::ZERO), 1));
                within(time, || orders.done() == 1);
            }
            let slow = time + Duration::from_millis(500);
            orders.give(Order::new(Api::PRODUCE, Harm::DelayAnswer(slow), u32::MAX));
            std::thread::sleep(slow);
            held += orders.withdraw();
            // The answers that wait.
            std::thread::sleep(slow);
        }
        let text = format!("{late} of {times}, {held} answers to writes held meanwhile");
        now(late > 0 && held > 0, &text)
    }

    fn damage(&mut self, instance: usize, damage: Damage) -> Result<Evidence, Trouble> {
        let index = self.fleet.index(instance);
        let state = self.fleet.members[index].launch.state.clone();
        let mut killed = self.fleet.kill(index);
        let evidence = match damage {
            Damage::Wiped => {
                files::empty(&state);
                Evidence::Replayed {
                    instance: index,
                    what: "wiped".to_owned(),
                }
            }
            Damage::Stale => {
                let copy = state.with_extension("copy");
                os::copy_directory(&state, &copy);
                let before = self.scene.verdicts();
                killed &= self.run_for_a_while(index)?;
                let lacks = self.scene.verdicts() - before;
                files::empty(&state);
                os::copy_directory(&copy, &state);
                fs::remove_dir_all(&copy).expect("the copy is removed");
                Evidence::Replayed {
                    instance: index,
                    what: format!("put back {lacks} offsets of outputs later"),
                }
            }
            Damage::Tables | Damage::Logs => {
                let extension = if damage == Damage::Tables { "sst" } else { "log" };
                let mut found = files::database_files(&state, extension);
                if found.is_empty() {
                    // Tables are written when a store is opened again.
                    killed &= self.run_for_a_while(index)?;
                    found = files::database_files(&state, extension);
                }
                let partitions = files::flip(&found, &mut self.random);
                let what = format!("{} files of {} partitions", found.len(), partitions.len());
                Evidence::Opened {
                    instance: index,
                    partitions,
                    what,
                }
            }
        };
        self.fleet.members[index].start_again();
        Ok(if killed {
            evidence
        } else {
            now(false, "the instance ended by itself")
        })
    }

    /// Starts an instance that is down, lets it work, and kills it again.
    fn run_for_a_while(&mut self, index: usize) -> Result<bool, Trouble> {
        let since = self.fleet.baseline();
        self.fleet.members[index].start_again();
        self.fleet.wait_until_recovered(&since)?;
        std::thread::sleep(Duration::from_secs(1));
        Ok(self.fleet.kill(index))
    }

    fn fill_disk(&mut self, time: Duration) -> Evidence {
        let Some((disk, filler)) = &self.disk else {
            return Evidence::Now(Hit::Impossible("mounting is not allowed here".to_owned()));
        };
        let member = &self.fleet.members[0];
        let said = || member.process.log().matches("No space left").count();
        let before = said();
        let hit = within(LOOK * self.patience, || {
            disk.fill_up(filler);
            said() > before
        });
        let start = Instant::now();
        while start.elapsed() < time {
            disk.fill_up(filler);
            std::thread::sleep(Duration::from_millis(100));
        }
        fs::remove_file(filler).expect("the filler is removed");
        now(hit, "it says that no space is left")
    }

    fn roll_out(&mut self) -> Result<Evidence, Trouble> {
        let mut clean = true;
        for index in 0..self.fleet.members.len() {
            self.fleet.members[index].launch.policy = self.next_policy.text.clone();
            clean &= self.fleet.end(index)?;
            self.fleet.members[index].start_again();
            self.fleet.wait_until_running()?;
        }
        let label = Evidence::Label(self.next_policy.label.clone());
        Ok(if clean {
            label
        } else {
            now(false, "an instance ended by itself")
        })
    }
}

fn now(hit: bool, what: &str) -> Evidence {
    Evidence::Now(hit_if(hit, what.to_owned()))
}

fn hit_if(hit: bool, what: String) -> Hit {
    if hit { Hit::Yes(what) } else { Hit::No(what) }
}

/// Looks until it holds, or until the time is over.
fn within(time: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if holds() {
            return true;
        }
        if start.elapsed() > time {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
