//! Participants, what is in flight between them and the server, and the scheduler.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chacha20::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use rocketchat_e2ee::participant::{Change, Claim, Command, Effect, Input, Outcome, Request};
use rocketchat_e2ee::participant::{Options, OutgoingMessage, Participant};
use rocketchat_e2ee::{Identity, KeyRing};
use serde_json::{Value, json};

use crate::server::{Basis, Half, Reply, Server, failure};
use crate::store::{self, Store};

/// What is in every plaintext, and nowhere else.
const MARKER: &str = "tell nobody about this: ";
/// Longer than any run, so that no message expires.
const DEADLINE: u64 = 1000 * 24 * 60 * 60 * 1000;

/// The size of a run.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) accounts: usize,
    pub(crate) rooms: usize,
    pub(crate) steps: usize,
    /// Whether `setRoomKeyID` is atomic, as it is on new servers.
    pub(crate) atomic: bool,
    pub(crate) version: &'static str,
    /// How many members a room has at first, at least and beyond that.
    pub(crate) members: (usize, usize),
    /// Of a hundred things that the owner of a room does, how many are resets of its key.
    pub(crate) resets: usize,
    /// Whether identities, passphrases and authorisations change.
    pub(crate) changes: bool,
}

/// What came of a run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) participants: usize,
    pub(crate) messages: usize,
    pub(crate) kills: usize,
    pub(crate) resets: usize,
    /// Rooms whose key nobody held any more, so that the owner had to reset them.
    pub(crate) lost_rooms: usize,
    /// Members for whom the server keeps a stale key, and who were never served a new one.
    pub(crate) spoiled: usize,
    pub(crate) readable: usize,
    pub(crate) unreadable: usize,
    /// Messages that had to be told, and were.
    pub(crate) told: usize,
    pub(crate) rotations: usize,
    pub(crate) revocations: usize,
    pub(crate) edits: usize,
    pub(crate) most_old_keys: usize,
    pub(crate) most_waiting: usize,
}

struct Account {
    id: String,
    /// The first one, and those that it was told to change to, the last one first.
    passphrases: Vec<String>,
}

struct Process {
    account: usize,
    store: usize,
    participant: Participant,
    /// Counts its starts: what an earlier life asked for is not answered.
    life: u64,
    alive: bool,
    /// Whether the realtime streams reach it.
    realtime: bool,
    commands: BTreeMap<u64, Asked>,
    results: BTreeMap<u64, Outcome>,
    next: u64,
    events: Vec<Value>,
    syncing: bool,
    opened: bool,
    revoked: bool,
    /// What it knows of the rooms on the server, in this life.
    knows: BTreeMap<String, Basis>,
    /// The rooms that it gave up, and whether that is done.
    given_up: BTreeMap<String, bool>,
}

enum Asked {
    Open,
    Sync,
    Send(usize),
    Revoke,
    GiveUp(String),
    TakeBack(String),
    Other,
}

struct Sent {
    process: usize,
    store: usize,
    account: usize,
    room: String,
    /// The message that it replaces the text of.
    edits: Option<String>,
    outcome: Option<Outcome>,
    /// Its process or its store ended before it was answered.
    cut: bool,
}

/// Something that was asked for and is not answered yet.
struct Flight {
    process: usize,
    life: u64,
    id: u64,
    stage: Stage,
}

enum Stage {
    Request(Request, Basis),
    Half(Half, bool),
    Load(String),
    Commit(Vec<Change>, Vec<Claim>),
    Claim(String, u64),
    Sleep(u64),
    Answer(Outcome),
    /// An answer that tells of rooms, and when they were read where one was asked for.
    Seen(Outcome, Vec<Value>, Option<u64>),
}

struct World {
    rng: ChaCha8Rng,
    server: Server,
    accounts: Vec<Account>,
    stores: Vec<Store>,
    processes: Vec<Process>,
    flights: Vec<Flight>,
    sent: Vec<Sent>,
    faults: bool,
    /// Whether what faults have done is still on its way.
    aftermath: bool,
    /// Who was ever removed from a room.
    churned: BTreeSet<(String, String)>,
    /// Where an account gave up a room, and forgot its keys: by store.
    ever_given_up: BTreeSet<(usize, String)>,
    /// Who told each message to the application, by store: the process and its life.
    told: BTreeMap<(usize, String), Vec<(usize, u64)>>,
    /// Keys that were told to be a room's, by store and room: they are kept for good.
    held: BTreeMap<(usize, String), BTreeSet<String>>,
    /// Who made the keys of each room: process and store.
    makers: BTreeMap<(String, String), (usize, usize)>,
    /// Public keys that an operator compares and trusts: by process, user and fingerprint.
    to_pin: Vec<(usize, String, String)>,
    plan: Plan,
    needles: Vec<String>,
    report: Report,
}

/// Key pairs that are made once, by participants' own means: making them takes long.
fn identities() -> &'static [Identity] {
    static IDENTITIES: OnceLock<Vec<Identity>> = OnceLock::new();
    IDENTITIES.get_or_init(|| {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        (0..6).map(|_| Identity::generate(&mut rng).expect("a key pair")).collect()
    })
}

/// One run, repeated exactly by its seed.
pub(crate) fn run(seed: u64, plan: Plan) -> Report {
    let mut world = World::new(seed, plan);
    for _ in 0..plan.steps {
        world.tick();
    }
    world.settle();
    world.report
}

