//! The resources that the shim's own process uses, as the kernel publishes them: the metrics `process_*`,
//! which every client library of Prometheus has. Values that cannot be read are left out.

use super::family::Family;
use domain::plan::SensorKind;
use domain::plan::SensorKind::{Counter, Gauge};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::unistd::{SysconfVar, sysconf};
use std::fs;

/// The metrics with their present values.
pub fn families() -> Vec<Family> {
    let usage = Usage::read();
    let usage = |field: fn(&Usage) -> f64| usage.as_ref().map(field);
    let metrics: [(SensorKind, &str, &str, Option<f64>); 6] = [
        (
            Counter,
            "process_cpu_seconds_total",
            "Total user and system CPU time spent in seconds.",
            usage(|usage| usage.processor),
        ),
        (
            Gauge,
            "process_max_fds",
            "Maximum number of open file descriptors.",
            most_descriptors(),
        ),
        (
            Gauge,
            "process_open_fds",
            "Number of open file descriptors.",
            descriptors(),
        ),
        (
            Gauge,
            "process_resident_memory_bytes",
            "Resident memory size in bytes.",
            usage(|usage| usage.resident),
        ),
        (
            Gauge,
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            start_of_the_machine()
                .zip(usage(|usage| usage.started))
                .map(|(start, after)| start + after),
        ),
        (
            Gauge,
            "process_virtual_memory_bytes",
            "Virtual memory size in bytes.",
            usage(|usage| usage.virtual_memory),
        ),
    ];
    let known = metrics.into_iter().filter_map(|(kind, name, help, value)| {
        let mut family = Family::plain(kind, name, help);
        family.take(domain::Instant::START, &[], value?);
        Some(family)
    });
    known.collect()
}

/// The fields of `/proc/self/stat`, in seconds and bytes.
struct Usage {
    processor: f64,
    started: f64,
    virtual_memory: f64,
    resident: f64,
}

impl Usage {
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        Self::parse(
            &stat,
            constant(SysconfVar::CLK_TCK)?,
            constant(SysconfVar::PAGE_SIZE)?,
        )
    }

    /// Parses the file. The second field is a name in brackets that may contain any characters;
    /// proc_pid_stat(5) numbers the fields from one.
    fn parse(stat: &str, ticks: f64, page: f64) -> Option<Self> {
        let (_, after_name) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            processor: (field(14)? + field(15)?) / ticks,
            started: field(22)? / ticks,
            virtual_memory: field(23)?,
            resident: field(24)? * page,
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "the kernel's constants are small")]
fn constant(variable: SysconfVar) -> Option<f64> {
    sysconf(variable).ok()?.map(|value| value as f64)
}

/// When the machine booted, in seconds since 1970.
fn start_of_the_machine() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

/// The number of open descriptors, without the one that reads the folder.
fn descriptors() -> Option<f64> {
    let count = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    u32::try_from(count).ok().map(f64::from)
}

#[expect(clippy::cast_precision_loss, reason = "no limit on descriptors is that large")]
fn most_descriptors() -> Option<f64> {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    (soft != RLIM_INFINITY).then_some(soft as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::clock;

    fn value(name: &str) -> f64 {
        let now = domain::Instant::START;
        let collected = families().into_iter().filter_map(|family| family.collect(now));
        let family = collected
            .into_iter()
            .find(|family| family.name() == name)
            .unwrap();
        let metric = &family.get_metric()[0];
        metric.get_gauge().get_value() + metric.get_counter().get_value()
    }

    #[test]
    fn the_usage_is_read_behind_a_name_of_any_kind_with_fractions_of_seconds() {
        let stat = "42 (a) 1 (b) S 1 42 42 0 -1 0 0 0 0 0 110 15 0 0 20 0 1 0 12345 8192 7 0";
        let usage = Usage::parse(stat, 100.0, 4096.0).unwrap();
        assert_eq!((usage.processor, usage.started), (1.25, 123.45));
        assert_eq!((usage.virtual_memory, usage.resident), (8192.0, 28672.0));
        for cut in ["", "42 (a", "42 (a)", "42 (a) S 1 2 3", &stat[..stat.len() - 5]] {
            assert!(Usage::parse(cut, 100.0, 4096.0).is_none(), "{cut}");
        }
    }

    #[test]
    fn open_descriptors_are_counted_and_below_their_limit() {
        let held: Vec<_> = (0..200).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        let with = value("process_open_fds");
        assert!(with >= 200.0, "{with}");
        assert!(with <= value("process_max_fds"));
        drop(held);
    }

    #[test]
    fn the_process_started_a_short_time_ago_and_uses_memory() {
        #[expect(clippy::cast_precision_loss, reason = "a time of this century")]
        let now = clock::calendar().timestamp() as f64;
        let age = now - value("process_start_time_seconds");
        assert!((-3.0..7200.0).contains(&age), "{age}");
        assert!(value("process_cpu_seconds_total") >= 0.0);
        let (resident, virtual_memory) = (
            value("process_resident_memory_bytes"),
            value("process_virtual_memory_bytes"),
        );
        assert!(
            resident > 1e6 && virtual_memory > resident,
            "{resident} of {virtual_memory}"
        );
    }
}
