//! What this machine says of itself and of a process: cores, kernel, CPU time, memory.

use anyhow::Context as _;

/// Cores, processor and kernel in one line, without names of hosts.
pub(crate) fn describe() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        model.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("unknown", |(_, m)| m);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    // What follows the version is the builder's own naming.
    let kernel = kernel.trim().split('-').next().unwrap_or_default();
    format!("{cores} cores ({model}), Linux {kernel}")
}

/// CPU time a process has used so far, user and system, in seconds.
pub(crate) fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // Fields are counted behind the name, which may hold spaces: user time is the 12th, system time the 13th.
    let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat has another form")?;
    let mut fields = fields.split_whitespace().skip(11).map(str::parse::<f64>);
    let (user, system) = (fields.next().context("no user time")??, fields.next().context("no system time")??);
    Ok((user + system) / rustix::param::clock_ticks_per_second() as f64)
}

/// Memory a process holds, in bytes: what is its own, and all of it with the shared pages of its program.
pub(crate) fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_can_be_measured() {
        let pid = std::process::id();
        let before = cpu_seconds(pid).unwrap();
        let ballast = vec![1_u8; 64 << 20];
        assert!(resident_bytes(pid).unwrap() > 64 << 20);
        while cpu_seconds(pid).unwrap() <= before {
            assert!(ballast.iter().map(|byte| u64::from(*byte)).sum::<u64>() > 0);
        }
    }
}
