//! The metrics every process has: its own resource use and which build it is.
//!
//! Read from `/proc/self` when scraped, under the names Prometheus' client libraries agreed on
//! (`process_*`), so that existing dashboards work. Elsewhere than on Linux the families are
//! absent, never zero.

use std::{
    fs,
    sync::{Mutex, PoisonError},
};

use prometheus::{
    Counter, Gauge, IntGauge, Opts, Registry,
    core::{Collector, Desc},
    proto::MetricFamily,
};

/// Ticks per second in `/proc/<pid>/stat`. `USER_HZ` is part of Linux' user-space ABI and is 100 on
/// every architecture we build for.
const TICKS_PER_SECOND: f64 = 100.0;

/// A registry that already holds the process metrics and `kipper_build_info`.
///
/// `process` is the short name of the process (`interceptor`), `version` its crate version. The
/// revision is taken from `KIPPER_REVISION` at build time.
///
/// # Errors
/// Only if prometheus refuses a metric's name, which the tests would show.
pub fn registry(process: &str, version: &str) -> prometheus::Result<Registry> {
    let registry = Registry::new();
    register(&registry, process, version)?;
    Ok(registry)
}

/// Adds the process metrics and `kipper_build_info` to an existing registry.
///
/// # Errors
/// When the registry holds one of the names already.
pub fn register(registry: &Registry, process: &str, version: &str) -> prometheus::Result<()> {
    let revision = option_env!("KIPPER_REVISION").unwrap_or("unknown");
    let opts = Opts::new("kipper_build_info", "Which build of which process this is; always 1.")
        .const_label("process", process)
        .const_label("version", version)
        .const_label("revision", revision);
    let build_info = IntGauge::with_opts(opts)?;
    build_info.set(1);
    registry.register(Box::new(build_info))?;
    registry.register(Box::new(ProcessCollector::new()?))
}

/// What one reading of `/proc/self` yields.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Usage {
    cpu_seconds: f64,
    /// Since the epoch.
    start_time_seconds: f64,
    resident_bytes: f64,
    virtual_bytes: f64,
    threads: f64,
    open_fds: f64,
    max_fds: f64,
}

impl Usage {
    /// `None` wherever `/proc` is not Linux' one.
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let boot = fs::read_to_string("/proc/stat").ok()?;
        let limits = fs::read_to_string("/proc/self/limits").ok()?;
        let (cpu_ticks, start_ticks) = ticks(&stat)?;
        // The descriptor of the listing itself is not one of the process's.
        let open = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
        let open = u32::try_from(open).ok()?;
        Some(Self {
            cpu_seconds: cpu_ticks / TICKS_PER_SECOND,
            start_time_seconds: field(&boot, "btime ")? + start_ticks / TICKS_PER_SECOND,
            resident_bytes: field(&status, "VmRSS:")? * 1024.0,
            virtual_bytes: field(&status, "VmSize:")? * 1024.0,
            threads: field(&status, "Threads:")?,
            open_fds: f64::from(open),
            max_fds: field(&limits, "Max open files")?,
        })
    }
}

/// User plus system time, and the start time after boot, in ticks (`proc_pid_stat(5)`, fields 14,
/// 15 and 22). The command name is in parentheses and may hold spaces and parentheses itself.
fn ticks(stat: &str) -> Option<(f64, f64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // The first field after the name is number 3.
    let number = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
    Some((number(14)? + number(15)?, number(22)?))
}

/// The first number after `key` at the start of a line. `unlimited` reads as infinity.
fn field(text: &str, key: &str) -> Option<f64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    match value.split_ascii_whitespace().next()? {
        "unlimited" => Some(f64::INFINITY),
        number => number.parse().ok(),
    }
}

#[derive(Debug)]
struct ProcessCollector {
    cpu: Mutex<Counter>,
    start_time: Gauge,
    resident: Gauge,
    virtual_size: Gauge,
    threads: Gauge,
    open_fds: Gauge,
    max_fds: Gauge,
}

