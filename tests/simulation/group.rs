//! The consumer group of the simulated cluster: generations, static members, cooperative rebalances.
//!
//! As on the real one: the members of a generation are told what they lose first; what one loses goes to its new owner in
//! the generation after the loser has answered; a membership is valid for commits only in the generation that it
//! names; a member that is silent for longer than the session is out, and finds out later.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What a commit says about the committer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    pub member: u64,
    pub generation: i32,
}

/// Why a commit of offsets is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    UnknownMember,
    FencedInstance,
    IllegalGeneration,
}

/// What a member hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    Assigned(Vec<i32>),
    Revoked {
        partitions: Vec<i32>,
        lost: bool,
    },
    Fenced,
    /// It is no member any more, and has answered for what it had: it may join again.
    Out,
}

#[derive(Debug)]
struct Member {
    instance: String,
    /// Answered as assigned, not yet answered as revoked.
    owned: BTreeSet<i32>,
    /// What the newest generation gives it.
    target: BTreeSet<i32>,
    generation: i32,
    last_seen_ms: i64,
    outbox: VecDeque<Notice>,
    /// Told and not answered yet.
    unanswered: Option<Notice>,
    rejoined: bool,
    /// It has to ask for another round once its outbox is empty.
    wants_round: bool,
}

#[derive(Debug)]
pub struct Group {
    partition_count: i32,
    session_ms: i64,
    rebalance_ms: i64,
    generation: i32,
    members: BTreeMap<u64, Member>,
    fenced: BTreeSet<u64>,
    round_since_ms: Option<i64>,
    next_member: u64,
}

impl Group {
    pub fn new(partition_count: i32, session_ms: i64, rebalance_ms: i64) -> Self {
        Self {
            partition_count,
            session_ms,
            rebalance_ms,
            generation: 0,
            members: BTreeMap::new(),
            fenced: BTreeSet::new(),
            round_since_ms: None,
            next_member: 1,
        }
    }

    /// Joins as a static member. Where somebody sits on that instance id, it takes the seat and fences the other.
    pub fn join(&mut self, instance: &str, now_ms: i64) -> u64 {
        let id = self.next_member;
        self.next_member += 1;
        let seat = self
            .members
            .iter()
            .find(|(_, member)| member.instance == instance)
            .map(|(id, _)| *id);
        let predecessor = seat.and_then(|seat| {
            self.fenced.insert(seat);
            self.members.remove(&seat)
        });
        let mut member = Member {
            instance: instance.to_owned(),
            owned: BTreeSet::new(),
            target: BTreeSet::new(),
            generation: self.generation,
            last_seen_ms: now_ms,
            outbox: VecDeque::new(),
            unanswered: None,
            rejoined: true,
            wants_round: false,
        };
        // A seat that is taken in a stable group gets what the seat had in this generation, without a round: what its
        // predecessor had given back, and died before it asked for the round that hands it on, is nobody's from now on.
        let seat = predecessor
            .filter(|_| self.round_since_ms.is_none())
            .map(|member| member.target);
        match seat {
            Some(target) => {
                member
                    .outbox
                    .push_back(Notice::Assigned(target.iter().copied().collect()));
                member.target = target;
                self.members.insert(id, member);
            }
            None => {
                self.members.insert(id, member);
                self.start_round(now_ms);
                if let Some(member) = self.members.get_mut(&id) {
                    member.rejoined = true;
                }
                self.complete_round_if_all();
            }
        }
        id
    }

    /// A round of rebalancing: every member has to come back.
    pub fn start_round(&mut self, now_ms: i64) {
        if self.round_since_ms.is_none() {
            self.round_since_ms = Some(now_ms);
            self.members.values_mut().for_each(|member| member.rejoined = false);
        }
    }

    /// What the background thread of a living client does.
    pub fn heartbeat(&mut self, id: u64, now_ms: i64) {
        if let Some(member) = self.members.get_mut(&id) {
            member.last_seen_ms = now_ms;
        }
    }

    /// Throws out who was silent too long, or does not come back to a round.
    pub fn expire(&mut self, now_ms: i64) {
        let late = self
            .round_since_ms
            .is_some_and(|since_ms| now_ms - since_ms > self.rebalance_ms);
        let session_ms = self.session_ms;
        let out: Vec<u64> = self
            .members
            .iter()
            .filter(|(_, member)| now_ms - member.last_seen_ms > session_ms || (late && !member.rejoined))
            .map(|(id, _)| *id)
            .collect();
        for id in &out {
            self.members.remove(id);
        }
        if !out.is_empty() {
            self.start_round(now_ms);
        }
        self.complete_round_if_all();
    }

    /// Throws one member out, as a broker does that lost sight of it.
    pub fn evict(&mut self, id: u64, now_ms: i64) {
        if self.members.remove(&id).is_some() {
            self.start_round(now_ms);
            self.complete_round_if_all();
        }
    }

