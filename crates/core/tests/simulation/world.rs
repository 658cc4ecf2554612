//! Participants, what is in flight between them and the server, and the scheduler.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chacha20::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use rocketchat_e2ee::participant::{Change, Claim, Command, Effect, Input, Outcome, Request};
use rocketchat_e2ee::participant::{Options, Participant};
use rocketchat_e2ee::{Identity, KeyRing};
use serde_json::{Value, json};

use crate::server::{Half, Reply, Server, failure};
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
    /// Members whose own late request took the current key from them, which nothing but a reset
    /// heals: the server has no conditional update.
    pub(crate) spoiled: usize,
    pub(crate) readable: usize,
    pub(crate) unreadable: usize,
}

struct Account {
    id: String,
    passphrase: String,
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
}

enum Asked {
    Open,
    Sync,
    Send(usize),
    Other,
}

struct Sent {
    process: usize,
    store: usize,
    account: usize,
    room: String,
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
    Request(Request),
    Half(Half, bool),
    Load(String),
    Commit(Vec<Change>, Vec<Claim>),
    Claim(String, u64),
    Sleep(u64),
    Answer(Outcome),
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
    /// Who was ever removed from a room.
    churned: BTreeSet<(String, String)>,
    /// Who told each message to the application, by store: a process in one of its lives.
    told: BTreeMap<(usize, String), Vec<(usize, u64)>>,
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
            churned: BTreeSet::new(),
            told: BTreeMap::new(),
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
                user.private_key = Some(envelope);
            }
            world.server.users.insert(id.clone(), user);
            world.accounts.push(Account { id, passphrase });
        }
        for index in 0..plan.rooms {
            let room = format!("room{index:03}");
            let owner = world.draw(plan.accounts);
            let owner = world.accounts[owner].id.clone();
            world.server.add_room(&room, &owner);
            for _ in 0..1 + world.draw(4) {
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
            if account + 1 == plan.accounts || account % 4 == 0 {
                world.add_process(account, None);
            } else if account % 4 == 1 {
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
        });
        self.command(self.processes.len() - 1, Command::Open, Asked::Open);
    }

    fn participant(&mut self, account: usize, store: usize) -> Participant {
        let account = &self.accounts[account];
        let options: Options = serde_json::from_value(json!({
            "appId": "simulation", "userId": account.id, "passphrase": account.passphrase,
            "rooms": "all",
        }))
        .expect("options");
        let rng = ChaCha8Rng::seed_from_u64(self.rng.next_u64());
        Participant::new(self.stores[store].vault.clone(), options, Box::new(rng))
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
            Effect::Request { id, request } => (id, Stage::Request(request)),
            Effect::Call { id, .. } => {
                let outcome = Outcome::Error(failure(None, None));
                (id, Stage::Answer(outcome))
            }
            Effect::Load { id, prefix } => (id, Stage::Load(prefix)),
            Effect::Commit { id, changes, claims } => (id, Stage::Commit(changes, claims)),
            Effect::Claim { id, name, ttl } => (id, Stage::Claim(name, ttl)),
            Effect::Sleep { id, ms } => (id, Stage::Sleep(self.server.now + ms)),
            Effect::Emit { event, data } => return self.heard(process, event, &data),
            Effect::Done { command, outcome } => return self.done(process, command, outcome),
            other => panic!("an unknown effect: {other:?}"),
        };
        self.flights.push(Flight { process, life, id, stage });
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
        match event {
            "message" => {
                let id = data["messageId"].as_str().expect("an id").to_owned();
                let told = self.told.entry((self.processes[process].store, id)).or_default();
                // Told again only where who told it may have been killed before saying so.
                let alive = |(teller, life): &(usize, u64)| {
                    self.processes[*teller].alive && self.processes[*teller].life == *life
                };
                assert!(!told.iter().any(alive), "a message was told twice: {data}");
                told.push((process, self.processes[process].life));
            }
            "error" => self.expect_known(&data["error"]),
            "publicKeyChanged" => panic!("nobody's key changed: {data}"),
            _ => {}
        }
    }

    /// Errors that faults explain; the others are bugs.
    fn expect_known(&self, error: &Value) {
        let code = error["code"].as_str().unwrap_or_default();
        let expected = ["ERR_E2EE_WORKSPACE", "ERR_E2EE_STORE_LOCKED", "ERR_E2EE_NO_ROOM_KEY"];
        assert!(expected.contains(&code), "an unexpected error: {error}");
        let explained = code == "ERR_E2EE_NO_ROOM_KEY" || error.get("status").is_some();
        assert!(self.faults || explained, "an error without faults: {error}");
    }

    fn done(&mut self, process: usize, command: u64, outcome: Outcome) {
        if let Outcome::Error(error) = &outcome {
            self.expect_known(&serde_json::to_value(error).expect("JSON"));
        }
        let state = &mut self.processes[process];
        match state.commands.remove(&command) {
            Some(Asked::Open) => match outcome {
                Outcome::Ok(_) => state.opened = true,
                _ => state.alive = false,
            },
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
    }

    /// Moves one thing that is in flight a step on.
    fn fly(&mut self, index: usize) {
        let Flight { process, life, id, stage } = self.flights.swap_remove(index);
        let store = self.processes[process].store;
        let awaited = self.processes[process].life == life && self.processes[process].alive;
        let stage = match stage {
            Stage::Sleep(until) if until > self.server.now && awaited => Stage::Sleep(until),
            Stage::Sleep(_) => Stage::Answer(Outcome::Ok(Value::Null)),
            Stage::Answer(_) if !awaited => return,
            Stage::Answer(outcome) => {
                return self.step(process, vec![Input::Answer { id, outcome }]);
            }
            Stage::Request(request) => self.perform(process, &request),
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

    fn perform(&mut self, process: usize, request: &Request) -> Stage {
        let user = self.accounts[self.processes[process].account].id.clone();
        let fault = if self.faults { self.draw(1000) } else { 1000 };
        match fault {
            0..15 => return Stage::Answer(Outcome::Error(failure(None, None))),
            15..20 => return Stage::Answer(Outcome::Error(failure(Some(429), None))),
            20..25 => return Stage::Answer(Outcome::Error(failure(Some(503), None))),
            // The answer is lost, and the driver tries again by itself.
            25..40 => match self.server.request(&user, request) {
                Reply::Half(half) => drop(self.server.go_on(half)),
                Reply::Done(_) => {}
            },
            _ => {}
        }
        self.server.now += 1;
        let lost = (40..60).contains(&fault);
        match self.server.request(&user, request) {
            Reply::Done(_) if lost => Stage::Answer(Outcome::Error(failure(None, None))),
            Reply::Done(outcome) => Stage::Answer(outcome),
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
        let event = serde_json::from_value(event).expect("an event");
        self.step(process, vec![Input::Event { event }]);
    }

    fn do_something(&mut self) {
        let process = self.draw(self.processes.len());
        let state = &self.processes[process];
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
        match self.draw(100) {
            0..10 if self.server.rooms[&room_id].owner == user => {
                self.report.resets += 1;
                self.ask_for(process, Command::ResetRoomKey { room_id });
            }
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
        let value = self.query(process, Command::AuthorizedRooms).expect("a list");
        serde_json::from_value(value).expect("a list of rooms")
    }

    /// A command that is answered from memory.
    fn query(&mut self, process: usize, command: Command) -> Option<Value> {
        let id = self.command(process, command, Asked::Other);
        match self.processes[process].results.remove(&id) {
            Some(Outcome::Ok(value)) => Some(value),
            Some(_) => None,
            None => panic!("a question to memory was not answered at once"),
        }
    }

    fn send(&mut self, process: usize, room: String) {
        if !self.authorized(process).contains(&room) {
            return;
        }
        let index = self.sent.len();
        let message = json!({ "msg": text_of(index), "deadline": DEADLINE });
        let message = serde_json::from_value(message).expect("a message");
        let state = &self.processes[process];
        self.sent.push(Sent {
            process,
            store: state.store,
            account: state.account,
            room: room.clone(),
            outcome: None,
            cut: false,
        });
        self.command(process, Command::Send { room_id: room, message }, Asked::Send(index));
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
                Stage::Request(_) => !fresh && self.chance(500),
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
            self.processes[process].store = self.stores.len() - 1;
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
                let event = serde_json::from_value(event).expect("an event");
                self.step(process, vec![Input::Event { event }]);
            } else {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    fn settle(&mut self) {
        self.drain_answers();
        self.faults = false;
        for round in 0..8 {
            for process in 0..self.processes.len() {
                if !self.processes[process].alive {
                    self.start(process, false);
                }
            }
            self.drain();
            for process in 0..self.processes.len() {
                assert!(self.processes[process].opened, "a participant does not open");
                self.command(process, Command::Sync, Asked::Sync);
            }
            self.drain();
            if round == 3 {
                self.reset_lost_rooms();
            }
            // Longer than a request for keys is not repeated.
            self.server.now += 61_000;
        }
        self.check_keys();
        self.check_commands();
        self.check_messages();
        // Late requests that cross a reset are rare.
        assert!(self.report.spoiled * 10 <= self.server.rooms.len(), "{:?}", self.report);
    }

    /// Answers that were made while there were faults.
    fn drain_answers(&mut self) {
        while let Some(index) =
            self.flights.iter().position(|flight| matches!(flight.stage, Stage::Answer(_)))
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
        ours.filter(|(_, process)| members.contains_key(&self.accounts[process.account].id))
            .map(|(index, _)| index)
            .collect()
    }

    /// A key that nobody has any more is lost, whatever a client does: the owner makes a new one.
    fn reset_lost_rooms(&mut self) {
        let rooms: Vec<String> = self.server.rooms.keys().cloned().collect();
        for room in rooms {
            let members = self.members(&room);
            let held = members.iter().any(|process| self.current_of(*process, &room).is_some());
            if held || self.server.rooms[&room].key_id.is_none() {
                continue;
            }
            self.report.lost_rooms += 1;
            let owner = self.server.rooms[&room].owner.clone();
            let owner = members
                .into_iter()
                .find(|process| self.accounts[self.processes[*process].account].id == owner)
                .expect("the owner is a member");
            self.ask_for(owner, Command::ResetRoomKey { room_id: room });
            self.drain();
        }
    }

    /// A member, and not one whom only a reset gives the key again.
    fn well(&self, room: &str, user: &str) -> bool {
        self.server.rooms[room].members.contains_key(user)
            && !self.server.spoiled.contains(&(room.to_owned(), user.to_owned()))
    }

    fn check_commands(&self) {
        for (index, process) in self.processes.iter().enumerate() {
            for asked in process.commands.values() {
                match asked {
                    Asked::Send(sent) => {
                        // Who has left the room waits for the deadline.
                        let Sent { room, account, .. } = &self.sent[*sent];
                        let member = &self.accounts[*account].id;
                        assert!(
                            !self.well(room, member),
                            "process {index} never sends message {sent} in {room}",
                        );
                    }
                    _ => panic!("a command of process {index} waits for ever"),
                }
            }
            let account = &self.accounts[process.account].id;
            for room in self.server.rooms.keys().filter(|room| self.well(room, account)) {
                let waiting = self.stores[process.store].names(&format!("outbox/{room}/"));
                assert_eq!(waiting, 0, "the outbox of process {index} is never emptied");
            }
        }
    }

    /// Every member holds the room's current key, byte for byte.
    fn check_keys(&mut self) {
        // All but the last have known ones.
        let own = self.accounts.last().expect("an account");
        let stored = self.server.users[&own.id].private_key.clone().expect("keys");
        let own = Identity::unlock(&stored, &own.passphrase, &own.id).expect("unlocked");
        let rooms: Vec<String> = self.server.rooms.keys().cloned().collect();
        for room in rooms {
            let named = self.server.rooms[&room].key_id.clone().expect("every room has a key");
            let (mut ring, mut first) = (KeyRing::new(), true);
            for process in self.members(&room) {
                let account = self.processes[process].account;
                let id = &self.accounts[account].id;
                if self.server.spoiled.contains(&(room.clone(), id.clone())) {
                    self.report.spoiled += 1;
                    continue;
                }
                let stored = self.server.rooms[&room].members[id].key.clone();
                let stored = stored.map(|key| key.chars().take(12).collect::<String>());
                let current = self.current_of(process, &room);
                assert_eq!(
                    current.as_deref(),
                    Some(named.as_str()),
                    "process {process} lacks the key of {room}; the server has {stored:?} for it",
                );
                let command = Command::GetEncryptedRoomKey { room_id: room.clone(), key_id: None };
                let wrapped = self.query(process, command).expect("the current key");
                let known = identities();
                let identity = match account + 1 == self.accounts.len() {
                    true => &own,
                    false => &known[account % known.len()],
                };
                let key = identity
                    .unwrap_room_key(&mut self.rng, wrapped["key"].as_str().expect("a key"))
                    .expect("unwrapped");
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
            let Sent { outcome, cut, store, account, room, .. } = &self.sent[index];
            let gone = (room.clone(), self.accounts[*account].id.clone());
            match outcome {
                Some(Outcome::Ok(sent)) => {
                    let id = sent["messageId"].as_str().expect("an id");
                    assert!(unread.contains(id), "message {index} was acknowledged and is lost");
                }
                Some(_) => {}
                None => {
                    let kept = self.stores[*store].kept.contains(&text_of(index));
                    let live = self.processes.iter().any(|process| process.store == *store);
                    let readable = self.report.unreadable == 0;
                    assert!(
                        !(*cut && kept && live && readable) || self.churned.contains(&gone),
                        "message {index} was in the outbox of store {store} and is lost ({room})",
                    );
                }
            }
        }
        for (index, sent) in self.sent.iter().enumerate() {
            // Who was removed before the answer came cannot find out any more.
            if self.churned.contains(&(sent.room.clone(), self.accounts[sent.account].id.clone())) {
                continue;
            }
            if let (Some(Outcome::Error(error)), Some(id)) = (&sent.outcome, posted.get(&index)) {
                panic!("message {index} was refused ({error:?}) and posted as {id}");
            }
        }
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
            let key_id = message["content"]["kid"].as_str().unwrap_or("of an old form");
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
