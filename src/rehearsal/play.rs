//! A test on a stage.

use super::compare::{Ended, Mismatch, of_step, told};
use super::script::{Act, PastContact, Step, Test};
use super::stage::{Decided, MAX_INTENT_BYTES, Scene, Stage};
use super::words::text_of;
use super::working::mark_reserved;
use crate::customer::{Contact, ContactState, endpoint_hash, id_hash};
use crate::message::{Name, decode_event, decode_intent};
use crate::policy::file::{Document, Span};
use crate::policy::judge::{self, Working};
use crate::policy::model::Policy;
use std::rc::Rc;

/// How a test went.
#[derive(Debug, Clone)]
pub struct Played {
    pub name: String,
    pub span: Span,
    pub failures: Vec<Failure>,
    /// What was decided, line by line, for whoever writes the test.
    pub trace: Vec<String>,
}

/// A step that did not go as expected.
#[derive(Debug, Clone)]
pub struct Failure {
    pub span: Span,
    /// Counted from 1, in the order in which steps are played.
    pub step: usize,
    pub at_ms: i64,
    /// What the step did.
    pub what: String,
    pub mismatches: Vec<Mismatch>,
    /// What went wrong beside the expectation, or what else helps to see why.
    pub notes: Vec<String>,
    /// Every rule's working, where the verdict differed.
    pub working: Vec<Working>,
    /// In which the working is told.
    pub zone: Option<Name>,
}

/// Plays a test under a policy, which was compiled from the document.
pub fn play(test: &Test, document: &Document, policy: &Rc<Policy>) -> Played {
    let mut player = Player {
        test,
        document: document.clone(),
        stage: None,
        woke: Vec::new(),
        played: Played {
            name: test.name.clone(),
            span: test.span,
            failures: Vec::new(),
            trace: Vec::new(),
        },
    };
    if let Err(problem) = player.run(policy) {
        player.fail(problem.step, Vec::new(), problem.notes);
    }
    player.played
}

struct Player<'t> {
    test: &'t Test,
    document: Document,
    stage: Option<Stage>,
    /// What got a new verdict since the last tick.
    woke: Vec<Decided>,
    played: Played,
}

/// The test cannot go on.
struct Problem {
    step: usize,
    notes: Vec<String>,
}

