//! Resident memory of our processes, inside pods or not: pods of this cluster are processes of
//! this machine.

use std::{fs, path::Path};

use anyhow::Context as _;

/// Processes whose program has this file name.
pub(crate) fn processes(program: &str) -> Result<Vec<u32>, anyhow::Error> {
    let entries = fs::read_dir("/proc").context("list /proc")?;
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    // A process that ends meanwhile, or is not ours to look at, is none of them.
    Ok(pids.filter(|pid| file_name(*pid).is_some_and(|name| name == program)).collect())
}

fn file_name(pid: u32) -> Option<String> {
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let first = command.split(|byte| *byte == 0).next()?;
    let first = std::str::from_utf8(first).ok()?;
    Some(Path::new(first).file_name()?.to_str()?.to_owned())
}

/// A size of a process in KiB, by its name in `proc_pid_status(5)`: `VmRSS:` or `VmHWM:`, its peak.
pub(crate) fn kib(pid: u32, of: &str) -> Result<u64, anyhow::Error> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(of));
    let value = line.and_then(|line| line.trim().strip_suffix(" kB"));
    value.with_context(|| format!("no {of}"))?.trim().parse().context("size")
}

/// The largest of the processes of a program, in MB.
pub(crate) fn largest_mb(program: &str, of: &str) -> Result<f64, anyhow::Error> {
    let sizes = processes(program)?.into_iter().filter_map(|pid| kib(pid, of).ok());
    let largest = sizes.max().with_context(|| format!("no {program} runs on this machine"))?;
    #[allow(clippy::cast_precision_loss)] // far below 2^53
    Ok(largest as f64 * 1024.0 / 1e6)
}
