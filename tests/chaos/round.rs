//! One round: topics and instances of its own on a cluster that is shared, a load, the faults of the plan, rest, and the audit.

use crate::audit_command;
use crate::cluster::Cluster;
use crate::fleet::{Fleet, Trouble};
use crate::load::Load;
use crate::plan::{Plan, SESSION_MS};
use crate::policies::{self, Known};
use crate::scene::{AtRest, Place, Scene};
use crate::small_disk::SmallDisk;
use crate::strike::{Hit, World};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Space on the small disk. So little that RocksDB reserves none of it (it would then not become full), and enough for a round.
const DISK_LEFT_BYTES: u64 = 3 << 20;

/// How a fault of the plan went.
#[derive(Debug, Clone, PartialEq)]
pub struct Struck {
    pub name: &'static str,
    /// As the plan says it.
    pub text: String,
    pub hit: Hit,
    /// From the end of the fault until all partitions ran. None: the next fault came before.
    pub recovery: Option<Duration>,
}

/// What is said of a round.
#[derive(Debug, Clone)]
pub enum Verdict {
    Kept,
    /// Kafka lost the end of a transaction (see [`crate::harness::Broker::unless_it_forgot_markers`]): it shows nothing.
    KafkaForgot(String),
    /// A fault did not hit.
    Missed,
    Broken(Trouble),
}

/// A round that is over.
pub struct Outcome {
    pub plan: Plan,
    pub verdict: Verdict,
    pub struck: Vec<Struck>,
    /// What was read at the end.
    pub counts: String,
    /// Restarts that instances asked for, and those for want of a cluster.
    pub restarts: (usize, usize),
    pub took: Duration,
    /// Of that: until all ran, the faults, the way to rest, the audit.
    pub phases: Vec<Duration>,
    /// Where the logs are, if it failed.
    pub kept: Option<PathBuf>,
}

/// A load that goes on until it is enough.
struct Running {
    enough: Arc<AtomicBool>,
    thread: Option<JoinHandle<Load>>,
}

impl Running {
    fn finish(&mut self) -> Result<(), Trouble> {
        self.enough.store(true, Ordering::Release);
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(_)) => Err(Trouble::Failed("the load could not be written".to_owned())),
            _ => Ok(()),
        }
    }
}

/// Plays a plan.
pub fn play(plan: &Plan, cluster: &Cluster, patience: u32) -> Outcome {
    let start = Instant::now();
    let (world, load) = set_up(plan, cluster, patience);
    let mut round = Round {
        world,
        load,
        struck: Vec::new(),
        at_rest: None,
        marks: vec![start],
    };
    let played = catch_unwind(AssertUnwindSafe(|| round.play(plan)));
    round.load.enough.store(true, Ordering::Release);
    cluster.orders.withdraw();
    cluster.orders.refuse(false);
    let trouble = match played {
        Ok(Ok(())) => None,
        Ok(Err(trouble)) => Some(trouble),
        Err(panic) => Some(Trouble::Failed(said(&*panic))),
    };
    let missed = round.struck.iter().any(|struck| matches!(struck.hit, Hit::No(_)));
    let verdict = match trouble {
        Some(trouble) if cluster.broker.forgot_markers() => Verdict::KafkaForgot(trouble.to_string()),
        Some(trouble) => Verdict::Broken(trouble),
        None if missed => Verdict::Missed,
        None => Verdict::Kept,
    };
    let kept = (!matches!(verdict, Verdict::Kept | Verdict::Missed)).then(|| round.keep(plan, cluster, &verdict));
    let fleet = &round.world.fleet;
    let outcome = Outcome {
        plan: plan.clone(),
        restarts: (fleet.members.iter().map(|member| member.restarts).sum(), fleet.gave_up),
        counts: round.at_rest.as_ref().map_or_else(String::new, AtRest::summary),
        struck: round.struck.clone(),
        took: start.elapsed(),
        phases: round.marks.windows(2).map(|marks| marks[1] - marks[0]).collect(),
        verdict,
        kept,
    };
    if outcome.kept.is_none() {
        round.clean_up();
    }
    outcome
}

struct Round<'a> {
    world: World<'a>,
    load: Running,
    struck: Vec<Struck>,
    at_rest: Option<AtRest>,
    /// When each phase of the round was over.
    marks: Vec<Instant>,
}

