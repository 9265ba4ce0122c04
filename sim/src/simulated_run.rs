//! One simulated run: draws its options, runs it in the driver's own loop, and checks the laws.

use crate::choices::Choices;
use crate::laws::Violation;
use crate::machine::{Report, SimulatedMachine};
use crate::options::Options;
use crate::plans;
use crate::trace::PrintedPlan;
use containerpilot::driver;
use domain::Shim;
use domain::plan::Plan;
use std::future::pending;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// The result of a run, and how it was drawn.
#[derive(Clone, Debug)]
pub struct SimulatedRun {
    /// The drawn options and the first plan.
    pub drawn: String,
    /// The report.
    pub report: Report,
}

/// Simulates a run.
pub fn simulate(choices: Choices, keep: bool) -> SimulatedRun {
    simulate_until(choices, keep, None)
}

/// Simulates a run until a fault of the program itself, at a time that `number` selects, and the emergency
/// after it.
pub fn simulate_emergency(choices: &Choices, keep: bool, number: u64) -> SimulatedRun {
    let entries = simulate(choices.clone(), false).report.entries;
    simulate_until(
        choices.clone(),
        keep,
        Some(number.wrapping_mul(7_919) % entries.max(1)),
    )
}

/// Simulates a run with these options and this plan.
pub fn simulate_with(choices: Choices, options: Options, plan: Plan, keep: bool) -> SimulatedRun {
    run(choices, options, plan, keep, None)
}

fn simulate_until(mut choices: Choices, keep: bool, fault: Option<u64>) -> SimulatedRun {
    let options = Options::draw(&mut choices);
    let plan = plans::draw(&mut choices, &options);
    run(choices, options, plan, keep, fault)
}

fn run(choices: Choices, options: Options, plan: Plan, keep: bool, fault: Option<u64>) -> SimulatedRun {
    let drawn = if keep {
        format!("{options}\nplan: {}", PrintedPlan(&plan))
    } else {
        String::new()
    };
    let shim = Shim::new(plan.clone(), options.jitter.into());
    let world = SimulatedMachine::new(choices, options, &plan, keep);
    let code = {
        let mut inbox = world.clone();
        let (mut processes, mut probes, mut discovery) = (world.clone(), world.clone(), world.clone());
        let (mut templates, mut control) = (world.clone(), world.clone());
        let (mut settings, mut console, mut telemetry) = (world.clone(), world.clone(), world.clone());
        let mut ports = driver::Ports {
            clock: &world,
            inbox: &mut inbox,
            processes: &mut processes,
            probes: &mut probes,
            discovery: &mut discovery,
            settings: &mut settings,
            console: &mut console,
            control: &mut control,
            telemetry: &mut telemetry,
            templates: &mut templates,
        };
        if let Some(entries) = fault {
            world.breaks_after(entries);
        }
        let run = pin!(driver::run_to_exit(shim, &mut ports, pending()));
        match run.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(code) => Some(code),
            Poll::Pending => None,
        }
    };
    if let Some(code) = code {
        world.exited(code);
    }
    let mut report = world.report();
    if code.is_none() && report.violation.is_none() {
        report.violation = Some(Violation {
            law: "something always happens",
            how: "nothing will ever happen again".into(),
        });
    }
    SimulatedRun { drawn, report }
}

/// Simulates a run twice and compares: equal choices give equal traces.
pub fn simulate_twice(choices: &Choices) -> SimulatedRun {
    let mut first = simulate(choices.clone(), false);
    if first.report.violation.is_none() {
        let second = simulate(Choices::recorded(first.report.choices.clone()), false);
        if second.report != first.report {
            first.report.violation = Some(Violation {
                law: "same choices, same trace",
                how: "two runs of the same choices differ".into(),
            });
        }
    }
    first
}