impl World {
    fn new(seed: u64, plan: Plan) -> Self {
        let mut world = Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            server: Server::new(plan.atomic, plan.version),
            accounts: Vec::new(),
            stores: Vec::new(),
            processes: Vec::new(),
            flights: Vec::new(),
            sent: Vec::new(),
            faults: true,
            aftermath: true,
            churned: BTreeSet::new(),
            ever_given_up: BTreeSet::new(),
            told: BTreeMap::new(),
            held: BTreeMap::new(),
            makers: BTreeMap::new(),
            to_pin: Vec::new(),
            plan,
            needles: needles(),
            report: Report::default(),
        };
        let identities = identities();
        for index in 0..plan.accounts {
            let id = format!("user{index:02}");
            let passphrase = format!("passphrase of {id}");
            let mut user = crate::server::User::default();
            // The last one has no keys yet: its replicas make them, all at once.
            if index + 1 < plan.accounts {
                let identity = &identities[index % identities.len()];
                let envelope = identity.lock(&mut world.rng, &passphrase, &id).expect("locked");
                user.public_key = Some(identity.public_key().to_jwk());
                user.private_key = Some(envelope.clone());
                user.envelopes.push(envelope);
            }
            world.server.users.insert(id.clone(), user);
            world.accounts.push(Account { id, passphrases: vec![passphrase] });
        }
        for index in 0..plan.rooms {
            let room = format!("room{index:03}");
            let owner = world.draw(plan.accounts);
            let owner = world.accounts[owner].id.clone();
            world.server.add_room(&room, &owner);
            for _ in 0..plan.members.0 + world.draw(plan.members.1) {
                let member = world.draw(plan.accounts);
                let member = world.accounts[member].id.clone();
                if !world.server.rooms[&room].members.contains_key(&member) {
                    world.server.add_member(&room, &member);
                }
            }
        }
        for account in 0..plan.accounts {
            world.add_process(account, None);
            // Some accounts have a replica: on the same store, or with the passphrase alone.
            if account + 1 == plan.accounts || account < 12 && account % 4 == 0 {
                world.add_process(account, None);
            } else if account < 12 && account % 4 == 1 {
                world.add_process(account, Some(world.stores.len() - 1));
            }
        }
        world.report.participants = world.processes.len();
        world
    }

    fn draw(&mut self, below: usize) -> usize {
        self.rng.next_u32() as usize % below.max(1)
    }

    fn chance(&mut self, in_thousand: usize) -> bool {
        self.draw(1000) < in_thousand
    }

    fn add_process(&mut self, account: usize, store: Option<usize>) {
        let store = store.unwrap_or_else(|| {
            self.stores.push(Store::new(&mut self.rng));
            self.stores.len() - 1
        });
        let participant = self.participant(account, store);
        let realtime = self.chance(700);
        self.processes.push(Process {
            account,
            store,
            participant,
            life: 0,
            alive: true,
            realtime,
            commands: BTreeMap::new(),
            results: BTreeMap::new(),
            next: 0,
            events: Vec::new(),
            syncing: false,
            opened: false,
            revoked: false,
            knows: BTreeMap::new(),
            given_up: BTreeMap::new(),
        });
        self.command(self.processes.len() - 1, Command::Open, Asked::Open);
    }

    fn participant(&mut self, account: usize, store: usize) -> Participant {
        let passphrase = self.passphrase(account);
        let options: Options = serde_json::from_value(json!({
            "appId": "simulation", "userId": self.accounts[account].id, "passphrase": passphrase,
            "rooms": "all",
        }))
        .expect("options");
        let rng = ChaCha8Rng::seed_from_u64(self.rng.next_u64());
        Participant::new(self.stores[store].vault.clone(), options, Box::new(rng))
    }

    /// The passphrase that opens what the server has: where a change had no clear outcome, an
    /// operator tries both.
    fn passphrase(&self, account: usize) -> String {
        let Account { id, passphrases } = &self.accounts[account];
        let Some(stored) = self.server.users[id].private_key.as_ref() else {
            return passphrases[0].clone();
        };
        let fits = |passphrase: &&String| {
            passphrases.len() == 1 || Identity::unlock(stored, passphrase, id).is_ok()
        };
        passphrases.iter().find(fits).expect("some passphrase opens the key pair").clone()
    }

    fn command(&mut self, process: usize, command: Command, asked: Asked) -> u64 {
        let state = &mut self.processes[process];
        state.next += 1;
        let id = state.next;
        state.commands.insert(id, asked);
        self.step(process, vec![Input::Command { id, command }]);
        id
    }

    fn step(&mut self, process: usize, inputs: Vec<Input>) {
        let effects = self.processes[process].participant.step(self.server.now, inputs);
        for effect in effects {
            self.take(process, effect);
        }
    }

    fn take(&mut self, process: usize, effect: Effect) {
        self.expect_secret(process, &effect);
        let life = self.processes[process].life;
        let (id, stage) = match effect {
            Effect::Request { id, request } => {
                let basis = self.ask_server(process, &request);
                (id, Stage::Request(request, basis))
            }
            Effect::Call { id, .. } => {
                let outcome = Outcome::Error(failure(None, None));
                (id, Stage::Answer(outcome))
            }
            Effect::Load { id, prefix } => (id, Stage::Load(prefix)),
            Effect::Commit { id, changes, claims } => (id, Stage::Commit(changes, claims)),
            Effect::Claim { id, name, ttl } => (id, Stage::Claim(name, ttl)),
            Effect::GenerateKeyPair { id } => {
                let mut rng = ChaCha8Rng::seed_from_u64(self.rng.next_u64());
                let pair = Identity::generate(&mut rng).expect("a key pair");
                self.processes[process].participant.take_key_pair(id, pair);
                (id, Stage::Answer(Outcome::Ok(Value::Null)))
            }
            Effect::Sleep { id, ms } => (id, Stage::Sleep(self.server.now + ms)),
            Effect::Emit { event, data } => return self.heard(process, event, &data),
            Effect::Done { command, outcome } => return self.done(process, command, outcome),
            other => panic!("an unknown effect: {other:?}"),
        };
        self.flights.push(Flight { process, life, id, stage });
    }

    /// Looks at what a process wants from the server, and returns what it knows.
    fn ask_server(&mut self, process: usize, request: &Request) -> Basis {
        let Some(body) = &request.body else { return Basis::default() };
        let member = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let state = &mut self.processes[process];
        match request.path.as_str() {
            "e2e.setRoomKeyID" => {
                self.makers.insert((member("rid"), member("keyID")), (process, state.store));
            }
            "e2e.resetRoomKey" => {
                assert!(request.once, "a reset that may be repeated");
                self.makers.insert((member("rid"), member("e2eKeyId")), (process, state.store));
            }
            "chat.sendMessage" => {
                let room = body["message"]["rid"].as_str().expect("a room");
                let given_up = state.given_up.get(room) == Some(&true);
                assert!(!given_up, "process {process} sends to {room}, which it gave up");
            }
            "e2e.acceptSuggestedGroupKey" | "e2e.updateGroupKey" => {
                // Each write needs a look of its own.
                let Some(basis) = state.knows.get_mut(&member("rid")) else {
                    return Basis::default();
                };
                let known = basis.clone();
                basis.read = None;
                return known;
            }
            _ => {}
        }
        Basis::default()
    }

    /// A process is told of a room.
    fn learn(&mut self, process: usize, room: &Value, read: Option<u64>) {
        let id = room["_id"].as_str().expect("an id").to_owned();
        let basis = self.processes[process].knows.entry(id).or_default();
        basis.read = read.or(basis.read);
        basis.seen.extend(room["e2eKeyId"].as_str().map(str::to_owned));
    }

    /// No plaintext but where the application asked for it.
    fn expect_secret(&self, process: usize, effect: &Effect) {
        match effect {
            Effect::Emit { event: "message", .. } => return,
            Effect::Done { command, .. }
                if matches!(self.processes[process].commands.get(command), Some(Asked::Other)) =>
            {
                return;
            }
            _ => {}
        }
        let text = serde_json::to_string(effect).expect("JSON");
        for needle in &self.needles {
            assert!(!text.contains(needle.as_str()), "plaintext in an effect: {effect:?}");
        }
    }

    fn heard(&mut self, process: usize, event: &str, data: &Value) {
        let store = self.processes[process].store;
        match event {
            "message" => {
                let edited = data["document"].get("editedAt").map(Value::to_string);
                let id = data["messageId"].as_str().expect("an id");
                let name = format!("{id}/{}", edited.unwrap_or_default());
                let told = self.told.entry((store, name)).or_default();
                let ended = |(process, life): &&(usize, u64)| {
                    self.processes[*process].life != *life || !self.processes[*process].alive
                };
                let killed = told.iter().filter(ended).count();
                assert!(told.len() <= killed, "a message was told twice: {data}");
                told.push((process, self.processes[process].life));
            }
            "error" => self.expect_known(process, &data["error"]),
            "publicKeyChanged" => {
                let user = data["userId"].as_str().expect("a user").to_owned();
                assert!(self.server.users[&user].rotates, "nobody's key changed: {data}");
                let seen = data["seen"].as_str().expect("a fingerprint").to_owned();
                self.to_pin.push((process, user, seen));
            }
            "roomKey" | "roomKeyRotated" => {
                let room = data["roomId"].as_str().expect("a room").to_owned();
                let key = data["keyId"].as_str().expect("a key id").to_owned();
                self.held.entry((store, room)).or_default().insert(key);
            }
            _ => {}
        }
    }

    /// Errors that faults explain; the others are bugs.
    fn expect_known(&self, process: usize, error: &Value) {
        let code = error["code"].as_str().unwrap_or_default();
        let explained = match code {
            "ERR_E2EE_WORKSPACE" => self.aftermath || error.get("status").is_some(),
            // Here, a store may take minutes to answer: longer than a lease.
            "ERR_E2EE_STORE_LOCKED" => {
                self.aftermath || error["message"].to_string().contains("took so long")
            }
            "ERR_E2EE_NO_ROOM_KEY" | "ERR_E2EE_NOT_A_MEMBER" => true,
            // Where the store does not write that a room is authorised, it is not.
            "ERR_E2EE_ROOM_NOT_AUTHORIZED" => self.plan.changes || self.aftermath,
            "ERR_E2EE_IDENTITY_REVOKED" => self.plan.changes,
            "ERR_E2EE_WRONG_PASSPHRASE" => {
                self.accounts[self.processes[process].account].passphrases.len() > 1
            }
            _ => false,
        };
        assert!(explained, "an unexpected error: {error}");
    }

    fn done(&mut self, process: usize, command: u64, outcome: Outcome) {
        if let Outcome::Error(error) = &outcome {
            self.expect_known(process, &serde_json::to_value(error).expect("JSON"));
        }
        let state = &mut self.processes[process];
        match state.commands.remove(&command) {
            Some(Asked::Open) => match outcome {
                Outcome::Ok(_) => state.opened = true,
                Outcome::Error(error) => {
                    state.alive = false;
                    state.revoked |= error.code == "ERR_E2EE_IDENTITY_REVOKED";
                }
                _ => panic!("an unknown outcome"),
            },
            Some(Asked::TakeBack(room)) => {
                if matches!(outcome, Outcome::Ok(_)) {
                    state.given_up.remove(&room);
                }
            }
            Some(Asked::Revoke) => {
                if matches!(outcome, Outcome::Ok(_)) {
                    // Who shares the store is revoked as well, at the next start.
                    let store = state.store;
                    self.processes.iter_mut().for_each(|p| p.revoked |= p.store == store);
                    self.report.revocations += 1;
                }
            }
            Some(Asked::GiveUp(room)) => {
                if let Some(done) = state.given_up.get_mut(&room) {
                    *done = matches!(outcome, Outcome::Ok(_));
                }
            }
            Some(Asked::Sync) => state.syncing = false,
            Some(Asked::Send(index)) => self.sent[index].outcome = Some(outcome),
            Some(Asked::Other) => drop(state.results.insert(command, outcome)),
            None => panic!("an unknown command has ended"),
        }
    }

    fn tick(&mut self) {
        match self.draw(1000) {
            0..700 => {
                if !self.flights.is_empty() {
                    let index = self.draw(self.flights.len());
                    self.fly(index);
                }
            }
            700..845 => self.deliver_event(),
            845..915 => self.do_something(),
            915..920 => self.change_members(),
            920..924 => {
                let process = self.draw(self.processes.len());
                let fresh = self.chance(250);
                self.kill(process, fresh);
            }
            924..930 => {
                let store = self.draw(self.stores.len());
                let draw = self.draw(1 << 20);
                self.stores[store].interfere(&mut self.rng, draw);
            }
            930..996 => self.server.now += 1 + self.draw(50) as u64,
            _ => self.server.now += 1000 * (1 + self.draw(70)) as u64,
        }
        self.spread();
    }

    /// The server's events reach those processes that listen.
    fn spread(&mut self) {
        for (user, event) in std::mem::take(&mut self.server.told) {
            for process in &mut self.processes {
                if process.alive && process.realtime && self.accounts[process.account].id == user {
                    process.events.push(event.clone());
                }
            }
        }
        assert!(self.server.violations.is_empty(), "{:?}", self.server.violations);
        for (process, user_id, fingerprint) in std::mem::take(&mut self.to_pin) {
            if self.processes[process].alive && self.processes[process].opened {
                self.command(process, Command::Pin { user_id, fingerprint }, Asked::Other);
            }
        }
    }

    /// Moves one thing that is in flight a step on.
    fn fly(&mut self, index: usize) {
        let Flight { process, life, id, stage } = self.flights.swap_remove(index);
        let store = self.processes[process].store;
        let awaited = self.processes[process].life == life && self.processes[process].alive;
        let stage = match stage {
            Stage::Sleep(until) if until > self.server.now && awaited => Stage::Sleep(until),
            Stage::Sleep(_) => Stage::Answer(Outcome::Ok(Value::Null)),
            Stage::Answer(_) | Stage::Seen(..) if !awaited => return,
            Stage::Answer(outcome) => {
                return self.step(process, vec![Input::Answer { id, outcome }]);
            }
            Stage::Seen(outcome, rooms, read) => {
                for room in &rooms {
                    self.learn(process, room, read);
                }
                return self.step(process, vec![Input::Answer { id, outcome }]);
            }
            Stage::Request(request, basis) => self.perform(process, &request, &basis),
            Stage::Half(half, lost) => {
                let outcome = self.server.go_on(half);
                let lost = lost.then(|| Outcome::Error(failure(None, None)));
                Stage::Answer(lost.unwrap_or(outcome))
            }
            _ if !awaited => return,
            Stage::Load(_) | Stage::Commit(..) | Stage::Claim(..)
                if self.faults && self.chance(3) =>
            {
                Stage::Answer(store::failure("ERR_E2EE_STORE_LOCKED"))
            }
            Stage::Load(prefix) => Stage::Answer(self.stores[store].load(&prefix)),
            Stage::Commit(changes, claims) => {
                let now = self.server.now;
                Stage::Answer(self.stores[store].commit(&changes, &claims, now))
            }
            Stage::Claim(name, ttl) => {
                Stage::Answer(self.stores[store].claim(&name, ttl, self.server.now))
            }
        };
        // Without a life to answer to, only what the server still does goes on.
        if awaited || matches!(stage, Stage::Half(..)) {
            self.flights.push(Flight { process, life, id, stage });
        }
    }

    fn perform(&mut self, process: usize, request: &Request, basis: &Basis) -> Stage {
        let user = self.accounts[self.processes[process].account].id.clone();
        let fault = if self.faults { self.draw(1000) } else { 1000 };
        match fault {
            0..15 => return Stage::Answer(Outcome::Error(failure(None, None))),
            15..20 => return Stage::Answer(Outcome::Error(failure(Some(429), None))),
            20..25 => return Stage::Answer(Outcome::Error(failure(Some(503), None))),
            // The answer is lost, and the driver tries again by itself.
            25..40 if !request.once => match self.server.request(&user, request, basis) {
                Reply::Half(half) => drop(self.server.go_on(half)),
                Reply::Done(_) => {}
            },
            _ => {}
        }
        self.server.now += 1;
        let lost = (40..60).contains(&fault);
        match self.server.request(&user, request, basis) {
            Reply::Done(_) if lost => Stage::Answer(Outcome::Error(failure(None, None))),
            Reply::Done(Outcome::Ok(body)) if request.path == "rooms.info" => {
                let room = body["room"].clone();
                Stage::Seen(Outcome::Ok(body), vec![room], Some(self.server.now))
            }
            Reply::Done(Outcome::Ok(body)) if request.path == "rooms.get" => {
                let rooms = body["update"].as_array().expect("a list").clone();
                Stage::Seen(Outcome::Ok(body), rooms, None)
            }
            Reply::Done(outcome) => Stage::Answer(outcome),
            // Who waits in vain is told so before the server is done.
            Reply::Half(half) if lost && self.chance(500) => {
                let stage = Stage::Half(half, true);
                self.flights.push(Flight { process, life: u64::MAX, id: 0, stage });
                Stage::Answer(Outcome::Error(failure(None, None)))
            }
            Reply::Half(half) => Stage::Half(half, lost),
        }
    }

    fn deliver_event(&mut self) {
        let process = self.draw(self.processes.len());
        let count = self.processes[process].events.len();
        if count == 0 || !self.processes[process].alive {
            return;
        }
        let place = if self.faults && self.chance(200) { self.draw(count.min(8)) } else { 0 };
        let event = self.processes[process].events.remove(place);
        match if self.faults { self.draw(100) } else { 100 } {
            0..5 => return,
            5..10 => self.processes[process].events.push(event.clone()),
            _ => {}
        }
        self.hear(process, event);
    }

    fn hear(&mut self, process: usize, event: Value) {
        if event["type"] == json!("room") {
            self.learn(process, &event["room"], None);
        }
        let event = serde_json::from_value(event).expect("an event");
        self.step(process, vec![Input::Event { event }]);
    }

    fn do_something(&mut self) {
        let process = self.draw(self.processes.len());
        let state = &self.processes[process];
        if state.revoked {
            return;
        }
        if !state.alive {
            return self.start(process, false);
        }
        if !state.opened {
            return;
        }
        let user = self.accounts[state.account].id.clone();
        let rooms: Vec<String> = self
            .server
            .rooms
            .iter()
            .filter(|(_, room)| room.members.contains_key(&user))
            .map(|(id, _)| id.clone())
            .collect();
        if !self.processes[process].syncing && self.chance(300) {
            self.processes[process].syncing = true;
            self.command(process, Command::Sync, Asked::Sync);
            return;
        }
        if rooms.is_empty() {
            return;
        }
        let room_id = rooms[self.draw(rooms.len())].clone();
        if self.plan.changes && self.chance(40) {
            return self.change(process, room_id);
        }
        match self.draw(100) {
            draw if draw < self.plan.resets && self.server.rooms[&room_id].owner == user => {
                self.report.resets += 1;
                self.ask_for(process, Command::ResetRoomKey { room_id });
            }
            4..10 => self.edit(process, &room_id),
            10..13 => {
                self.ask_for(process, Command::RequestRoomKey { room_id });
            }
            13..16 => {
                self.ask_for(process, Command::DistributeRoomKeys { room_id: None });
            }
            16..19 => {
                self.ask_for(process, Command::CreateRoomKey { room_id });
            }
            _ => self.send(process, room_id),
        }
    }

    /// What happens to an account and its rooms once in a while.
    fn change(&mut self, process: usize, room: String) {
        let state = &self.processes[process];
        let (account, store) = (state.account, state.store);
        let shared = self.processes.iter().filter(|other| other.store == store).count() > 1;
        match self.draw(10) {
            0 if self.report.rotations < 4 => {
                self.report.rotations += 1;
                let id = self.accounts[account].id.clone();
                self.server.users.get_mut(&id).expect("a user").rotates = true;
                self.command(process, Command::RotateIdentity, Asked::Other);
            }
            1 if self.report.revocations < 2 && self.chance(200) => {
                self.command(process, Command::RevokeIdentity, Asked::Revoke);
            }
            2 => {
                let passphrases = &mut self.accounts[account].passphrases;
                if passphrases.len() < 4 {
                    let next = format!("{} once more", passphrases[0]);
                    passphrases.insert(0, next.clone());
                    let next = next.into();
                    self.command(process, Command::ChangePassphrase { next }, Asked::Other);
                }
            }
            // What other processes of a store make of that is not promised.
            3..6 if !shared && !self.processes[process].given_up.contains_key(&room) => {
                self.ever_given_up.insert((store, room.clone()));
                self.processes[process].given_up.insert(room.clone(), false);
                let command = Command::DeauthorizeRoom { room_id: room.clone() };
                self.command(process, command, Asked::GiveUp(room));
            }
            6.. => self.take_back(process, room),
            _ => {}
        }
    }

    /// Authorises a room again that was given up.
    fn take_back(&mut self, process: usize, room_id: String) {
        if let Some(done) = self.processes[process].given_up.get_mut(&room_id) {
            *done = false;
            let asked = Asked::TakeBack(room_id.clone());
            self.command(process, Command::AuthorizeRoom { room_id }, asked);
        }
    }

    /// Replaces the text of a message that this process's account has sent.
    fn edit(&mut self, process: usize, room: &str) {
        let account = self.processes[process].account;
        let ids: Vec<String> = self
            .sent
            .iter()
            .filter(|sent| sent.account == account && sent.room == room && sent.edits.is_none())
            .filter_map(|sent| match &sent.outcome {
                Some(Outcome::Ok(sent)) => sent["messageId"].as_str().map(str::to_owned),
                _ => None,
            })
            .collect();
        if ids.is_empty() || !self.authorized(process).iter().any(|known| known == room) {
            return;
        }
        let message_id = ids[self.draw(ids.len())].clone();
        let (index, message) = self.say(process, room, Some(message_id.clone()));
        self.report.edits += 1;
        let command = Command::Edit { room_id: room.to_owned(), message_id, message };
        self.command(process, command, Asked::Send(index));
    }

    /// A command of an authorised room; others are refused at once.
    fn ask_for(&mut self, process: usize, command: Command) -> Option<u64> {
        let room = match &command {
            Command::ResetRoomKey { room_id }
            | Command::RequestRoomKey { room_id }
            | Command::CreateRoomKey { room_id } => Some(room_id),
            _ => None,
        };
        match room {
            Some(room) if !self.authorized(process).contains(room) => None,
            _ => Some(self.command(process, command, Asked::Other)),
        }
    }

    fn authorized(&mut self, process: usize) -> Vec<String> {
        // None, once the account is revoked.
        let value = self.query(process, Command::AuthorizedRooms).unwrap_or_else(|| json!([]));
        serde_json::from_value(value).expect("a list of rooms")
    }

    /// A command that is answered from memory, and from what the store has new.
    fn query(&mut self, process: usize, command: Command) -> Option<Value> {
        let id = self.command(process, command, Asked::Other);
        let store = self.processes[process].store;
        loop {
            match self.processes[process].results.remove(&id) {
                Some(Outcome::Ok(value)) => return Some(value),
                Some(_) => return None,
                None => {}
            }
            let asked = |flight: &Flight| {
                flight.process == process && matches!(flight.stage, Stage::Load(_))
            };
            let place = self.flights.iter().rposition(asked).expect("a question to the store");
            let Flight { id, stage: Stage::Load(prefix), .. } = self.flights.remove(place) else {
                panic!("it was looked for")
            };
            let outcome = self.stores[store].load(&prefix);
            self.step(process, vec![Input::Answer { id, outcome }]);
        }
    }

    fn send(&mut self, process: usize, room_id: String) {
        if !self.authorized(process).contains(&room_id) {
            return;
        }
        let (index, message) = self.say(process, &room_id, None);
        self.command(process, Command::Send { room_id, message }, Asked::Send(index));
    }

    /// A text that was never said before.
    fn say(
        &mut self,
        process: usize,
        room: &str,
        edits: Option<String>,
    ) -> (usize, OutgoingMessage) {
        let index = self.sent.len();
        let message = json!({ "msg": text_of(index), "deadline": DEADLINE });
        let message = serde_json::from_value(message).expect("a message");
        let state = &self.processes[process];
        self.sent.push(Sent {
            process,
            store: state.store,
            account: state.account,
            room: room.to_owned(),
            edits,
            outcome: None,
            cut: false,
        });
        (index, message)
    }

    fn change_members(&mut self) {
        let rooms: Vec<String> = self.server.rooms.keys().cloned().collect();
        let room = rooms[self.draw(rooms.len())].clone();
        let account = self.draw(self.accounts.len());
        let user = self.accounts[account].id.clone();
        if !self.server.rooms[&room].members.contains_key(&user) {
            self.server.add_member(&room, &user);
        } else if self.server.rooms[&room].owner != user {
            self.server.remove_member(&room, &user);
            self.churned.insert((room, user));
        }
    }

    /// Ends a process at once and starts it again, from its store or from the passphrase alone.
    fn kill(&mut self, process: usize, fresh: bool) {
        self.report.kills += 1;
        self.start(process, fresh);
    }

    fn start(&mut self, process: usize, fresh: bool) {
        let life = self.processes[process].life;
        // Requests may be on their way already, and arrive after all.
        let mut kept = Vec::new();
        for flight in std::mem::take(&mut self.flights) {
            let ours = flight.process == process && flight.life == life;
            let goes_on = match flight.stage {
                _ if !ours => true,
                Stage::Half(..) => true,
                Stage::Request(..) => !fresh && self.chance(500),
                _ => false,
            };
            if goes_on {
                kept.push(flight);
            }
        }
        self.flights = kept;
        let store = self.processes[process].store;
        let shared = self.processes.iter().filter(|other| other.store == store).count() > 1;
        if fresh && !shared {
            self.stores.push(Store::new(&mut self.rng));
            let state = &mut self.processes[process];
            state.store = self.stores.len() - 1;
            state.revoked = false;
            state.given_up.clear();
        }
        let (account, store) = (self.processes[process].account, self.processes[process].store);
        let participant = self.participant(account, store);
        let state = &mut self.processes[process];
        for asked in std::mem::take(&mut state.commands).into_values() {
            if let Asked::Send(index) = asked {
                self.sent[index].cut = true;
            }
        }
        state.participant = participant;
        state.life += 1;
        state.alive = true;
        state.opened = false;
        state.syncing = false;
        state.events.clear();
        state.knows.clear();
        self.command(process, Command::Open, Asked::Open);
    }

    /// Everything that is in flight arrives, until nothing but sleep is left.
    fn drain(&mut self) {
        for _ in 0..2_000_000 {
            self.spread();
            let awake = self.flights.iter().position(
                |flight| !matches!(flight.stage, Stage::Sleep(until) if until > self.server.now),
            );
            if let Some(index) = awake {
                self.fly(index);
            } else if let Some(process) =
                self.processes.iter().position(|process| !process.events.is_empty())
            {
                let event = self.processes[process].events.remove(0);
                self.hear(process, event);
            } else {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    fn settle(&mut self) {
        self.drain_answers();
        self.faults = false;
        for process in 0..self.processes.len() {
            // An operator tells those who do not know the passphrase any more.
            if self.accounts[self.processes[process].account].passphrases.len() > 1 {
                self.start(process, false);
            }
        }
        for round in 0..10 {
            for process in 0..self.processes.len() {
                if !self.processes[process].alive && !self.processes[process].revoked {
                    self.start(process, false);
                }
            }
            self.drain();
            self.aftermath = false;
            for process in 0..self.processes.len() {
                if !self.processes[process].revoked {
                    assert!(self.processes[process].opened, "process {process} does not open");
                    self.command(process, Command::Sync, Asked::Sync);
                }
            }
            self.drain();
            if round == 2 {
                self.take_all_back();
            }
            if round == 4 {
                self.reset_lost_rooms();
                self.add_newcomers();
            }
            // Longer than a request for keys is not repeated.
            self.server.now += 61_000;
        }
        self.report.most_old_keys = self.server.longest;
        self.report.most_waiting = self.server.most_waiting;
        self.check_keys();
        self.check_commands();
        self.check_messages();
        self.check_held();
        // Late requests that cross a change of the key are rare.
        assert!(self.report.spoiled * 10 <= self.server.rooms.len() + 10, "{:?}", self.report);
    }

    fn take_all_back(&mut self) {
        for process in 0..self.processes.len() {
            for room in self.processes[process].given_up.clone().into_keys() {
                if !self.processes[process].revoked {
                    self.take_back(process, room);
                    self.drain();
                }
            }
        }
    }

    /// A replica with nothing but the passphrase, for each account whose key pair or passphrase
    /// was changed: what the server has must be enough.
    fn add_newcomers(&mut self) {
        for account in 0..self.accounts.len() {
            let Account { id, passphrases } = &self.accounts[account];
            if passphrases.len() > 1 || self.server.users[id].rotates {
                self.add_process(account, None);
            }
        }
        self.drain();
    }

    /// Answers that were made while there were faults.
    fn drain_answers(&mut self) {
        while let Some(index) = self
            .flights
            .iter()
            .position(|flight| matches!(flight.stage, Stage::Answer(_) | Stage::Seen(..)))
        {
            self.fly(index);
        }
    }

    fn current_of(&mut self, process: usize, room: &str) -> Option<String> {
        let command = Command::GetRoomKeyHistory { room_id: room.to_owned() };
        if !self.authorized(process).iter().any(|known| known == room) {
            return None;
        }
        let history = self.query(process, command)?;
        let mut held = history.as_array()?.iter().filter(|key| key["current"] == json!(true));
        held.next()?["keyId"].as_str().map(str::to_owned)
    }

    fn members(&self, room: &str) -> Vec<usize> {
        let members = &self.server.rooms[room].members;
        let ours = self.processes.iter().enumerate();
        ours.filter(|(_, process)| !process.revoked)
            .filter(|(_, process)| members.contains_key(&self.accounts[process.account].id))
            .map(|(index, _)| index)
            .collect()
    }

    /// A key that nobody has any more is lost, whatever a client does: the owner makes a new one.
    fn reset_lost_rooms(&mut self) {
        let rooms: Vec<String> = self.server.rooms.keys().cloned().collect();
        for room in rooms {
            let members = self.members(&room);
            let held = members.iter().any(|process| self.current_of(*process, &room).is_some());
            let Some(named) = self.server.rooms[&room].key_id.clone() else { continue };
            if held {
                continue;
            }
            self.expect_lost(&room, &named);
            self.report.lost_rooms += 1;
            let owner = self.server.rooms[&room].owner.clone();
            let is_owner = |process: &Process| self.accounts[process.account].id == owner;
            let owners = self.processes.iter().enumerate().filter(|(_, process)| is_owner(process));
            let owners: Vec<usize> = owners.map(|(index, _)| index).collect();
            let alive = owners.iter().find(|process| !self.processes[**process].revoked);
            let owner = match alive {
                Some(owner) => *owner,
                None => {
                    let account = self.processes[owners[0]].account;
                    self.add_process(account, None);
                    let owner = self.processes.len() - 1;
                    self.drain();
                    self.command(owner, Command::Sync, Asked::Sync);
                    self.drain();
                    owner
                }
            };
            self.ask_for(owner, Command::ResetRoomKey { room_id: room });
            self.drain();
        }
    }

    /// A key is lost only where nobody can have it: no member has it from the server, and who made
    /// it has lost his store, or left, or gave it up.
    fn expect_lost(&self, room: &str, named: &str) {
        for (user, member) in &self.server.rooms[room].members {
            let has = |key: &Option<String>| key.as_ref().is_some_and(|key| key.starts_with(named));
            let ours = self.processes.iter().filter(|process| !process.revoked);
            let mut ours = ours.filter(|process| self.accounts[process.account].id == *user);
            // A pair that was replaced elsewhere may have taken it along.
            let readable = ours.next().is_some() && !self.server.users[user].rotates;
            assert!(
                !(readable && (has(&member.key) || has(&member.suggested))),
                "{user} has the key of {room} from the server, and nobody holds it"
            );
        }
        let maker = self.makers[&(room.to_owned(), named.to_owned())];
        let (process, store) = (&self.processes[maker.0], maker.1);
        let user = &self.accounts[process.account].id;
        assert!(
            process.store != store
                || process.revoked
                || !self.server.rooms[room].members.contains_key(user)
                || self.ever_given_up.contains(&(store, room.to_owned())),
            "process {} made the key of {room}, and lost it",
            maker.0
        );
    }

    /// The server keeps a key for this member that is not the room's, and that got there without a
    /// fault of the member's. Nothing else excuses who lacks the room's key.
    fn is_spoiled(&self, room: &str, user: &str) -> bool {
        let state = &self.server.rooms[room];
        let stored = state.members.get(user).and_then(|member| member.key.as_ref());
        let named = state.key_id.as_deref().unwrap_or_default();
        stored.is_some_and(|stored| !stored.starts_with(named))
            && self.server.spoiled.contains(&(room.to_owned(), user.to_owned()))
    }

    /// Keys that a process was told to have are kept for good, not only the server's ten.
    fn check_held(&mut self) {
        // From the store: what another process has put there is known after a start.
        for process in 0..self.processes.len() {
            if !self.processes[process].revoked {
                self.start(process, false);
            }
        }
        self.drain();
        for process in 0..self.processes.len() {
            let Process { store, revoked, .. } = self.processes[process];
            if revoked {
                continue;
            }
            for room in self.authorized(process) {
                let place = (store, room.clone());
                let Some(held) = self.held.get(&place).cloned() else { continue };
                if self.ever_given_up.contains(&place) {
                    continue;
                }
                let command = Command::GetRoomKeyHistory { room_id: room.clone() };
                let history = self.query(process, command).expect("a history").to_string();
                for key in held {
                    assert!(history.contains(&key), "process {process} lost {key} of {room}");
                }
            }
        }
    }

    fn check_commands(&self) {
        for (index, process) in self.processes.iter().enumerate() {
            let account = &self.accounts[process.account].id;
            for asked in process.commands.values() {
                let Asked::Send(sent) = asked else {
                    panic!("a command of process {index} waits for ever");
                };
                let room = &self.sent[*sent].room;
                assert!(
                    self.is_spoiled(room, account) || process.revoked,
                    "process {index} never sends message {sent} in {room}",
                );
            }
            for room in self.server.rooms.keys() {
                if self.is_spoiled(room, account) || process.revoked {
                    continue;
                }
                let waiting = self.stores[process.store].names(&format!("outbox/{room}/"));
                assert_eq!(waiting, 0, "process {index} never empties its outbox of {room}");
            }
        }
    }

    /// Every pair that the server ever had for an account.
    fn pairs(&self, account: usize) -> Vec<Identity> {
        let Account { id, passphrases } = &self.accounts[account];
        let open = |envelope: &String| {
            let mut opened = passphrases.iter().map(|p| Identity::unlock(envelope, p, id));
            opened.find_map(Result::ok).expect("some passphrase opens the envelope")
        };
        self.server.users[id].envelopes.iter().map(open).collect()
    }

    /// Every member holds the room's current key, byte for byte.
    fn check_keys(&mut self) {
        let mut pairs: BTreeMap<usize, Vec<Identity>> = BTreeMap::new();
        let rooms: Vec<String> = self.server.rooms.keys().cloned().collect();
        for room in rooms {
            if self.members(&room).is_empty() {
                continue;
            }
            let named = self.server.rooms[&room].key_id.clone().expect("every room has a key");
            let (mut ring, mut first) = (KeyRing::new(), true);
            for process in self.members(&room) {
                let account = self.processes[process].account;
                let id = &self.accounts[account].id;
                let spoiled = self.is_spoiled(&room, id);
                let stored = self.server.rooms[&room].members[id].key.clone();
                let stored = stored.map(|key| key.chars().take(12).collect::<String>());
                let current = self.current_of(process, &room);
                if spoiled {
                    // Who holds the key all the same would have handed it in.
                    assert_eq!(current, None, "process {process} leaves {stored:?} in {room}");
                    self.report.spoiled += 1;
                    continue;
                }
                assert_eq!(
                    current.as_deref(),
                    Some(named.as_str()),
                    "process {process} lacks the key of {room}; the server has {stored:?} for it",
                );
                let command = Command::GetEncryptedRoomKey { room_id: room.clone(), key_id: None };
                let wrapped = self.query(process, command).expect("the current key");
                let wrapped = wrapped["key"].as_str().expect("a key");
                let changed = self.server.users[&self.accounts[account].id].envelopes.len() > 1;
                let key = if changed || account + 1 == self.accounts.len() {
                    let known = pairs.entry(account).or_insert_with(|| self.pairs(account));
                    let rng = &mut self.rng;
                    known.iter().find_map(|pair| pair.unwrap_room_key(rng, wrapped).ok())
                } else {
                    let known = identities();
                    known[account % known.len()].unwrap_room_key(&mut self.rng, wrapped).ok()
                };
                let key = key.expect("a key for a pair of the account");
                if first {
                    ring.set_current(Arc::new(key));
                } else {
                    assert!(ring.contains(&key), "two keys of one id in {room}");
                }
                first = false;
            }
        }
    }

    fn check_messages(&mut self) {
        let rooms: Vec<String> = self.server.rooms.keys().cloned().collect();
        let mut posted: BTreeMap<usize, String> = BTreeMap::new();
        for room in &rooms {
            let messages = self.server.rooms[room].messages.clone();
            self.report.messages += messages.len();
            let mut order = Vec::new();
            for process in self.members(room) {
                let texts = self.read(process, room, &messages);
                for (message, text) in messages.iter().zip(texts) {
                    let Some(index) = text else { continue };
                    self.expect_told(process, room, message);
                    if message.get("editedAt").is_some() {
                        posted.insert(index, message["_id"].to_string());
                        continue;
                    }
                    let id = message["_id"].as_str().expect("an id").to_owned();
                    match posted.get(&index) {
                        None => {
                            posted.insert(index, id);
                            order.push((message["ts"].to_string(), index));
                        }
                        Some(known) => assert_eq!(*known, id, "message {index} was posted twice"),
                    }
                }
            }
            self.check_order(room, order);
        }
        let missing: Vec<usize> =
            (0..self.sent.len()).filter(|index| !posted.contains_key(index)).collect();
        let unread: BTreeSet<&str> = rooms
            .iter()
            .flat_map(|room| &self.server.rooms[room].messages)
            .filter_map(|message| message["_id"].as_str())
            .collect();
        for index in missing {
            let Sent { outcome, cut, store, account, room, edits, .. } = &self.sent[index];
            let gone = (room.clone(), self.accounts[*account].id.clone());
            if edits.is_some() {
                continue;
            }
            match outcome {
                Some(Outcome::Ok(sent)) => {
                    let id = sent["messageId"].as_str().expect("an id");
                    assert!(unread.contains(id), "message {index} was acknowledged and is lost");
                }
                Some(_) => {}
                None => {
                    // It may be there, under a key that nobody has any more.
                    let kept = self.stores[*store].kept.get(&text_of(index));
                    let kept = kept.is_some_and(|id| !unread.contains(id.as_str()));
                    let mut live = self.processes.iter().filter(|process| !process.revoked);
                    let live = live.any(|process| process.store == *store);
                    let waits = self.is_spoiled(room, &gone.1);
                    assert!(
                        !(*cut && kept && live) || waits || self.has_parted(&self.sent[index]),
                        "message {index} was in the outbox of store {store} and is lost ({room})",
                    );
                }
            }
        }
        for (index, sent) in self.sent.iter().enumerate() {
            // Who was removed before the answer came cannot find out any more.
            // An edit is not repeated, and nobody looks what came of it.
            if self.has_parted(sent) || sent.edits.is_some() {
                continue;
            }
            if let (Some(Outcome::Error(error)), Some(id)) = (&sent.outcome, posted.get(&index)) {
                panic!("message {index} was refused ({error:?}) and posted as {id}");
            }
        }
    }

    /// Whether its sender was ever removed from the room, or gave it up: what waits is told as
    /// failed then, though an attempt of before may be under way or its answer lost.
    fn has_parted(&self, sent: &Sent) -> bool {
        self.churned.contains(&(sent.room.clone(), self.accounts[sent.account].id.clone()))
            || self.ever_given_up.contains(&(sent.store, sent.room.clone()))
    }

    /// A message that the process can read was told to the application, if it came after the
    /// process had begun to tell.
    fn expect_told(&mut self, process: usize, room: &str, message: &Value) {
        let Process { store, account, .. } = self.processes[process];
        let updated = message["_updatedAt"].as_str().expect("a time");
        let begun =
            self.stores[store].since.get(room).is_some_and(|since| updated > since.as_str());
        if !begun || message["u"]["_id"] == json!(self.accounts[account].id) {
            return;
        }
        let edited = message.get("editedAt").map(Value::to_string).unwrap_or_default();
        let name = format!("{}/{edited}", message["_id"].as_str().expect("an id"));
        let place = (store, name);
        let told = self.told.get(&place).is_some_and(|told| !told.is_empty());
        assert!(told, "process {process} never told {message} of {room}");
        self.report.told += usize::from(told);
    }

    /// The numbers of the messages, where this process can read them. It must where it was given
    /// the key.
    fn read(&mut self, process: usize, room: &str, messages: &[Value]) -> Vec<Option<usize>> {
        let command = Command::Decrypt { messages: messages.to_vec() };
        let outcomes = self.query(process, command).expect("outcomes");
        let history = Command::GetRoomKeyHistory { room_id: room.to_owned() };
        let history = self.query(process, history).expect("a history").to_string();
        let id = &self.accounts[self.processes[process].account].id;
        let member = &self.server.rooms[room].members[id];
        // Old keys are recorded under ids that need not be theirs; what was opened of them is in
        // the history.
        let given = format!("{history} {:?}", member.key);
        let mut texts = Vec::new();
        for (message, outcome) in messages.iter().zip(outcomes.as_array().expect("a list")) {
            let content = &message["content"];
            let key_id = match content["kid"].as_str() {
                Some(key_id) => key_id,
                None => &content["ciphertext"].as_str().expect("a ciphertext")[..12],
            };
            match outcome[0]["document"]["msg"].as_str() {
                Some(text) => {
                    self.report.readable += 1;
                    let number = text.strip_prefix(MARKER).expect("a text of ours");
                    texts.push(Some(number.parse().expect("a number")));
                }
                None => {
                    self.report.unreadable += 1;
                    assert!(
                        !given.contains(key_id),
                        "process {process} was given key {key_id} of {room} and cannot read: \
                         {outcome}",
                    );
                    texts.push(None);
                }
            }
        }
        texts
    }

    /// Messages of one process and its store keep their order.
    fn check_order(&self, room: &str, mut order: Vec<(String, usize)>) {
        order.sort();
        let mut last: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        for (_, index) in order {
            let Sent { process, store, .. } = self.sent[index];
            if self.has_parted(&self.sent[index]) {
                continue;
            }
            if let Some(before) = last.insert((process, store), index) {
                assert!(
                    before < index,
                    "process {process} sent {index} before {before} in {room}, and it arrived after"
                );
            }
        }
    }
}

fn text_of(index: usize) -> String {
    format!("{MARKER}{index:06}")
}

/// The marker in clear, and as it looks inside of base64 at each of the three alignments.
fn needles() -> Vec<String> {
    let mut needles = vec![MARKER.to_owned()];
    for shift in 0..3 {
        let shifted = format!("{}{MARKER}", "-".repeat(shift));
        let encoded = BASE64_STANDARD.encode(shifted);
        needles.push(encoded[4..encoded.len() - 4].to_owned());
    }
    needles
}
