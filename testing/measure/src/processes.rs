//! What processes cost, from `/proc`: CPU time and memory.
//!
//! CPU time is counted in clock ticks of 10 ms, so a window must be seconds long to mean anything;
//! within it the kernel's sum is exact, not sampled.

use std::{collections::BTreeMap, fs, io, path::Path};

use anyhow::Context as _;

/// Microseconds per clock tick: `USER_HZ` is 100 on every architecture we build for.
const MICROS_PER_TICK: u64 = 10_000;

/// The fields of `/proc/<pid>/stat` that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    pid: u32,
    parent: u32,
    /// User plus system time.
    ticks: u64,
}

impl Stat {
    /// `proc_pid_stat(5)`: fields 1, 4, 14 and 15. The command name, field 2, is in parentheses
    /// and may hold spaces and parentheses itself.
    fn parse(text: &str) -> Option<Self> {
        let (pid, _) = text.split_once(" (")?;
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // The first field after the name is number 3.
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Self {
            pid: pid.parse().ok()?,
            parent: u32::try_from(number(4)?).ok()?,
            ticks: number(14)? + number(15)?,
        })
    }

    fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }
}

/// A process and every process it started, directly or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessTree {
    pids: Vec<u32>,
}

impl ProcessTree {
    /// The tree under `root` as it is now.
    ///
    /// # Errors
    /// When `/proc` cannot be listed.
    pub fn of(root: u32) -> io::Result<Self> {
        let all = fs::read_dir("/proc")?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(Stat::read);
        Ok(Self::collect(root, all))
    }

    fn collect(root: u32, all: impl Iterator<Item = Stat>) -> Self {
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for stat in all {
            children.entry(stat.parent).or_default().push(stat.pid);
        }
        let mut pids = vec![root];
        let mut next = 0;
        while let Some(parent) = pids.get(next) {
            // Removed as they are taken, so that a listing that changed underneath cannot loop.
            pids.extend(children.remove(parent).unwrap_or_default());
            next += 1;
        }
        Self { pids }
    }

    /// The processes, the root first.
    pub fn pids(&self) -> &[u32] {
        &self.pids
    }

    /// User plus system time of the whole tree in microseconds.
    pub fn cpu_micros(&self) -> u64 {
        let ticks: u64 =
            self.pids.iter().filter_map(|pid| Stat::read(*pid)).map(|stat| stat.ticks).sum();
        ticks * MICROS_PER_TICK
    }

    /// Memory of the whole tree in KiB: the proportional set size, which counts a page shared by
    /// several workers once, or the resident set where the kernel does not tell.
    pub fn memory_kib(&self) -> u64 {
        self.pids
            .iter()
            .filter_map(|pid| proportional_kib(*pid).or_else(|| kib(*pid, Size::Resident).ok()))
            .sum()
    }
}

/// A size of one process, named as in `proc_pid_status(5)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Resident now.
    Resident,
    /// Most that was ever resident.
    Peak,
}

/// A size of a process in KiB.
///
/// # Errors
/// When it has ended.
pub fn kib(pid: u32, size: Size) -> Result<u64, anyhow::Error> {
    let field = match size {
        Size::Resident => "VmRSS:",
        Size::Peak => "VmHWM:",
    };
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    field_kib(&status, field).with_context(|| format!("process {pid} has no {field}"))
}

/// The processes whose program has this file name, inside pods or not: pods of the local cluster
/// are processes of this machine.
///
/// # Errors
/// When `/proc` cannot be listed.
pub fn named(program: &str) -> Result<Vec<u32>, anyhow::Error> {
    let entries = fs::read_dir("/proc").context("list /proc")?;
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    // A process that ends meanwhile, or that may not be read, is none of them.
    Ok(pids.filter(|pid| file_name(*pid).is_some_and(|name| name == program)).collect())
}

/// The largest of the processes of a program, in MB.
///
/// # Errors
/// When none runs.
pub fn largest_mb(program: &str, size: Size) -> Result<f64, anyhow::Error> {
    let sizes = named(program)?.into_iter().filter_map(|pid| kib(pid, size).ok());
    let largest = sizes.max().with_context(|| format!("no {program} runs on this machine"))?;
    Ok(largest as f64 * 1024.0 / 1e6)
}

fn file_name(pid: u32) -> Option<String> {
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let first = command.split(|byte| *byte == 0).next()?;
    let first = std::str::from_utf8(first).ok()?;
    Some(Path::new(first).file_name()?.to_str()?.to_owned())
}

fn proportional_kib(pid: u32) -> Option<u64> {
    field_kib(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?, "Pss:")
}

fn field_kib(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn stat_lines() {
        let line = "77 (ng) inx: wo (r) S 70 77 77 0 -1 4194624 9 0 0 0 120 34 5 6 20 0 1 0 99 1 1";
        assert_eq!(Stat::parse(line), Some(Stat { pid: 77, parent: 70, ticks: 154 }));
        assert_eq!(Stat::parse("77 (x) S 70 77"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn a_tree_holds_grandchildren_and_no_other() {
        let stat = |pid, parent| Stat { pid, parent, ticks: 0 };
        let all = [stat(1, 0), stat(5, 1), stat(6, 5), stat(7, 6), stat(8, 5), stat(9, 1)];
        let mut tree = ProcessTree::collect(5, all.into_iter());
        tree.pids.sort_unstable();
        assert_eq!(tree.pids, [5, 6, 7, 8]);
        assert_eq!(ProcessTree::collect(42, all.into_iter()).pids, [42]);
    }

    #[test]
    fn memory_fields() {
        let text = "Rss:      9000 kB\nPss:      5120 kB\nPss_Dirty: 1 kB\n";
        assert_eq!(field_kib(text, "Pss:"), Some(5120));
        assert_eq!(field_kib(text, "Swap:"), None);
    }

    #[test]
    fn this_process_uses_cpu_and_memory() {
        let tree = ProcessTree::of(std::process::id()).unwrap();
        assert!(tree.pids.contains(&std::process::id()));
        assert!(tree.memory_kib() > 500);
        let own = std::process::id();
        assert!(kib(own, Size::Resident).unwrap() > 500 && kib(own, Size::Peak).unwrap() > 500);
        let patience = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let before = tree.cpu_micros();
        // Burns CPU until the first tick is counted.
        while tree.cpu_micros() == before {
            assert!(std::time::Instant::now() < patience);
        }
    }
}