impl ProcessCollector {
    fn new() -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| Gauge::new(name, help);
        Ok(Self {
            cpu: Mutex::new(Counter::new(
                "process_cpu_seconds_total",
                "Total user and system CPU time spent in seconds.",
            )?),
            start_time: gauge(
                "process_start_time_seconds",
                "Start time of the process since unix epoch in seconds.",
            )?,
            resident: gauge("process_resident_memory_bytes", "Resident memory size in bytes.")?,
            virtual_size: gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.")?,
            threads: gauge("process_threads", "Number of OS threads in the process.")?,
            open_fds: gauge("process_open_fds", "Number of open file descriptors.")?,
            max_fds: gauge("process_max_fds", "Maximum number of open file descriptors.")?,
        })
    }

    fn gauges(&self, usage: &Usage) -> [(&Gauge, f64); 6] {
        [
            (&self.start_time, usage.start_time_seconds),
            (&self.resident, usage.resident_bytes),
            (&self.virtual_size, usage.virtual_bytes),
            (&self.threads, usage.threads),
            (&self.open_fds, usage.open_fds),
            (&self.max_fds, usage.max_fds),
        ]
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        // The counter's descriptions live behind its mutex; prometheus only needs some to detect a
        // collector registered twice, for which the gauges do.
        [
            &self.start_time,
            &self.resident,
            &self.virtual_size,
            &self.threads,
            &self.open_fds,
            &self.max_fds,
        ]
        .into_iter()
        .flat_map(Collector::desc)
        .collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(usage) = Usage::read() else {
            return Vec::new();
        };
        let mut families = Vec::with_capacity(7);
        for (gauge, value) in self.gauges(&usage) {
            gauge.set(value);
            families.extend(gauge.collect());
        }
        // Two scrapes at once must not both add the same difference.
        let cpu = self.cpu.lock().unwrap_or_else(PoisonError::into_inner);
        cpu.inc_by((usage.cpu_seconds - cpu.get()).max(0.0));
        families.extend(cpu.collect());
        families
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn stat_survives_an_odd_command_name() {
        let stat = "42 (a b) c) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 12345 1000 10";
        assert_eq!(ticks(stat), Some((300.0, 12345.0)));
        assert_eq!(ticks("42 (short) S 1"), None);
    }

    #[test]
    fn fields_are_the_first_number_of_their_line() {
        let text = "Max cpu time  unlimited  unlimited seconds\nVmRSS:\t  5120 kB\nbtime 17\n";
        assert_eq!(field(text, "VmRSS:"), Some(5120.0));
        assert_eq!(field(text, "btime "), Some(17.0));
        assert_eq!(field(text, "Max cpu time"), Some(f64::INFINITY));
        assert_eq!(field(text, "absent"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_registry_holds_every_family_with_sane_values() {
        let registry = registry("test", "1.2.3").unwrap();
        let families = registry.gather();
        let names: Vec<&str> = families.iter().map(MetricFamily::name).collect();
        assert_eq!(
            names,
            [
                "kipper_build_info",
                "process_cpu_seconds_total",
                "process_max_fds",
                "process_open_fds",
                "process_resident_memory_bytes",
                "process_start_time_seconds",
                "process_threads",
                "process_virtual_memory_bytes",
            ]
        );
        let usage = Usage::read().unwrap();
        assert!(usage.resident_bytes > 1024.0 && usage.resident_bytes < usage.virtual_bytes);
        assert!(usage.open_fds >= 3.0 && usage.open_fds < usage.max_fds);
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        assert!(usage.start_time_seconds > 1.6e9 && usage.start_time_seconds <= now + 1.0);
    }

    #[test]
    fn registering_twice_is_an_error() {
        let registry = registry("test", "1.2.3").unwrap();
        register(&registry, "test", "1.2.3").unwrap_err();
    }
}