fn set_up<'a>(plan: &Plan, cluster: &'a Cluster, patience: u32) -> (World<'a>, Running) {
    let (first, second) = both_policies(plan.strict_first);
    let mut scene = Scene::on(&cluster.broker, Place::take(), "chaos", &first);
    scene.policies.push(second.clone());
    scene.launch.bootstrap = cluster.relayed.clone();
    scene.launch = scene
        .launch
        .clone()
        .set("kafka.client.\"session.timeout.ms\"", SESSION_MS.to_string())
        .set("kafka.client.\"retry.backoff.ms\"", plan.backoff_ms().to_string())
        .set(
            "processing.workers",
            i64::try_from(plan.workers).expect("a small number"),
        );
    let launches: Vec<_> = (0..plan.instances).map(|number| scene.instance(number)).collect();
    let disk = plan.has_small_disk().then(|| SmallDisk::mount(&launches[0].state));
    let disk = disk.flatten().map(|disk| {
        let filler = disk.fill(DISK_LEFT_BYTES);
        (disk, filler)
    });
    let enough = Arc::new(AtomicBool::new(false));
    let fleet = Fleet::start(&cluster.broker, launches);
    let load = scene.load("a", plan.seed).run_until(enough.clone(), plan.pause);
    let world = World {
        cluster,
        scene,
        fleet,
        random: ChaCha8Rng::seed_from_u64(plan.seed),
        disk,
        next_policy: second,
        patience,
    };
    let load = Running {
        enough,
        thread: Some(load),
    };
    (world, load)
}

fn both_policies(strict_first: bool) -> (Known, Known) {
    let (usual, strict) = (policies::hasty(), policies::hastier());
    if strict_first { (strict, usual) } else { (usual, strict) }
}

impl Round<'_> {
    fn play(&mut self, plan: &Plan) -> Result<(), Trouble> {
        let nothing = self.world.fleet.baseline();
        self.world.fleet.wait_until_recovered(&nothing)?;
        self.marks.push(Instant::now());
        for step in &plan.steps {
            std::thread::sleep(step.after);
            let strike = self.world.strike(&step.fault)?;
            let mut recovery = None;
            if step.settles {
                self.world.fleet.wait_until_recovered(&strike.baseline)?;
                recovery = Some(strike.ended.elapsed());
            }
            self.struck.push(Struck {
                name: step.fault.name(),
                text: step.fault.to_string(),
                hit: self.world.confirm(strike),
                recovery,
            });
        }
        self.marks.push(Instant::now());
        self.load.finish()?;
        self.world.fleet.wait_until_at_rest(&self.world.scene)?;
        self.marks.push(Instant::now());
        self.audit()?;
        self.marks.push(Instant::now());
        Ok(())
    }

    /// By the tests' own auditor, and by what anybody can run.
    fn audit(&mut self) -> Result<(), Trouble> {
        let scene = &self.world.scene;
        let process = &self.world.fleet.members[0].process;
        // Both wait for the broker more than they work: side by side.
        let (at_rest, (code, report)) = std::thread::scope(|scope| {
            let other = scope.spawn(|| audit_command::audit(process, &[]));
            let at_rest = scene.read();
            (at_rest, other.join().expect("forbear audit gives a report"))
        });
        let at_rest = self.at_rest.insert(at_rest);
        let violations = scene.violations(at_rest);
        if violations.is_empty() && code == 0 {
            return Ok(());
        }
        let shown: Vec<String> = violations.iter().take(20).map(ToString::to_string).collect();
        Err(Trouble::Violation(format!(
            "{} by the tests' auditor: {}; forbear audit: code {code} {}",
            violations.len(),
            shown.join("; "),
            report["violations"]
        )))
    }

    /// Everything that helps to find the cause, in a folder that later runs leave alone.
    fn keep(&self, plan: &Plan, cluster: &Cluster, verdict: &Verdict) -> PathBuf {
        let directory = kept_directory().join(format!("seed-{}-{}", plan.seed, std::process::id()));
        fs::create_dir_all(&directory).expect("a folder for the logs");
        let world = &self.world;
        let text = format!(
            "{}\n{plan:#?}\n{verdict:#?}\n{:#?}\n{:#?}\n",
            plan.reproduction(),
            self.struck,
            world.scene.launch
        );
        fs::write(directory.join("round.txt"), text).expect("a file of the round");
        for (index, member) in world.fleet.members.iter().enumerate() {
            let log = directory.join(format!("instance-{index}.log"));
            fs::write(log, member.whole_log()).expect("a log is kept");
        }
        cluster.keep_logs(&directory);
        if let Some(at_rest) = &self.at_rest {
            at_rest.write_to(&directory.join("topics"));
        }
        directory
    }

    /// Ends the instances, and removes what would pile up over many rounds.
    fn clean_up(self) {
        let World { scene, fleet, disk, .. } = self.world;
        let folders: Vec<PathBuf> = fleet
            .members
            .iter()
            .flat_map(|member| [member.launch.state.clone(), member.process.directory.clone()])
            .collect();
        drop(fleet);
        drop(disk);
        for folder in folders {
            let _ = fs::remove_dir_all(folder);
        }
        scene.delete_topics();
    }
}

/// Where failing rounds leave their logs.
pub fn kept_directory() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("chaos")
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}