impl Player<'_> {
    fn run(&mut self, policy: &Rc<Policy>) -> Result<(), Problem> {
        let mut policy = policy.clone();
        if !self.test.policy.is_empty() {
            policy = self
                .replaced(&self.test.policy)
                .map_err(|notes| Problem { step: 0, notes })?;
        }
        let stage = Stage::new(policy).map_err(|problem| Problem {
            step: 0,
            notes: vec![problem],
        })?;
        self.stage = Some(stage);
        let steps = &self.test.steps;
        let mut at = 0;
        while at < steps.len() {
            let here = |index: usize| {
                let step = &steps[index];
                step.at_ms == steps[at].at_ms && !matches!(step.act, Act::Policy(_) | Act::Tick)
            };
            let end = (at..steps.len()).find(|index| !here(*index)).unwrap_or(steps.len());
            let now_ms = steps[at].at_ms;
            let scene = self.on_stage(at, |stage| stage.pass_until(now_ms))?;
            self.note_woken(scene);
            if end > at {
                self.instant(at, end)?;
                at = end;
            } else {
                self.turn(at)?;
                at += 1;
            }
        }
        Ok(())
    }

    /// The contacts, events and intents of one instant.
    fn instant(&mut self, from: usize, to: usize) -> Result<(), Problem> {
        let steps = &self.test.steps[from..to];
        let now_ms = steps[0].at_ms;
        let mut events = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            match &step.act {
                Act::Contact(contact) => {
                    self.on_stage(from + index, |stage| {
                        let entered = ledger_contact(contact, stage.policy(), now_ms);
                        stage.enter(now_ms, &contact.intent.customer_id, entered)
                    })?;
                }
                Act::Event(event) => {
                    events.push(event.clone());
                    self.played.trace.push(trace_of_event(now_ms, event));
                }
                _ => {}
            }
        }
        let scene = self.on_stage(from, |stage| stage.engage(now_ms, &events))?;
        for (error, detail) in &scene.dead_letters {
            let note = format!("an event was a dead letter: {error} ({detail})");
            self.fail(from, Vec::new(), vec![note]);
        }
        self.note_woken(scene);
        for (index, step) in steps.iter().enumerate() {
            match &step.act {
                Act::Intent(intent) => self.arrival(from + index, intent)?,
                _ => self.compare(from + index, None, Vec::new, None),
            }
        }
        Ok(())
    }

    /// A policy that is replaced, or a look at what woke.
    fn turn(&mut self, index: usize) -> Result<(), Problem> {
        let step = &self.test.steps[index];
        let scene = match &step.act {
            Act::Policy(replaced) => {
                let policy = self
                    .replaced(replaced)
                    .map_err(|notes| Problem { step: index, notes })?;
                let line = format!("{} the policy is replaced: {}", text_of(step.at_ms), policy.label);
                self.played.trace.push(line);
                self.on_stage(index, |stage| stage.replace_policy(step.at_ms, policy))?
            }
            _ => self.on_stage(index, |stage| stage.engage(step.at_ms, &[]))?,
        };
        self.note_woken(scene);
        let waiting = self.waiting();
        self.compare(index, None, Vec::new, waiting);
        if matches!(step.act, Act::Tick) {
            self.woke.clear();
        }
        Ok(())
    }

    fn arrival(&mut self, index: usize, bytes: &[u8]) -> Result<(), Problem> {
        let now_ms = self.test.steps[index].at_ms;
        let intent = decode_intent(Some(bytes), &[], now_ms, MAX_INTENT_BYTES, false).ok();
        let before = match &intent {
            Some(intent) => Some(self.on_stage(index, |stage| stage.customer(&intent.customer_id))?),
            None => None,
        };
        let capacity = self.on_stage(index, |stage| stage.capacity())?;
        let mut scene = self.on_stage(index, |stage| stage.arrive(now_ms, bytes))?;
        let own = scene.decided.iter().position(|decided| decided.attempt == 0);
        let ended = match own.map(|own| scene.decided.remove(own)) {
            Some(decided) => Ended::Decided(Box::new(decided)),
            None => {
                let letter = scene.dead_letters.pop();
                let (error, detail) = letter.unwrap_or_else(|| ("no record".to_owned(), String::new()));
                Ended::DeadLetter(error, detail)
            }
        };
        let line = match &ended {
            Ended::Decided(decided) => told(decided),
            Ended::DeadLetter(error, detail) => format!("an intent is a dead letter: {error} ({detail})"),
        };
        self.played.trace.push(format!("{} {line}", text_of(now_ms)));
        self.note_woken(scene);
        let policy = self.stage.as_ref().map(|stage| stage.policy().clone());
        let working = || match (&policy, &before, &intent) {
            (Some(policy), Some(before), Some(intent)) => {
                let mut workings = judge::explain(policy, before, intent, now_ms, &capacity);
                if let Ended::Decided(decided) = &ended {
                    mark_reserved(&mut workings, &decided.blocked_by);
                }
                workings
            }
            _ => Vec::new(),
        };
        self.compare(index, Some(&ended), working, None);
        if let (Some(failure), Some(before)) = (self.played.failures.last_mut(), &before)
            && failure.step == index + 1
        {
            let company = policy
                .as_ref()
                .and_then(|policy| policy.zone.iana_name())
                .map(Name::from);
            failure.zone = before.profile.timezone.clone().or(company);
        }
        Ok(())
    }

    fn compare(
        &mut self,
        index: usize,
        ended: Option<&Ended>,
        working: impl FnOnce() -> Vec<Working>,
        note: Option<String>,
    ) {
        let step = &self.test.steps[index];
        let Some(expect) = &step.expect else {
            if let Some(Ended::DeadLetter(error, detail)) = ended {
                let note = format!("the intent was a dead letter: {error} ({detail})");
                self.fail(index, Vec::new(), vec![note]);
            }
            return;
        };
        let mismatches = of_step(expect, ended, &self.woke);
        if mismatches.is_empty() {
            return;
        }
        let of_verdict = mismatches.iter().any(|mismatch| !mismatch.field.starts_with("woke"));
        let working = if of_verdict { working() } else { Vec::new() };
        self.fail(index, mismatches, note.into_iter().collect());
        if let Some(failure) = self.played.failures.last_mut() {
            failure.span = expect.span;
            failure.working = working;
        }
    }

    fn fail(&mut self, index: usize, mismatches: Vec<Mismatch>, notes: Vec<String>) {
        let step = self.test.steps.get(index);
        self.played.failures.push(Failure {
            span: step.map_or(self.test.span, |step| step.span),
            step: index + 1,
            at_ms: step.map_or(0, |step| step.at_ms),
            what: step.map_or_else(|| "the test".to_owned(), what),
            mismatches,
            notes,
            working: Vec::new(),
            zone: None,
        });
    }

    fn note_woken(&mut self, scene: Scene) {
        for decided in scene.decided {
            self.played
                .trace
                .push(format!("{} {}", decided.decided_at, told(&decided)));
            // A contact that is given back is no verdict about something that waits.
            if decided.verdict != "released" {
                self.woke.push(decided);
            }
        }
    }

    /// What waits now, in a sentence.
    fn waiting(&self) -> Option<String> {
        let stage = self.stage.as_ref()?;
        let ids = self.test.steps.iter().filter_map(|step| match &step.act {
            Act::Intent(bytes) => decode_intent(Some(bytes), &[], 0, MAX_INTENT_BYTES, false).ok(),
            _ => None,
        });
        let mut customers: Vec<Name> = ids.map(|intent| intent.customer_id).collect();
        customers.sort();
        customers.dedup();
        let mut waiting = Vec::new();
        for id in customers {
            for entry in stage.customer(&id).ok()?.waiting {
                let wake = entry.wake_at_ms.map_or_else(|| "for an event".to_owned(), text_of);
                waiting.push(format!("{} until {wake}", entry.intent_id));
            }
        }
        (!waiting.is_empty()).then(|| format!("still waiting: {}", waiting.join(", ")))
    }

    fn replaced(&mut self, entries: &[crate::policy::file::Entry]) -> Result<Rc<Policy>, Vec<String>> {
        let document = self.document.with(entries);
        match Policy::compile(&document, None) {
            Ok((policy, _)) => {
                self.document = document;
                Ok(Rc::new(policy))
            }
            Err(errors) => Err(vec![format!(
                "the replaced policy cannot be used\n{}",
                errors.to_text(false)
            )]),
        }
    }

    fn on_stage<T>(&mut self, step: usize, act: impl FnOnce(&mut Stage) -> Result<T, String>) -> Result<T, Problem> {
        let missing = || Problem {
            step,
            notes: Vec::new(),
        };
        let stage = self.stage.as_mut().ok_or_else(missing)?;
        act(stage).map_err(|problem| Problem {
            step,
            notes: vec![problem],
        })
    }
}

