//! The conditions of the short scenarios, in their quick size. Figures are printed and judged by
//! nobody here.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod mutual_tls;

use kipper_loadtest::{
    run::RunArgs,
    scenarios::{Scenario, run},
};

#[track_caller]
fn holds(scenario: Scenario) {
    let binary = Some(env!("CARGO_BIN_EXE_kipper-loadtest").into());
    let args = RunArgs { quick: true, binary, ..RunArgs::default() };
    if let Err(error) = run(&args, &[scenario]) {
        panic!("{error:#}");
    }
}

#[test]
fn clients_that_leave_are_uncounted_and_not_delivered() {
    holds(Scenario::Leave);
}

#[test]
fn everything_held_is_released_onto_one_pod() {
    holds(Scenario::Release10k);
}

#[test]
fn no_adapter_fault_makes_a_waiting_function_inactive() {
    holds(Scenario::AdapterFaults);
}

#[test]
fn a_killed_backend_takes_only_its_own_requests_with_it() {
    holds(Scenario::KillBackends);
}

#[test]
fn a_drain_loses_nothing() {
    holds(Scenario::Drain);
}
