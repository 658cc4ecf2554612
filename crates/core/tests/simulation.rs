//! Simulation of many participants of one workspace: a model server, model stores, and a scheduler
//! that does everything in random order, with faults. At the end the faults stop, everybody syncs,
//! and the promises of `design.md` §7 must hold.
//!
//! A failure names its seed; `SIMULATION_SEED=<seed>` repeats it alone, and
//! `SIMULATION_RUNS` asks for more runs of each plan.

#[cfg(test)]
#[path = "simulation/server.rs"]
mod server;
#[cfg(test)]
#[path = "simulation/store.rs"]
mod store;
#[cfg(test)]
#[path = "simulation/world.rs"]
mod world;

use world::{Plan, run};

/// Runs a plan with several seeds; the panic of a run is told with its seed.
#[cfg(test)]
fn simulate(first: u64, runs: u64, plan: Plan) {
    let chosen = std::env::var("SIMULATION_SEED").ok().and_then(|seed| seed.parse().ok());
    let more = std::env::var("SIMULATION_RUNS").ok().and_then(|runs| runs.parse().ok());
    let runs = more.unwrap_or(runs);
    let seeds = match chosen {
        Some(seed) => seed..seed + 1,
        None => first..first + runs,
    };
    for seed in seeds {
        match std::panic::catch_unwind(|| run(seed, plan)) {
            Ok(report) => {
                #[allow(clippy::print_stdout, reason = "shown with --nocapture, or on failure")]
                {
                    println!("seed {seed}: {report:?}");
                }
            }
            Err(_) => panic!("SIMULATION_SEED={seed} repeats this failure"),
        }
    }
}

const NEW: Plan = Plan {
    accounts: 10,
    rooms: 30,
    steps: 12_000,
    atomic: true,
    version: "8.8.0",
    members: (1, 4),
    resets: 4,
    changes: true,
};

#[test]
fn everybody_gets_every_key_on_a_new_server() {
    simulate(1, 1, NEW);
}

#[test]
fn everybody_gets_every_key_on_a_server_whose_creators_race() {
    simulate(101, 1, Plan { atomic: false, version: "7.14.0", ..NEW });
}

#[test]
fn everybody_gets_every_key_on_a_server_that_knows_no_gcm() {
    simulate(201, 1, Plan { atomic: false, version: "7.5.0", ..NEW });
}

/// More than fifty members wait for a key at once.
#[test]
fn everybody_gets_every_key_in_a_crowd() {
    let crowd = Plan { accounts: 70, rooms: 1, members: (130, 1), changes: false, ..NEW };
    simulate(301, 1, crowd);
}

/// More than ten keys of a room are old.
#[test]
fn everybody_keeps_every_key_of_a_room_that_is_often_reset() {
    simulate(401, 1, Plan { accounts: 5, rooms: 2, resets: 60, changes: false, ..NEW });
}