/// What a step did, in words.
fn what(step: &Step) -> String {
    match &step.act {
        Act::Contact(_) => "a contact".to_owned(),
        Act::Event(event) => match decode_event(Some(event), &[], MAX_INTENT_BYTES, false) {
            Ok(event) => format!("the event `{}`", event.kind.as_str()),
            Err(_) => "an event".to_owned(),
        },
        Act::Intent(intent) => match decode_intent(Some(intent), &[], 0, MAX_INTENT_BYTES, false) {
            Ok(intent) => format!("the intent `{}`", intent.intent_id),
            Err(_) => "an intent".to_owned(),
        },
        Act::Policy(_) => "a change of the policy".to_owned(),
        Act::Tick => "a tick".to_owned(),
    }
}

fn trace_of_event(now_ms: i64, bytes: &[u8]) -> String {
    let kind = decode_event(Some(bytes), &[], MAX_INTENT_BYTES, false).map(|event| event.kind.as_str());
    format!("{} the customer: {}", text_of(now_ms), kind.unwrap_or("a dead letter"))
}

/// A contact as the ledger keeps it: as if the intent had been approved as asked, and then been reported on.
pub fn ledger_contact(past: &PastContact, policy: &Policy, at_ms: i64) -> Contact {
    let intent = &past.intent;
    let class = policy.classes.get(policy.class_index(intent.class.as_deref()));
    let class = class.map_or_else(|| Name::from("marketing"), |class| class.name.clone());
    let channel_cost = policy.channel(&intent.channel).map_or(0, |channel| channel.cost_micros);
    Contact {
        at_ms,
        state: past.state,
        reported_at_ms: if past.state == ContactState::Reserved { 0 } else { at_ms },
        intent_hash: id_hash(&intent.intent_id),
        decision: None,
        channel: intent.channel.clone(),
        division: intent.division.clone(),
        class,
        message_type: intent.message_type.clone(),
        campaign: intent.campaign.clone(),
        category: intent.category.clone(),
        topic: intent.topic.clone(),
        offer: intent.offer.clone(),
        tags: intent.tags.clone(),
        cost_micros: intent.cost_micros.unwrap_or(channel_cost),
        endpoint_hash: intent.endpoint.as_deref().map(endpoint_hash),
    }
}