    /// The next thing that a member hears, if there is one and it has answered the one before.
    pub fn poll(&mut self, id: u64, now_ms: i64) -> Option<Notice> {
        if self.fenced.contains(&id) {
            return Some(Notice::Fenced);
        }
        let Some(member) = self.members.get_mut(&id) else {
            return Some(Notice::Out);
        };
        member.last_seen_ms = now_ms;
        if member.unanswered.is_some() {
            return None;
        }
        if let Some(notice) = member.outbox.pop_front() {
            member.unanswered = Some(notice.clone());
            return Some(notice);
        }
        if std::mem::take(&mut member.wants_round) {
            self.start_round(now_ms);
        }
        if self.round_since_ms.is_some() {
            if let Some(member) = self.members.get_mut(&id) {
                member.rejoined = true;
            }
            self.complete_round_if_all();
        }
        None
    }

    /// The member has taken what it was given. Answers the membership for its commits; none for one that is out.
    pub fn answered_assigned(&mut self, id: u64, partitions: &[i32]) -> Option<Membership> {
        let member = self.members.get_mut(&id)?;
        assert!(
            matches!(member.unanswered, Some(Notice::Assigned(_))),
            "an assignment was answered that was not given"
        );
        member.unanswered = None;
        member.owned.extend(partitions);
        Some(Membership {
            member: id,
            generation: member.generation,
        })
    }

    pub fn answered_revoked(&mut self, id: u64, partitions: &[i32]) {
        if let Some(member) = self.members.get_mut(&id) {
            member.unanswered = None;
            member.owned.retain(|partition| !partitions.contains(partition));
            member.wants_round = true;
        }
    }

    /// What the coordinator checks when offsets are committed: member and generation, never ownership.
    pub fn admits(&self, membership: Membership) -> Result<(), Refusal> {
        if self.fenced.contains(&membership.member) {
            return Err(Refusal::FencedInstance);
        }
        if !self.members.contains_key(&membership.member) {
            return Err(Refusal::UnknownMember);
        }
        (membership.generation == self.generation)
            .then_some(())
            .ok_or(Refusal::IllegalGeneration)
    }

    /// Whether the group stands still and has left a partition to nobody.
    pub fn forgets_a_partition(&self) -> bool {
        let handed_out: usize = self.members.values().map(|member| member.target.len()).sum();
        self.round_since_ms.is_none() && !self.members.is_empty() && handed_out < self.partition_count as usize
    }

    /// True where every partition has an owner that has answered, and nothing is on its way.
    pub fn is_settled(&self) -> bool {
        let owned: usize = self.members.values().map(|member| member.owned.len()).sum();
        let quiet = |member: &Member| member.outbox.is_empty() && member.unanswered.is_none() && !member.wants_round;
        self.round_since_ms.is_none() && owned == self.partition_count as usize && self.members.values().all(quiet)
    }

    fn complete_round_if_all(&mut self) {
        if self.round_since_ms.is_none() || !self.members.values().all(|member| member.rejoined) {
            return;
        }
        self.round_since_ms = None;
        if self.members.is_empty() {
            return;
        }
        self.generation += 1;
        let targets = self.balanced();
        let owned: BTreeSet<i32> = self
            .members
            .values()
            .flat_map(|member| member.owned.iter().copied())
            .collect();
        for (id, member) in &mut self.members {
            let target = targets.get(id).cloned().unwrap_or_default();
            let revoked: Vec<i32> = member.owned.difference(&target).copied().collect();
            let added: Vec<i32> = target.difference(&owned).copied().collect();
            member.target = target
                .iter()
                .filter(|p| member.owned.contains(p) || added.contains(p))
                .copied()
                .collect();
            member.generation = self.generation;
            member.outbox.clear();
            if !revoked.is_empty() {
                member.outbox.push_back(Notice::Revoked {
                    partitions: revoked.clone(),
                    lost: false,
                });
            }
            if revoked.is_empty() || !added.is_empty() {
                member.outbox.push_back(Notice::Assigned(added));
            }
        }
    }

    /// Sticky: everybody keeps what it owns up to its share; what is left goes to whoever has least.
    fn balanced(&self) -> BTreeMap<u64, BTreeSet<i32>> {
        let share = (self.partition_count as usize).div_ceil(self.members.len().max(1));
        let mut targets: BTreeMap<u64, BTreeSet<i32>> = BTreeMap::new();
        let mut free: BTreeSet<i32> = (0..self.partition_count).collect();
        let floor = self.partition_count as usize / self.members.len().max(1);
        let mut above_floor = self.partition_count as usize % self.members.len().max(1);
        for (id, member) in &self.members {
            let mut room = floor;
            if member.owned.len() > floor && above_floor > 0 {
                above_floor -= 1;
                room = share;
            }
            let kept: BTreeSet<i32> = member
                .owned
                .iter()
                .copied()
                .filter(|p| free.contains(p))
                .take(room)
                .collect();
            free.retain(|partition| !kept.contains(partition));
            targets.insert(*id, kept);
        }
        for partition in free {
            let least = targets.iter_mut().min_by_key(|(id, target)| (target.len(), **id));
            if let Some((_, target)) = least {
                target.insert(partition);
            }
        }
        targets
    }
}
